"""``mpibatch guide``: the user's guide, chapter by chapter."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["add", "execute"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "guide",
        parents=[shared],
        help="print a chapter of the user's guide",
        description="Print a chapter of the user's guide; without a name, the list of chapters.",
    )
    parser.add_argument("chapter", nargs="?", metavar="CHAPTER", help="such as start, filters, cluster")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Print a chapter, or their list. Local."""
    from mpibatch.guide import CHAPTERS, chapter, title

    if args.chapter is None:
        width = max(map(len, CHAPTERS))
        print("\n".join(f"{name:<{width}}  {title(name)}" for name in CHAPTERS))
        print("\nmpibatch guide CHAPTER prints one.")
        return 0
    text = chapter(args.chapter)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        print(text, end="")
    return 0
