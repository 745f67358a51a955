"""``python -m mpibatch.apps.nbody``: as every program, with the job file beside its folder."""

import sys
from pathlib import Path

from mpibatch.cli import run_program

if __name__ == "__main__":
    sys.exit(run_program(str(Path(__file__).parent)))
