"""What plans tell of steps that move whole fields, beside what the plans of moves send."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.cli import main
from mpibatch.domain.turns import Turned, route
from mpibatch.fields import lines
from mpibatch.fields.redistribution import Ways
from mpibatch.job import Step, moves
from mpibatch.job.moves import moves_of, shape_after


def sent_by(old: Turned, new: Turned, cell_bytes: int) -> int:
    ways = [Ways.between(rank, old, new) for rank in range(math.prod(old.topology))]
    return cell_bytes * max(sum(math.prod(c.stop - c.start for c in cut) for _, cut in w.sends) for w in ways)


def cells_of(layout: Turned) -> list[int]:
    return [blocks.cells for blocks in layout.axes]


def step(name: str, **parameters: object) -> Step:
    return Step(name, name, "input", parameters)


def test_a_chain_sends_what_its_plan_tells() -> None:
    assert moves.PIECE_BYTES == lines.PIECE_BYTES
    for topology in ((4, 4, 1), (2, 4, 2), (1, 4, 4)):
        decomposition = mb.Decomposition.over((32, 32, 32), math.prod(topology), topology)
        planned = moves_of(step("rfftn"), decomposition, "f4")
        layouts = route(Turned.of(decomposition), [2, 0, 1], [17, 32, 32])
        assert planned is not None
        assert layouts is not None
        stages = [Turned.of(decomposition)]
        for axis, layout in zip((2, 0, 1), layouts, strict=True):
            stages += [layout, layout.resized(axis, 17 if axis == 2 else 32)]
        pairs = [pair for pair in itertools.pairwise(stages) if cells_of(pair[0]) == cells_of(pair[1])]
        home = Turned.of(mb.Decomposition.over((32, 32, 17), math.prod(topology), topology))
        real = sum(sent_by(old, new, 8) for old, new in [*pairs, (stages[-1], home)])
        assert 0.9 < planned.sent / real < 1.5


@pytest.mark.parametrize(
    ("name", "parameters", "sent"),
    [
        ("fft", {"axis": 0}, 2 * 16 * 1000 * 0.75),
        ("fft", {"axis": 1}, 0),
        ("dctn", {}, 2 * 8 * 1000 * 0.75),
        ("spline_filter", {"order": 3}, 2 * 8 * 1000),
        ("rotate", {"angle": 3.0, "order": 1}, None),
        ("iradon", {}, 8 * 4000),
        ("sobel", {}, None),
        ("fft2", {"axes": [5, 6]}, None),
    ],
)
def test_steps_of_one_cut_axis(name: str, parameters: dict[str, object], sent: float | None) -> None:
    planned = moves_of(step(name, **parameters), mb.Decomposition.over((40, 100), 4, (4, 1)), "f8")
    assert (None if planned is None else planned.sent) == sent


def test_shapes_of_results() -> None:
    u = mb.Grid((4, 5, 6)).full(1.0)
    for name, parameters in (
        ("rfftn", {}), ("rfft2", {}), ("rfft", {"axis": 1}), ("fftn", {"s": [3, 7]}), ("irfftn", {}), ("dct", {"n": 9}),
        ("irfft", {"n": 5, "axis": 0}), ("fftn", {"axes": [2, 0]}), ("ihfft", {}),
    ):  # fmt: skip
        made = getattr(mb.fft, name, None)
        if made is not None:
            assert shape_after(step(name, **parameters), (4, 5, 6)) == made(u, **parameters).shape
    assert shape_after(step("zoom", zoom=2), (4, 5)) is None
    assert shape_after(step("poisson"), (4, 5)) == (4, 5)


def test_plans_tell_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("in.npy", np.ones((16, 16, 16)))
    Path("job.toml").write_text(
        '[input]\npath = "in.npy"\n[[step]]\nname = "waves"\nfilter = "rfftn"\n[[step]]\nfilter = "irfftn"\n'
        'input = "waves"\nsave = true\n[[step]]\nfilter = "poisson"\nbc = "neumann"\ninput = "input"\nsave = "v"\n'
        '[output]\npath = "out.h5"\n'
    )
    assert main(["run", "job.toml", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("about 0 B sent by a rank; ") == 3
    assert main(["plan", "job.toml", "--ranks", "1,4"]) == 0
    out = capsys.readouterr().out
    for words in ("moves    waves on 4 ranks: about", "moves    poisson on 4 ranks: about", " other rank"):
        assert words in out
