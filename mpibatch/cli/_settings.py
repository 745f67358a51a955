"""Settings of a program with a command line of its own: options, and a file of those that are not given."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mpibatch.base.errors import RunError, UsageError
from mpibatch.job.document.caps import toml_document

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

__all__ = ["add_settings", "settings_of"]

T = TypeVar("T")


def add_settings(
    to: argparse.ArgumentParser, usual: Any, words: Mapping[str, str], title: str = "settings"
) -> argparse._ArgumentGroup:
    """Add an option for each of these settings, by what it is, and return their group. Local.

    What is not given is None, for `settings_of` to look for in a file.
    """
    group = to.add_argument_group(title)
    for name, text in words.items():
        value = getattr(usual, name.replace("-", "_"))
        group.add_argument(f"--{name}", type=type(value), metavar="X", help=f"{text} ({value})")
    return group


def settings_of(kind: Callable[..., T], args: argparse.Namespace) -> T:
    """Return a dataclass of what is given, in --settings or as options, which come first. Local. UsageError, RunError.

    Every value of the dataclass has a default; options that are not given are None.
    """
    usual: Any = kind()
    names = {field.name for field in fields(usual)}
    given: dict[str, Any] = {}
    if args.settings:
        try:
            text = Path(args.settings).read_text(encoding="utf-8")
        except OSError as error:
            raise RunError(f"the settings {args.settings} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"the settings {args.settings} are no text ({error}); give a TOML file") from None
        given = toml_document(text, args.settings)
        given = {name.replace("-", "_"): value for name, value in given.items()}
        for name, value in given.items():
            if name not in names:
                raise UsageError(f"{args.settings}: {name} is no setting; there are {', '.join(sorted(names))}")
            given[name] = _of_kind(getattr(usual, name), value, f"{args.settings}: {name}")
    given |= {name: value for name in names if (value := getattr(args, name)) is not None}
    return kind(**given)


def _of_kind(usual: Any, value: Any, name: str) -> Any:
    """Return a value of a file as one of the usual value's kind. Local. UsageError."""
    if isinstance(usual, tuple) and isinstance(value, list):
        return tuple(_of_kind(0.0, each, name) for each in value)
    if isinstance(usual, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(usual):
        raise UsageError(f"{name} = {value!r} is not valid; give a value such as {usual!r}")
    return value
