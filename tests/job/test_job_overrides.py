"""Values from the command line: --set, and a pipeline on one line."""

import math

import pytest

from mpibatch.base.errors import UsageError
from mpibatch.job import Step, parse
from mpibatch.job.file.command_line import job_of, split_place, split_step
from mpibatch.job.file.overrides import toml_value

JOB = """\
[input]
path = "in.h5"
[[step]]
name = "smooth"
filter = "gaussian_filter"
sigma = 2
[[step]]
filter = "sobel"
mode = "wrap"
[[step]]
filter = "sobel"
mode = "nearest"
[output]
path = "out.h5"
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("2.5", 2.5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("(1, 2)", [1, 2]),
        ("( [1], [2] )", [[1], [2]]),
        ("wrap", "wrap"),
        ('"wrap"', "wrap"),
        ("'a b'", "a b"),
        ("../out dir/x.h5", "../out dir/x.h5"),
        ("-inf", -math.inf),
    ],
)
def test_values_are_tomls_or_bare_texts(text, value):
    assert toml_value(text) == value


@pytest.mark.parametrize("text", ["", "[1, 2", '"open', "{a", "  "])
def test_a_broken_value_is_no_text(text):
    with pytest.raises(UsageError, match="is not a value"):
        toml_value(text)


@pytest.mark.parametrize(
    ("setting", "step", "key", "value"),
    [
        ("step.sigma=3", 0, "sigma", 3),
        ("smooth.sigma=[1,2]", 0, "sigma", [1, 2]),
        ("step.1.sigma=4", 0, "sigma", 4),
        ("step.smooth.sigma=4", 0, "sigma", 4),
        ("step.truncate=3", 0, "truncate", 3),
        ("sobel.mode=mirror", 1, "mode", "mirror"),
        ("sobel_2.mode=mirror", 2, "mode", "mirror"),
        ("step.3.axis=0", 2, "axis", 0),
    ],
)
def test_a_setting_finds_its_step(setting, step, key, value):
    assert parse(JOB, settings=[setting]).steps[step].parameters[key] == value


def test_sections_can_be_set_even_if_they_are_not_there():
    job = parse(JOB, settings=["input.dataset=raw", "output.path=a/b.h5", "grid.periodic=true", "step.3.save=e"])
    assert (job.input.dataset, job.output.path, job.grid) == ("raw", "a/b.h5", {"periodic": True})
    assert job.steps[2].save == "e"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("step.mode=wrap", "2 steps could be meant; say which: step.2.mode (sobel), step.3.mode (sobel_2)"),
        ("step.axis=1", "2 steps could be meant"),
        ("step.save=true", "3 steps could be meant"),
        ("step.size=3", "no step of this job takes 'size'"),
        ("step.4.mode=wrap", "there is no step 4"),
        ("smoth.sigma=3", "there is no section or step 'smoth'; did you mean 'smooth'?"),
        ("sigma=3", "write SECTION.KEY=VALUE"),
        ("step.sigma", "write SECTION.KEY=VALUE"),
        ("step..sigma=3", "write SECTION.KEY=VALUE"),
        ("step.sigma=[1", "'[1' is not a value"),
        ("step.sigma=-1", "step 1 (smooth: gaussian_filter): sigma = -1; expected a finite number"),
        ("input.path=3", "[input] path = 3; expected a text"),
        ("output.pth=x", "[output] has no key 'pth'; did you mean 'path'?"),
    ],
)
def test_a_wrong_setting_is_named(setting, words):
    with pytest.raises(UsageError) as caught:
        parse(JOB, "job.toml", [setting])
    assert str(caught.value).startswith(f"--set {setting}: ")
    assert words in str(caught.value)


def test_a_step_on_one_line():
    assert split_step("sobel") == {"filter": "sobel"}
    assert split_step("sobel:") == {"filter": "sobel"}
    assert split_step("gaussian_filter:sigma=[1,2],mode='a,b', cval=(1,(2,3)),save=x") == {
        "filter": "gaussian_filter",
        "sigma": [1, 2],
        "mode": "a,b",
        "cval": [1, [2, 3]],
        "save": "x",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with a filter's name"),
        (":sigma=1", "begins with a filter's name"),
        ("sobel:axis", "'axis' is not KEY=VALUE"),
        ("sobel:axis=1,", "'' is not KEY=VALUE"),
        ("sobel:axis=1,axis=2", "'axis' is given twice"),
        ("sobel:axis=[1,2", "has no closing ]"),
        ("sobel:mode='wrap", "has no closing '"),
        ("sobel:axis=", "is not a value"),
    ],
)
def test_a_broken_step(text, words):
    with pytest.raises(UsageError) as caught:
        split_step(text)
    assert words in str(caught.value)


def test_a_file_and_its_dataset():
    assert split_place("a.h5::b/c") == ("a.h5", "b/c")
    assert split_place("a.h5") == ("a.h5", None)
    for text in ("a.h5::", "::b", ""):
        with pytest.raises(UsageError, match="names no"):
            split_place(text)


def test_a_pipeline_on_one_line():
    job = job_of("in.h5::raw", "out.h5::edges", ["gaussian_filter:sigma=[1,2],save=smooth", "sobel"])
    assert job.steps == (
        Step("gaussian_filter", "gaussian_filter", "input", {"sigma": [1, 2]}, "smooth"),
        Step("sobel", "sobel", "gaussian_filter", {}, "edges"),
    )
    assert (job.input.path, job.input.dataset, job.output.path) == ("in.h5", "raw", "out.h5")


def test_mistakes_of_a_pipeline_name_the_words_they_are_in():
    with pytest.raises(UsageError) as caught:
        job_of("in.h5::", "out.h5", ["sobel:axis", "gaussian_filter:sigma=1"])
    assert str(caught.value).split("\n  ") == [
        "2 problems",
        "'in.h5::' names no dataset; write FILE or FILE::DATASET",
        "step 1, 'sobel:axis': 'axis' is not KEY=VALUE; write it as in gaussian_filter:sigma=2,mode=wrap",
    ]
    with pytest.raises(UsageError) as caught:
        job_of("in.h5", "out.h5", ["sobl", "gaussian_filter:sigm=1"])
    assert str(caught.value).split("\n  ")[1] == "'sobl': step 1 (sobl): unknown filter 'sobl'; did you mean 'sobel'?"
