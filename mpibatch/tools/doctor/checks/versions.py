"""Versions: comparing them, and those of the installed packages with those that mpibatch asks for."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from typing import TYPE_CHECKING

from mpibatch.tools.doctor.finding import Finding, error, fine, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DISTRIBUTION", "at_least", "check_packages", "installed", "numbers", "requirements"]

DISTRIBUTION = "mpibatch"


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (4, 1, 4) of "4.1.4rc2". Local."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    return tuple(map(int, match[1].split("."))) if match else ()


def at_least(version: str, least: str) -> bool:
    """Whether a version is `least` or later; what follows the numbers is not looked at. Local."""
    ours, theirs = numbers(version), numbers(least)
    length = max(len(ours), len(theirs))
    return ours + (0,) * (length - len(ours)) >= theirs + (0,) * (length - len(theirs))


def requirements() -> dict[str, str] | None:
    """Return the least version of each package that mpibatch depends on; None if it is not installed. Local."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    matches = [re.match(r"\s*([\w.-]+)\s*>=\s*([\w.]+)\s*$", line) for line in lines]
    return {match[1]: match[2] for match in matches if match}


def installed(name: str) -> str | None:
    """Return the version of an installed package, None if there is none. Local."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_packages(loaded: Mapping[str, tuple[str, str]]) -> list[Finding]:
    """Compare what is installed with what is asked for. Local.

    `loaded` has, of the modules that could be imported, the version that they tell themselves, and their file.
    """
    least_versions = requirements()
    if least_versions is None:
        why = f"{DISTRIBUTION} itself is not installed as a package, so that nobody tells which versions it wants"
        return [skipped("packages", why, "pip install .")]
    findings, good = [], [f"Python {sys.version.split()[0]}"]
    for name, least in least_versions.items():
        version = installed(name)
        imported, file = loaded.get(name, (None, ""))
        if version is None:
            findings.append(error("packages", f"{name} is not installed", f"pip install '{name}>={least}'"))
        elif not at_least(version, least):
            upgrade = f"pip install --upgrade '{name}>={least}'"
            findings.append(error("packages", f"{name} {version} is installed; {least} or later is needed", upgrade))
        elif imported is not None and numbers(imported) != numbers(version):
            message = f"{name} {version} is installed, but {imported} is imported, from {file}"
            findings.append(warning("packages", message, "look for it on $PYTHONPATH: echo $PYTHONPATH"))
        else:
            good.append(f"{name} {version}")
    return findings or [fine("packages", ", ".join(good))]
