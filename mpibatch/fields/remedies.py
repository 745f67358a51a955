"""What to use for fields instead of what NumPy has for arrays: the advice in errors."""

from __future__ import annotations

__all__ = ["INSTEAD", "instead"]

# What does for fields what a function or method of NumPy, or the reduction of a ufunc, does for arrays.
INSTEAD = {
    **{
        name: f"mpibatch.{name}(u)"
        for name in (
            *("sum", "mean", "var", "std", "min", "max", "argmin", "argmax", "count_nonzero", "any", "all", "unique"),
            *("nansum", "nanmean", "nanvar", "nanstd", "nanmin", "nanmax", "nanargmin", "nanargmax", "bincount"),
        )
    },
    "histogram": "mpibatch.histogram(u, ...)",
    **dict.fromkeys(("dot", "vdot", "inner"), "mpibatch.dot(u, v)"),
    "norm": "mpibatch.norm(u)",
    **dict.fromkeys(("save", "savez", "tofile", "dump"), "mpibatch.save(path, u=u)"),
    **dict.fromkeys(("copy", "copyto"), "u.copy()"),
    **dict.fromkeys(("zeros_like", "ones_like", "empty_like", "full_like"), "u.like() or u.grid.full(value, dtype)"),
    **dict.fromkeys(("allclose", "array_equal"), "mpibatch.max(abs(u - v))"),
    **dict.fromkeys(("convolve", "correlate"), "mpibatch.filters.convolve1d and correlate1d"),
    "add.reduce": "mpibatch.sum(u)",
    "minimum.reduce": "mpibatch.min(u)",
    "maximum.reduce": "mpibatch.max(u)",
    "amin": "mpibatch.min(u)",
    "amax": "mpibatch.max(u)",
    "average": "mpibatch.mean(u)",
    "median": "mpibatch.median(u), or mpibatch.filters.median_filter (of windows)",
    **{
        name: f"mpibatch.{name}(u, q)".replace("median(u, q)", "median(u)")
        for name in ("quantile", "percentile", "nanquantile", "nanmedian")
    },
    "gradient": "mpibatch.filters.correlate1d",
    "clip": "np.clip(u, low, high)",
    "round": "np.round(u)",
    "real": "np.real(u)",
    "imag": "np.imag(u)",
    "conj": "np.conj(u)",
}


def instead(name: str) -> str:
    """Return the advice for a name. Local."""
    return f"use {INSTEAD.get(name, 'mpibatch.sum, min, max, mean, histogram, or work on u.owned')}"
