"""The cases of `tomo` for scripts/bench_fields.py: back-projection, and a scan's whole way to its table of pores."""

from __future__ import annotations

import contextlib
import importlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _bench_runs import COMM, Timed, report, timings  # type: ignore[import-not-found]

import mpibatch as mb
from mpibatch.apps.tomo.__main__ import main as tomo
from mpibatch.apps.tomo.acquisition import Acquisition, measure
from mpibatch.apps.tomo.phantoms import phantom

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TOMO"]


def back_projection(*, quick: bool) -> None:
    """Time two slices of 512² from 720 angles, in f4 as scans have them; scikit-image makes them one by one."""
    transform = importlib.import_module("skimage.transform")
    side, many = (256, 180) if quick else (512, 720)
    whole = np.random.default_rng(0).random((2, side, many), np.float32)
    angles = np.linspace(0.0, 180.0, many, endpoint=False)
    u = mb.scatter(whole, mb.Grid(whole.shape, topology=(None, 1, 1)))
    calls = {"ours": Timed(lambda: mb.projections.iradon(u, angles))}
    if COMM.size == 1:
        calls["skimage"] = Timed(lambda: np.stack([transform.iradon(each, angles) for each in whole]))
    report("tomo-fbp", timings(calls, 2 if quick else 5), side=side, angles=many)


def job(*, quick: bool) -> None:
    """Time a scan of 360 projections of 256², from file to file, beside a script on the same cores."""
    side, many, center = (96, 90, 45.3) if quick else (256, 360, 120.3)
    folder = COMM.bcast(tempfile.mkdtemp() if COMM.rank == 0 else None)
    path, outputs = Path(folder) / "scan.h5", [str(Path(folder) / name) for name in ("ours.h5", "script.h5")]
    body = phantom((side,) * 3, 12, COMM, grains=4).volume
    fields, units = measure(body, Acquisition(angles=many, center=center), circle=True)
    mb.save(path, fields, dataset_attrs=units)

    def reconstruct() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            tomo(["reconstruct", str(path), outputs[0], "--quiet"])

    calls = {"ours": Timed(reconstruct)}
    missing: list[str] = []
    pores: dict[str, int] = {}
    try:
        script = importlib.import_module("_bench_tomo_script")
    except ImportError:
        missing.append("joblib")
    else:
        calls["skimage, joblib"] = Timed(
            lambda: pores.update(script=script.run(str(path), outputs[1], center, COMM.size)), is_alone=True
        )
    times = timings(calls, 2 if quick else 5)
    table: Any = mb.load(outputs[0], "table")
    pores["ours"] = table.rows
    report("tomo-job", times, missing, side=side, angles=many, pores=pores)
    COMM.Barrier()
    if COMM.rank == 0:
        for file in Path(folder).iterdir():
            file.unlink()
        Path(folder).rmdir()


TOMO: dict[str, Callable[..., None]] = {"tomo-fbp": back_projection, "tomo-job": job}
