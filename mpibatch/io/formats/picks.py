"""What is chosen from a TIFF, as text in a dataset's place: ``series=1,channel=2,frame=0``."""

from __future__ import annotations

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import whole_name
from mpibatch.io.formats import format_of

__all__ = ["AXES", "parse_picks", "with_picks"]

# Words for axes, and the letters that tifffile has for them; a single letter stands for itself.
AXES = {"frame": "T", "channel": "C", "slice": "Z"}
_SHAPE = "write it as in FILE::series=1,channel=2,frame=0 (numbers from 0; negative ones count from the end)"


def parse_picks(path: str, dataset: str | None) -> tuple[int | None, dict[str, int]]:
    """Return the number of the series, None if it is not given, and the index along each picked axis. Local."""
    series, picks = None, {}
    for item in (dataset or "").split(",") if dataset else ():
        key, equals, value = (word.strip() for word in item.partition("="))
        if not equals:
            key, value = "series", key  # a bare number
        letter = AXES.get(key, key.upper() if len(key) == 1 and key.isalpha() else "")
        known = key == "series" or letter
        if not known or not value.removeprefix("-").isdecimal() or letter in picks:
            raise UsageError(f"{item.strip()!r} of {whole_name(path, dataset or '')!r} cannot be understood; {_SHAPE}")
        if key != "series":
            picks[letter] = int(value)
        elif series is not None:
            raise UsageError(f"{whole_name(path, dataset or '')!r} names two series; give one")
        else:
            series = int(value)
    return series, picks


def with_picks(path: str, dataset: str | None, frame: int | None, channel: int | None) -> str | None:
    """Return the text that also says which frame and channel. Local. UsageError if they cannot be meant."""
    given = {key: value for key, value in (("frame", frame), ("channel", channel)) if value is not None}
    if not given:
        return dataset
    if (kind := format_of(path)) != "tiff":
        raise UsageError(
            f"{', '.join(f'{key}={value!r}' for key, value in given.items())} was given for {path!r}, but it is of "
            f"format {kind}: frames and channels are picked from TIFF; choose cells with region="
        )
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{key}={value!r} was given for {path!r}; give one whole number")
    _, before = parse_picks(path, dataset)
    if twice := [key for key in given if AXES[key] in before]:
        raise UsageError(f"{twice[0]} of {whole_name(path, dataset or '')!r} was given twice; give it once")
    return ",".join([*([dataset] if dataset else []), *(f"{key}={value}" for key, value in given.items())])
