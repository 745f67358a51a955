"""Steps of a job that label, flood and measure: what a job file says of them, and what is refused before it runs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import UsageError
from mpibatch.cli import main
from mpibatch.job import Step, parse
from mpibatch.job.file.explanation import explained
from mpibatch.job.file.functions import known_filters, results_taken
from mpibatch.job.plan import plan

HEAD = '[input]\npath = "in.npy"\n[[step]]\nname = "cells"\nfilter = "label"\n[[step]]\n'
END = '\n[output]\npath = "out.h5"\n'


def steps_of(text: str) -> tuple[Step, ...]:
    return parse(HEAD + text + END, "job.toml").steps


def wrong(text: str, head: str = HEAD) -> str:
    with pytest.raises(UsageError) as caught:
        parse(head + text + END, "job.toml")
    return str(caught.value)


def test_the_guide_names_the_functions_that_are_no_steps() -> None:
    """Of those that return a field or a table: what takes a function."""
    functions = {name: getattr(room, name) for room in (mb.filters, mb.measure, mb.segment) for name in room.__all__}
    makers = {
        name
        for name, each in functions.items()
        if inspect.isfunction(each) and re.search("Field|RegionTable", str(each.__annotations__["return"]))
    }
    left_out = {name for name in makers - set(known_filters()) if not name.startswith("generic_")}
    assert left_out == set()
    assert {"relabel_sequential", "join_segmentations"} < makers | set(known_filters())
    assert len(makers) > 60
    for chapter in ("jobs", "objects"):
        text = (Path(mb.__file__).parent / "guide" / f"{chapter}.md").read_text(encoding="utf-8")
        assert "those that take a function" in text.replace("\n", " ")
        assert "`relabel_sequential`" in text


def test_a_step_names_the_results_that_it_reads() -> None:
    table = 'filter = "regionprops_table"\nintensity = "input"\nproperties = ["label", "area"]'
    expected = Step(
        "regionprops_table", "regionprops_table", "cells", {"properties": ["label", "area"]}, "regionprops_table", (),
        {"intensity": "input"},
    )  # fmt: skip
    assert steps_of(table)[1] == expected
    assert steps_of(f'labels = "cells"\n{table}')[1] == expected
    assert steps_of(f'input = "cells"\n{table}')[1] == expected
    assert expected.inputs == ("cells", "input")
    (_, either) = steps_of('filter = "apply_hysteresis_threshold"\nlow = 0.5\nhigh = "input"')
    assert (either.parameters, either.fields) == ({"low": 0.5}, {"high": "input"})


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            'filter = "regionprops_table"\nintensity = "raw"',
            "job.toml:8: step 2 (regionprops_table): there is no earlier",
        ),
        (
            'filter = "regionprops_table"\nintensity = 3',
            "intensity = 3; expected the name of an earlier step, in quotes",
        ),
        ('filter = "regionprops_table"\nintensitty = "cells"', "did you mean 'intensity'"),
        ('filter = "regionprops_table"\nproperties = ["label", 3]', "expected a list, each item a text in quotes"),
        ('filter = "regionprops_table"\nlabels = "cells"\ninput = "cells"', "input and labels are the same"),
        ('filter = "regionprops_table"\ninput = ["cells", "input"]', "name others by intensity"),
        ('filter = "join_segmentations"', "the result 's2' is missing; name an earlier step, as in s2 = \"...\""),
        ('filter = "relabel_sequential"\noffset = "one"', 'offset = "one"; expected a whole number'),
        ('filter = "reconstruction"', "the result 'mask' is missing; name an earlier step, as in mask = \"...\""),
        ('filter = "apply_hysteresis_threshold"\nlow = 1', "the parameter 'high' is missing"),
        ('filter = "find_objects"', "unknown filter 'find_objects'"),
    ],
)
def test_mistakes_in_what_is_read(step: str, words: str) -> None:
    assert words in wrong(step)


def test_every_function_is_explained_and_its_example_is_a_step() -> None:
    names = ("a", "b", "smooth")
    steps = "".join(f'[[step]]\nname = "{name}"\nfilter = "not"\nsave = true\n' for name in names)
    for name in known_filters():
        example = explained(name).partition("example:\n")[2]
        job = parse(f'[input]\npath = "i.h5"\n{steps}{example}{END}')
        assert job.steps[-1].filter == name
    assert [*results_taken("regionprops_table")] == ["labels", "intensity"]


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("in.npy", np.random.default_rng(3).random((12, 9)).astype("f4"))
    return tmp_path


def planned(text: str, picture: Path) -> str:
    del picture
    return plan(parse(HEAD.replace('"label"', '"threshold_otsu"') + text + END, "job.toml"), 2)


def test_a_plan_tells_types_of_results(picture: Path) -> None:
    text = (
        'filter = "label"\n[[step]]\nfilter = "regionprops_table"\nintensity = "input"\nsave = true\n'
        'properties = ["label", "centroid"]\n[[step]]\nfilter = "peak_local_max"\ninput = "input"\nsave = true\n'
        '[[step]]\nfilter = "distance_transform_edt"\ninput = "cells"\nsave = true'
    )
    lines = planned(text, picture)
    for words in (
        ": int32", "a table of label, centroid-0, centroid-1", "a table of coordinate-0, coordinate-1", ": float64",
        "regionprops_table(label, intensity=input, properties=['label', 'centroid']",
    ):  # fmt: skip
        assert words in lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('filter = "regionprops_table"\ninput = "input"', "labels of dtype float32"),
        ('filter = "regionprops_table"\ninput = "l"\nproperties = ["aera"]', "did you mean 'area'"),
        ('filter = "regionprops_table"\ninput = "l"\nproperties = ["intensity_mean"]', "intensity"),
        ('name = "t"\nfilter = "regionprops_table"\ninput = "l"\n[[step]]\nfilter = "sobel"', "'t', which is a"),
        ('filter = "distance_transform_edt"\nreturn_indices = true', "returns several results"),
        ('filter = "join_segmentations"\ninput = "l"\ns2 = "l"\nreturn_mapping = true', "returns several results"),
        ('filter = "join_segmentations"\ninput = "l"\ns2 = "input"', "s2: the field is of float32"),
        ('filter = "relabel_sequential"\ninput = "cells"', "labels are integers"),
        ('filter = "relabel_sequential"\ninput = "l"\noffset = 0', "give 1 or more"),
        ('filter = "label"\nstructure = [[1, 1], [1, 1]]\ninput = "cells"', "structure"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(picture: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(
            f'name = "l"\nfilter = "label"\nsave = true\n[[step]]\n{text}\nsave = true',
            picture,
        )
    assert words in str(caught.value)


def test_the_command_line_labels_and_measures(picture: Path, capsys: Any) -> None:
    import mpibatch as mb

    words = ["filter", "in.npy", "out.h5::table", "threshold_otsu", "label:save=cells"]
    assert main([*words, "regionprops_table:intensity=input,properties=[label,area]", "--quiet"]) == 0
    table, cells = mb.load("out.h5", "table"), mb.load("out.h5", "cells")
    assert (table.rows, list(table)) == (int(mb.max(cells)), ["label", "area"])
    attrs = {info.name: info.attrs for info in mb.io.describe("out.h5")}
    assert attrs["cells"]["objects"] == table.rows
    assert main(["filter", "--help", "label"]) == 0
    assert "As a step: the labels" in capsys.readouterr().out
    numbered = ["remove_small_objects:max_size=1", "relabel_sequential:offset=2", "join_segmentations:s2=label"]
    assert main(["filter", "in.npy", "joined.h5::joined", "threshold_otsu", "label", *numbered, "--quiet"]) == 0
    large = mb.segment.remove_small_objects(cells, max_size=1)
    expected = mb.segment.join_segmentations(mb.segment.relabel_sequential(large, 2)[0], cells)
    np.testing.assert_array_equal(mb.load("joined.h5", "joined").owned, expected.owned)
    assert 0 < mb.count_nonzero(large) < mb.count_nonzero(cells)
    assert int(mb.max(expected)) == table.rows
