"""Times as Slurm writes them."""

from __future__ import annotations

import re

from mpibatch.base.errors import UsageError

__all__ = ["seconds", "text"]

_FORMS = "MINUTES, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS"


def seconds(duration: str, option: str = "--time") -> int:
    """Return a duration in one of Slurm's forms as seconds, one minute or more. Local."""
    match = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", duration.strip(), re.ASCII)
    total = 0
    if match:
        days, *rest = match.groups()
        numbers = [int(number) for number in rest if number is not None]
        if days is not None:
            hours, minutes, secs = [*numbers, 0, 0][:3]
        elif len(numbers) == 3:
            hours, minutes, secs = numbers
        else:  # without days one number is minutes, and two are minutes and seconds
            hours, minutes, secs = 0, *[*numbers, 0][:2]
        total = int(days or 0) * 86400 + hours * 3600 + minutes * 60 + secs
    if total < 60:
        raise UsageError(f"{option} {duration}: give one minute or more, as {_FORMS}")
    return total


def text(duration: int) -> str:
    """Return seconds as D-HH:MM:SS, without days if there are none. Local."""
    days, rest = divmod(duration, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock
