"""Job files: what is accepted, and every mistake told at once with its line and the nearest right name."""

import ast
import subprocess
import sys

import pytest

from mpibatch.base.errors import RunError, UsageError
from mpibatch.job import Job, Step, parse
from mpibatch.job.document import checks
from mpibatch.job.file.functions import known_filters, parameters_of
from mpibatch.job.file.reader import read_text
from mpibatch.job.file.schema import check_fit

GOOD = """\
[input]
path = "in.h5"
dataset = "raw"

[grid]
topology = [2, 0]
sizes = [[3, 4], []]
periodic = [false, true]

[[step]]
name = "smooth"
filter = "gaussian_filter"
sigma = [1, 2.5]
save = "filtered"

[[step]]
filter = "sobel"

[[step]]
filter = "sobel"
input = "smooth"
axis = 0
save = true

[[step]]
filter = "binarize"
input = "sobel"
threshold = 0.5

[output]
path = "out.h5"
dataset = "edges"
"""


def problems_of(text: str, *settings: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse(text, "job.toml", settings)
    return str(caught.value).split("\n  ")


def test_a_good_job():
    job = parse(GOOD, "job.toml")
    assert (job.input.path, job.input.dataset, job.output.path) == ("in.h5", "raw", "out.h5")
    assert job.grid == {"topology": [2, None], "sizes": [[3, 4], None], "periodic": [False, True]}
    assert parse(GOOD, "job.toml", ["grid.weights=[[],[1,2.5]]"]).grid["weights"] == [None, [1, 2.5]]
    assert job.steps == (
        Step("smooth", "gaussian_filter", "input", {"sigma": [1, 2.5]}, "filtered"),
        Step("sobel", "sobel", "smooth", {}, None),
        Step("sobel_2", "sobel", "smooth", {"axis": 0}, "sobel_2"),
        Step("binarize", "binarize", "sobel", {"threshold": 0.5}, "edges"),
    )
    assert job.text == GOOD


def minimal(step: str, output: str = 'path = "o.h5"', grid: str = "") -> str:
    """A job with one step and with a blank line between sections: the step's keys begin in line 5."""
    return f'[input]\npath = "i.h5"\n\n[[step]]\n{step}\n[output]\n{output}\n{grid}'


def test_a_job_that_names_no_result_saves_the_last():
    assert parse(minimal('filter = "sobel"')).steps[0].save == "sobel"


def test_an_output_is_a_dtype_and_no_result():
    steps = parse(
        minimal('name = "f4"\nfilter = "sobel"\n[[step]]\nfilter = "gaussian_filter"\nsigma = 1\noutput = "f4"')
    ).steps
    assert steps[1].parameters == {"sigma": 1, "output": "f4"}


def test_all_mistakes_are_told_at_once_in_their_order():
    text = (
        GOOD.replace('path = "in.h5"', 'pth = "in.h5"').replace("sigma =", "sigm =").replace('"sobel"\n', '"sobl"\n', 1)
    )
    head, *found = problems_of(text.replace("[grid]", "[grdi]"))
    assert head == "job.toml: 7 problems"
    assert found == [
        "job.toml:1: [input] needs the key 'path'",
        "job.toml:2: [input] has no key 'pth'; did you mean 'path'?",
        "job.toml:5: unknown section [grdi]; did you mean 'grid'?",
        "job.toml:12: step 1 (smooth: gaussian_filter): the parameter 'sigma' is missing",
        "job.toml:13: step 1 (smooth: gaussian_filter): there is no parameter 'sigm'; did you mean 'sigma'?",
        "job.toml:16: step 2 (sobl) is neither saved nor read by a later step; add save = true or remove it",
        "job.toml:17: step 2 (sobl): unknown filter 'sobl'; did you mean 'sobel'?",
    ]


STEPS = [
    ('filter = "gaussian_filter"\nsigma = nan', 6, "sigma = nan; expected a finite number, 0 or more"),
    ('filter = "gaussian_filter"\nsigma = -1', 6, "sigma = -1; expected a finite number, 0 or more"),
    ('filter = "gaussian_filter"\nsigma = [1, "a"]', 6, 'sigma = [1, "a"]; expected a finite number'),
    ('filter = "gaussian_filter"\nsigma = []', 6, "sigma = []; expected"),
    ('filter = "gaussian_filter"\nsigma = true', 6, "sigma = true; expected a finite number"),
    ('filter = "gaussian_filter"\nsigma = 1\nmode = "reflec"', 7, 'expected "reflect" (one of reflect, mirror'),
    ('filter = "gaussian_filter"\nsigma = 1\norder = 0.5', 7, "order = 0.5; expected a whole number, 0 or more"),
    ('filter = "gaussian_filter"\nsigma = 1\ncval = "x"', 7, 'cval = "x"; expected a number'),
    ('filter = "gaussian_filter"\nsigma = 1\noutput = "out.h5"', 7, 'output = "out.h5"; expected a dtype'),
    ('filter = "gaussian_filter"\nsigma = 1\nsaved = true', 7, "there is no parameter 'saved'; did you mean 'save'?"),
    ('filter = "uniform_filter"\nsize = 0', 6, "size = 0; expected a whole number, 1 or more"),
    ('filter = "binarize"\nthreshold = "otsus"', 6, 'threshold = "otsus"; expected a finite number, or "otsu"'),
    ('filter = "median_filter"', 5, "a window is missing; give size or footprint"),
    ('filter = "median_filter"\nsize = 3\nfootprint = 1', 7, "footprint = 1; expected a list"),
    ('filter = "gaussian_filter1d"\nsigma = [1, 2]', 6, "sigma = [1, 2]; expected one value, not a list"),
    ('filter = "sobel"\naxis = [0, 1]', 6, "axis = [0, 1]; expected one value, not a list"),
    ('filter = "binary_dilation"\nmask = 3', 6, "mask = 3; expected the name of an earlier step, in quotes"),
    ('filter = "convert"\ndtype = "f3"', 6, "expected a dtype such as"),
    ('filter = "convert"', 5, "the parameter 'dtype' is missing"),
    ('filter = "flood_fill"\nin_place = true\nseed_point = 0\nnew_value = 1', 6, "there is no parameter 'in_place'"),
    ('filter = "sobell"', 5, "unknown filter 'sobell'; did you mean 'sobel'?"),
    ("filter = 3", 5, "filter = 3; expected a text in quotes"),
    ('name = "a"', 4, "step 1 (a) needs the key 'filter'"),
    ('filter = "sobel"\ninput = "smooth"', 6, "no earlier step 'smooth' to read"),
    ('filter = "sobel"\ninput = "b"\n[[step]]\nname = "b"\nfilter = "sobel"', 6, "'b' to read; it comes later"),
    ('filter = "sobel"\nname = "input"', 6, "the name 'input' stands for the input file"),
    ('filter = "sobel"\nname = "a"\n[[step]]\nfilter = "sobel"\nname = "a"', 9, "the name 'a' is taken"),
    ('filter = "sobel"\nsave = 3', 6, "save = 3; expected true or false, or a text in quotes"),
    ('filter = "sobel"\n[[step]]\nfilter = "sobel"\ninput = "input"', 4, "neither saved nor read by a later step"),
    ('filter = "sobel"\nsave = "a"\n[[step]]\nfilter = "sobel"\nsave = "a"', 9, "both save 'a'"),
]


@pytest.mark.parametrize(("step", "line", "words"), STEPS)
def test_a_mistake_in_a_step(step, line, words):
    found = [text for text in problems_of(minimal(step)) if words in text]
    assert len(found) == 1
    assert found[0].startswith(f"job.toml:{line}: ")


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("topology = 2", "topology = 2; expected a list"),
        ('topology = ["a"]', "a whole number, 0 or more"),
        ("sizes = [3, 4]", "sizes = [3, 4]; expected a list"),
        ("weights = [[1, -2]]", "weights = [[1, -2]]; expected a list"),
        ("periodic = 1", "periodic = 1; expected true or false"),
        ("spacing = 0", "spacing = 0; expected a finite number, more than 0"),
        ("origin = inf", "origin = inf; expected a finite number"),
        ("axis = 3", "[grid] has no key 'axis'; did you mean 'axes'?"),
    ],
)
def test_a_mistake_in_the_grid(grid, words):
    (found,) = problems_of(minimal('filter = "sobel"', grid=f"[grid]\n{grid}"))
    assert words in found
    assert found.startswith("job.toml:9: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no [[step]]"),
        ("step = 3", "write each step as a section [[step]]"),
        ('[step]\nfilter = "sobel"', "write [[step]], once for each step"),
        ("[[input]]\npath = 'x'", "write it as a section [input]"),
        ("input = 'x'", "write it as a section [input]"),
        ("[inputs]", "unknown section [inputs]; did you mean 'input'?"),
        ("[simulation]", "[simulation] needs the key 'program'"),
    ],
)
def test_a_mistake_in_the_sections(text, words):
    assert any(words in found for found in problems_of(text))


@pytest.mark.parametrize("path", ["i.h5", "./i.h5", "x/../i.h5"])
def test_the_output_is_not_the_input(path):
    (found,) = problems_of(minimal('filter = "sobel"', output=f'path = "{path}"'))
    assert "is the input file" in found


def test_the_output_is_a_file_alone():
    (found,) = problems_of(minimal('filter = "sobel"', output='path = "o.h5::edges"'))
    assert "write path = 'o.h5' and dataset = 'edges'" in found


def test_a_result_is_named_once():
    (found,) = problems_of(minimal('filter = "sobel"\nsave = "a"', output='path = "o.h5"\ndataset = "b"'))
    assert found.startswith("job.toml:9: ")
    assert "name it once" in found


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb =\n", 2), ('x = "open', 1), ("[a]\n\n[a]\n", 3)])
def test_broken_toml_keeps_its_line(text, line):
    (found,) = problems_of(text)
    assert found.startswith(f"job.toml:{line}: not valid TOML: ")


def test_a_job_file_must_be_there_and_be_text(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        read_text(str(tmp_path / "no.toml"))
    with pytest.raises(RunError, match="cannot be read"):
        read_text(str(tmp_path))
    (tmp_path / "x").write_bytes(b"\x89HDF\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_text(str(tmp_path / "x"))
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert isinstance(parse(read_text(str(tmp_path / "bom.toml"))), Job)


def test_checking_needs_neither_mpi_nor_numba():
    code = f"import sys; from mpibatch.job import parse; parse({GOOD!r}); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    for name in ("mpi4py", "numba", "h5py", "numpy", "scipy"):
        assert f"'{name}'" not in loaded


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ('filter = "gaussian_filter"\nsigma = [1, 2, 3]', "sigma = [1, 2, 3] has 3 values for 2 filtered axes"),
        ('filter = "gaussian_filter"\nsigma = [1, 2]\naxes = [0]', "sigma = [1, 2] has 2 values for 1 filtered axes"),
        ('filter = "gaussian_filter"\nsigma = 1\naxes = [0, 2]', "axes = [0, 2]; the grid has 2 axes, -2 to 1"),
        ('filter = "sobel"\naxis = 2', "axis = 2; the grid has 2 axes"),
        ('filter = "sobel"\naxis = -2', ""),
        ('filter = "gaussian_filter"\nsigma = [1, 2]\nmode = ["wrap", "nearest"]', ""),
        ('filter = "gaussian_filter"\nsigma = 1\naxes = 1', ""),
    ],
)
def test_parameters_that_do_not_fit_the_axes(step, words):
    job = parse(minimal(step), "job.toml")
    if not words:
        check_fit(job, 2)
        return
    with pytest.raises(UsageError) as caught:
        check_fit(job, 2)
    assert words in str(caught.value)


def test_every_filter_tells_its_parameters():
    for name in known_filters():
        for parameter in parameters_of(name):
            assert parameter.name not in ("u", "mask")
            if parameter.default not in (None, "None", "math.inf"):
                value = ast.literal_eval(parameter.default)
                value = list(value) if isinstance(value, tuple) else value
                assert parameter.check(value) is None, (name, parameter)


@pytest.mark.parametrize("footprint", ["[[1, 0], [1]]", '[["a", "b"]]', "[[1, []]]", "[[]]", "3"])
def test_a_footprint_is_an_array_of_numbers(footprint):
    text = f'[input]\npath = "a"\n[[step]]\nfilter = "median_filter"\nfootprint = {footprint}\n[output]\npath = "b"\n'
    (problem,) = problems_of(text)
    assert problem.startswith("job.toml:5: ")
    assert "lists of them of equal length" in problem


def test_a_gradient_magnitude_smooths_along_all_axes():
    text = """
[input]
path = "a"
[[step]]
filter = "gaussian_gradient_magnitude"
axes = [0]
sigma = {sigma}
[output]
path = "b"
"""
    check_fit(parse(text.format(sigma=[1, 2])), 2)
    with pytest.raises(UsageError, match="1 values for 2"):
        check_fit(parse(text.format(sigma=[1])), 2)


def test_choices_may_be_whole_numbers():
    check = checks.one_of(2, 4, 8)
    assert check(4) is None
    for wrong in (3, True, "4", 4.0):
        assert check(wrong) == "one of 2, 4, 8"


def test_a_region_compression_and_driver_are_read() -> None:
    job = parse(
        '[input]\npath = "a.h5"\nregion = "10:200, ::4"\nallow = ["external links"]\n'
        '[[step]]\nfilter = "sobel"\n[output]\npath = "b.h5"\ncompression = "zstd:3"\n'
        'chunks = [8, 8]\ndriver = "direct"\n'
    )
    assert checks.slices(job.input.region or "") == (slice(10, 200), slice(None, None, 4))
    assert (job.output.compression, job.output.chunks, job.output.driver) == ("zstd:3", [8, 8], "direct")


@pytest.mark.parametrize(
    ("section", "line", "words"),
    [
        ("input", 'region = "10"', "slices as text"),
        ("input", 'region = "a:b"', "slices as text"),
        ("input", 'allow = ["everything"]', "external links"),
        ("output", 'compression = "gzip:11"', "levels 0 to 9"),
        ("output", 'compression = "rar"', "rar"),
        ("output", "chunks = [0]", "chunks"),
        ("output", 'driver = "posix"', "direct"),
    ],
)
def test_what_is_none_of_these_is_told(section: str, line: str, words: str) -> None:
    parts = {"input": 'path = "a.h5"', "output": 'path = "b.h5"'}
    parts[section] += "\n" + line
    with pytest.raises(UsageError, match=words):
        parse(f'[input]\n{parts["input"]}\n[[step]]\nfilter = "sobel"\n[output]\n{parts["output"]}\n')
