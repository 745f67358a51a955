"""What ``python mysim.py --help`` says: the parameters of a program, and how it is started."""

from __future__ import annotations

from pathlib import Path

from mpibatch.job.file.programs import Program, find

__all__ = ["explanation"]


def explanation(file: str) -> str:
    """Return the help of the program in a file. Local. Raises UsageError or RunError if it is no program."""
    path = Path(file)
    program = find(str(path) if path.suffix == ".py" else path.stem)
    shown = path.name if path.suffix else f"-m mpibatch.apps.{path.name}"  # one that is a folder
    lines = [
        f"usage: python {shown} [JOB.toml] [--set simulation.KEY=VALUE] [options of mpibatch run]",
        f"       mpiexec -n 8 python {shown} ...",
        "",
        f"{program.title}.",
        "",
        f"The job file is {path.with_suffix('.toml').name} beside it, or another one that is named first.",
        "",
        "parameters, in [simulation] of the job file:",
        *_parameters(program),
        "",
        "It also says how long to go on (until, or steps), and what to write: mpibatch run --help.",
    ]
    return "\n".join(lines)


def _parameters(program: Program) -> list[str]:
    rows = list(program.described())
    wide = max((len(f"{name} = {default}") for name, default, _ in rows), default=0)
    return [f"  {f'{name} = {default}':<{min(wide, 40)}}  {expected}" for name, default, expected in rows] or ["  none"]
