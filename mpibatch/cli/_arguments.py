"""How the arguments of all commands are read: options in full, and a hint at the nearest one for any other."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from mpibatch.base.processes.launch import launched
from mpibatch.cli._exit import USAGE_ERROR

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Parser", "add_supervision"]


class Parser(argparse.ArgumentParser):
    """Under mpiexec every rank parses the same arguments: rank 0 alone prints, all leave with the same code.

    Options cannot be abbreviated: what was meant as another site's option must not become one of ours.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, after a look at the names of all options: argparse tells of a missing argument first. Local."""
        given = list(sys.argv[1:] if args is None else args)
        if unknown := self._unknown(given):
            self.error("; ".join(f"there is no option {name}{self._nearest(name)}" for name in unknown))
        return super().parse_known_args(given, namespace)

    def _unknown(self, given: Sequence[str]) -> list[str]:
        """The long options that there are not, of this parser and not of a command behind it."""
        unknown = []
        for word in given:
            is_long = word.startswith("--") and " " not in word.partition("=")[0]
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break
            if is_long and word.partition("=")[0] not in self._option_string_actions:
                unknown.append(word.partition("=")[0])
        return unknown

    def _nearest(self, name: str) -> str:
        """What may have been meant: options that begin so, or else the one that is spelled most alike."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        close = sorted(option for option in known if option.startswith(name))
        close = close or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        return f"; did you mean {' or '.join(close)}?" if close else ""

    def _print_message(self, message: str, file: object = None) -> None:
        if launched()[0] == 0:
            super()._print_message(message, file)  # type: ignore[arg-type]  # argparse's own protocol type is private

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and leave with the code for it. Local."""
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message}\n({self.prog} --help shows how)\n")


def add_supervision(parser: argparse.ArgumentParser) -> None:
    """Add the option by which a command that runs jobs says when they hang. Local."""
    parser.add_argument(
        "--supervise", type=float, metavar="SECONDS",
        help="end the job, with exit code 70 and a page that says where each rank is, when no rank makes progress for "
        "so long (default: [supervise] seconds, else MPIBATCH_SUPERVISE, else 1800; 0: never)",
    )  # fmt: skip
