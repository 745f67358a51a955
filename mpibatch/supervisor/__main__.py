"""``python -m mpibatch.supervisor TASK DESCRIPTOR``: be the supervisor that a rank has started."""

from __future__ import annotations

import json
import resource
import socket
import sys
from pathlib import Path

from mpibatch.supervisor.watch import Watch, WatchTask, connected


def main() -> None:
    """Be it. Local."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # three files for each rank
    task = WatchTask(**json.loads(sys.argv[1]))
    with socket.socket(fileno=int(sys.argv[2])) as listening:
        path = Path(listening.getsockname())
        try:
            ranks = connected(task, listening)
        except (OSError, AttributeError) as error:
            sys.exit(f"mpibatch: the ranks on {task.node} are not supervised: {error}")
        finally:
            path.unlink(missing_ok=True)
            path.parent.rmdir()
    Watch(task, ranks).run()


if __name__ == "__main__":
    main()
