"""``python -m mpibatch`` is the command ``mpibatch``."""

import sys

from mpibatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
