"""mpibatch report on made-up studies whose truth is known: figures, findings, files, and hostile records."""

from __future__ import annotations

import csv
import html.parser
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.json_files import write_json
from mpibatch.cli import main
from mpibatch.tools.report import exports, extrap, page, tables
from mpibatch.tools.scaling import folder as folders
from mpibatch.tools.scaling import study as studies
from tests.support.studies import PHASES, amdahl, build, noise, record

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
from mpibatch.tools.report.comparison import compare
from mpibatch.tools.report.findings import Remark, find
from mpibatch.tools.report.measures import Measures, measure
from mpibatch.tools.report.plots import PHASE_COLORS, draw
from mpibatch.tools.report.words import facts, losses, promise, short, summary
from mpibatch.tools.scaling.summary import differing

if TYPE_CHECKING:
    from collections.abc import Iterator


def report(study: studies.Study, *options: str) -> int:
    return main(["report", str(study.path), "--quiet", *options])


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory) -> studies.Study:
    """A study by Amdahl's law with 5 % serial work and 1 % noise, and its report."""

    def add_prediction(made: dict[str, Any], ranks: int, _: int) -> None:
        made["run"]["predicted"] = {"seconds": 1.1 * amdahl(ranks), "memory": 3e8}

    study = build(tmp_path_factory.mktemp("strong") / "study", change=add_prediction)
    assert report(study) == 0
    return study


@pytest.fixture(scope="module")
def measured(strong: studies.Study) -> Measures:
    return measure(strong)


def test_the_figures_of_a_known_study(measured):
    widest = measured.widest
    assert widest.label == "8"
    assert widest.speedup.value == pytest.approx(amdahl(1) / amdahl(8), rel=0.03)
    assert widest.speedup.low < amdahl(1) / amdahl(8) * 1.01
    assert widest.efficiency.value == pytest.approx(widest.speedup.value / 8)
    assert widest.serial == pytest.approx(0.05, abs=0.01)
    assert measured.fits[0].value("serial") == pytest.approx(0.05, abs=0.005)
    # The split is that of one run, and adds up.
    assert sum(part.mean for part in widest.split.values()) == pytest.approx(widest.typical.total)
    assert widest.slowest_rank == 7
    assert widest.traffic("bytes") == 1_600_000 * 7


def test_pops_factors_by_hand(measured):
    row = measured.rows[1]
    useful = PHASES["compute"] + PHASES["pack"] + PHASES["other"]
    runtime = 1 - PHASES["io"]
    most = useful + 0.02 * PHASES["compute"]
    assert row.pop.load_balance == pytest.approx(useful / most)
    assert row.pop.communication == pytest.approx(most / runtime)
    assert row.pop.parallel == pytest.approx(useful / runtime)
    # The same shares at every count: what is lost is lost in computing longer.
    assert row.pop.computation == pytest.approx(row.speedup.value / 2, rel=0.03)


def test_the_roofline_by_hand(measured):
    roof = next(roof for roof in measured.roofs if roof.label == "8")
    assert roof.intensity == 7 / 16
    assert roof.triad == 70.0  # of 4 ranks: the next fewer that was measured
    assert roof.triad_ranks == 4
    assert roof.ceiling == pytest.approx(70 * 7 / 16)
    run = measured.widest.typical
    assert roof.measured == pytest.approx(7 * 1e8 / (0.7 * run.total) / 1e9)


def test_the_sentence_to_quote(measured):
    sentence = summary(measured, ())
    for words in ("heat", "1 rank", "8 ranks", "A CPU", "median of 5 runs", "95 %", "the same bits"):
        assert words in sentence
    assert "All 20 runs, on 1, 2, 4, 8 ranks, ended in the same output" in promise(measured)


def test_what_is_lost_is_told_by_phase(measured):
    row = measured.widest
    lost = row.lost(measured.base)
    # Equal shares at every count: each phase loses in proportion.
    whole = 8 * row.typical.total - measured.base.typical.total
    assert lost["halo"] == pytest.approx(PHASES["halo"] * whole)
    assert sum(lost.values()) == pytest.approx(whole)
    assert "70 % are longer computing" in losses(measured)
    assert "12 % waiting in halos" in losses(measured)


def test_everything_is_there(strong):
    folder = strong.path / "report"
    names = {path.name for path in folder.iterdir()}
    plots = {
        f"{name}.{kind}" for name in ("speedup", "efficiency", "time", "split", "roofline") for kind in ("svg", "png")
    }
    texts = {"index.html", "report.md", "report.json", "points.csv", "runs.csv", "extrap.txt", "extrap.jsonl"}
    assert names == plots | texts
    document = json.loads((folder / "report.json").read_text())
    assert [point["ranks"] for point in document["points"]] == [1, 2, 4, 8]
    assert document["findings"] == []
    lines = list(csv.DictReader((folder / "points.csv").read_text().splitlines()))
    assert [int(line["ranks"]) for line in lines] == [1, 2, 4, 8]
    assert float(lines[3]["speedup"]) == document["points"][3]["speedup"]["value"]
    assert len(list(csv.DictReader((folder / "runs.csv").read_text().splitlines()))) == 20
    markdown = (folder / "report.md").read_text()
    header = next(line for line in markdown.splitlines() if line.startswith("| ranks | threads"))
    assert header.count("|") == 11
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


class Page(html.parser.HTMLParser):
    """What a page is made of; elements must be closed as they were opened."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.identifiers: list[str | None] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self.identifiers += [value for key, value in attrs if key == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(strong):
    parsed_page = Page((strong.path / "report" / "index.html").read_text())
    assert parsed_page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base", "form"})
    assert len(parsed_page.identifiers) == len(set(parsed_page.identifiers))
    for name, value in parsed_page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert (value or "").startswith("#")  # within the page


def test_equal_studies_give_equal_bytes(strong, tmp_path):
    # In a process of its own, whose hashes differ, and with the user's own style for plots.
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: none\n")
    command = [sys.executable, "-m", "mpibatch", "report", str(strong.path), "--output", str(tmp_path / "again")]
    subprocess.run(command, check=True, timeout=120, cwd=tmp_path, capture_output=True)
    for path in (strong.path / "report").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


# What Extra-P reads, read back by the grammar of its documentation.


def parsed(text: str) -> dict[tuple[str, str, tuple[float, ...]], list[float]]:
    """(metric, region, point) → values."""
    points: list[tuple[float, ...]] = []
    metric = region = ""
    left: list[tuple[float, ...]] = []
    values_by_point = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "PARAMETER":
            assert rest.split() in (["ranks"], ["ranks", "threads"])
        elif word == "POINTS":
            points = [tuple(map(float, point.split())) for point in rest[1:-1].split(") (")]
        elif word == "METRIC":
            assert not left
            metric = rest
        elif word == "REGION":
            assert not left
            region, left = rest, list(points)
        elif word == "DATA":
            assert "e" not in rest  # the grammar has no exponents
            values_by_point[metric, region, left.pop(0)] = [float(value) for value in rest.split(" ")]
        else:
            assert word.startswith("#")
    assert not left
    return values_by_point


def test_extra_p_reads_what_was_measured(strong, measured):
    values_by_point = parsed((strong.path / "report" / "extrap.txt").read_text())
    for row in measured.rows:
        point = (float(row.point.ranks),)
        assert values_by_point["time", "run", point] == pytest.approx(list(row.times), abs=1e-9)
        kernel = [run.kernels[0]["seconds"] for run in row.point.runs]
        assert values_by_point["time", "run->kernel:heat", point] == pytest.approx(kernel, abs=1e-9)
        assert values_by_point["bytes_sent", "run->halo", point] == [row.traffic("bytes")] * 5
    lines = [json.loads(line) for line in (strong.path / "report" / "extrap.jsonl").read_text().splitlines()]
    same = {(line["metric"], line["callpath"], (float(line["params"]["ranks"]),)): line["value"] for line in lines}
    assert same.keys() == values_by_point.keys()
    assert all(values_by_point[key] == pytest.approx(value, abs=1e-9) for key, value in same.items())


# Findings: each with a study that has it, and the clean one that has none of them.


def keys(study: studies.Study) -> set[str]:
    return {finding.key for finding in find(measure(study))}


def finding_of(study: studies.Study, key: str) -> Remark:
    return next(finding for finding in find(measure(study)) if finding.key == key)


def in_run(**facts: Any) -> Any:
    return lambda made, ranks, repeat: made["run"].update(facts)


def test_a_clean_study_has_no_findings(strong, tmp_path):
    assert keys(strong) == set()
    weak = build(tmp_path / "weak", mode="weak", law=lambda p: 8 + 0.02 * p)
    assert keys(weak) == set()
    assert "the same bits" not in summary(measure(weak), keys(weak))  # of other sizes
    assert "All runs of one size ended in the same output (4 sizes" in promise(measure(weak))


def uneven(made: dict[str, Any], ranks: int, repeat: int) -> None:
    made["run"]["cells"] = 1_000_000 * ranks + 100_000 * (ranks > 2)


def test_uneven_work_in_a_weak_study(tmp_path):
    study = build(tmp_path / "s", mode="weak", law=lambda p: 8.0, change=uneven)
    assert "not constant" in finding_of(study, "work-not-constant").words
    assert "3 % more" not in finding_of(study, "work-not-constant").words
    # 5 % more work in as much time is more speed.
    assert measure(study).rows[2].speedup.value == pytest.approx(4.1, rel=0.03)


def test_different_work_in_a_strong_study(tmp_path):
    def fewer(made: dict[str, Any], ranks: int, repeat: int) -> None:
        made["run"]["steps"] = 100 - ranks

    assert "work-differs" in keys(build(tmp_path / "s", change=fewer))


def test_no_base(tmp_path):
    study = build(tmp_path / "s", counts=(4, 8, 16))
    assert "against 4" in finding_of(study, "base-missing").words
    assert measure(study).rows[1].ideal == 2


def test_more_threads_than_cores(tmp_path):
    study = build(tmp_path / "s", change=in_run(binding={"cores": 4, "shared": False, "host_cores": 4}))
    assert "8 ranks (8 threads on 4 cores)" in finding_of(study, "oversubscribed").words
    two_hosts = in_run(binding={"cores": 4, "host_cores": 4}, hosts={"a": 4, "b": 4})
    assert "oversubscribed" not in keys(build(tmp_path / "t", counts=(8, 16), change=two_hosts))


def test_ranks_that_share_their_cores(tmp_path):
    study = build(tmp_path / "s", change=in_run(binding={"cores": 64, "shared": True, "host_cores": 64}))
    assert "bind-to core" in finding_of(study, "binding-shared").advice


def test_too_few_runs(tmp_path):
    assert "few-runs" in keys(build(tmp_path / "s", repeat=3))


def test_a_wide_spread_and_a_difference_inside_it(tmp_path):
    study = build(tmp_path / "s", law=lambda p: 3.0 + 0.05 / p, factor=noise(4, 0.15))
    assert "spread too far" in finding_of(study, "spread-wide").words
    assert "1 and 2" in finding_of(study, "inside-noise").words


def test_efficiency_above_one(tmp_path):
    study = build(tmp_path / "s", law=lambda p: 8 / p**1.2)
    assert "cache" in finding_of(study, "above-one").words
    by_noise = build(tmp_path / "t", law=lambda p: 8 / p, factor=noise(5, 0.03))
    assert "above-one" not in keys(by_noise)
    assert "above-one-noise" in keys(by_noise)


def test_imbalance_that_looks_like_communication(tmp_path):
    waiting = {**PHASES, "compute": 0.5, "halo": 0.32}
    study = build(tmp_path / "s", make=lambda *a, **k: record(*a, **k, phases=waiting, imbalance=1.4))
    finding = finding_of(study, "imbalance")
    assert "rank 1" in finding.words
    assert "40 % longer" in finding.words
    even = build(tmp_path / "t", make=lambda *a, **k: record(*a, **k, phases=waiting, imbalance=1.01))
    assert "imbalance" not in keys(even)  # here it is the network


def test_different_hosts_and_versions(tmp_path):
    def moved(made: dict[str, Any], ranks: int, repeat: int) -> None:
        if ranks == 4:
            made["run"] |= {"hosts": {"node7": 4}, "versions": {"numpy": "9.9"}}

    study = build(tmp_path / "s", change=moved)
    assert "node7" in finding_of(study, "hosts-differ").words
    assert "numpy 2.4.3 and 9.9" in finding_of(study, "versions-differ").words


def test_different_commits(tmp_path):
    def moved(made: dict[str, Any], ranks: int, repeat: int) -> None:
        made["point"] = {"commit": "4567def-dirty" if ranks == 8 else "0123abc"}

    study = build(tmp_path / "s", change=moved)
    assert "0123abc on 1, 2, 4; 4567def" in finding_of(study, "commits-differ").words
    assert "4567def." in finding_of(study, "dirty").words
    assert dict(facts(measure(study)))["Commit"] == "0123abc on 1, 2, 4; 4567def-dirty on 8"
    # A record that tells none was made at the study's.
    assert dict(facts(measure(build(tmp_path / "t"))))["Commit"] == "0123abc"


def test_a_commit_tells_of_which_repository(tmp_path):
    study = build(tmp_path / "s", commit="0123456789abcdef-dirty of simulations")
    assert "0123456789ab of simulations." in finding_of(study, "dirty").words
    assert dict(facts(measure(study)))["Commit"] == "0123456789abcdef-dirty of simulations"


@pytest.mark.parametrize(
    ("key", "forbidden", "options"),
    [
        (
            "outputs-differ",
            "times as fast|efficiency",
            {"change": lambda made, ranks, _: made.update(digest=f"{ranks:064x}")},
        ),
        ("oversubscribed", "efficiency", {"change": in_run(binding={"cores": 1, "host_cores": 2})}),
        ("spread-wide", "efficiency", {"factor": noise(part=0.5)}),
        ("few-runs", "interval", {"repeat": 3}),
        ("above-one-noise", r"10[1-9] %", {"law": lambda p: 8 / p, "factor": noise(3, 0.02), "repeat": 5}),
        ("inside-noise", "fastest", {"law": lambda p: 8 / min(p, 3.99) + 0.001 * p, "factor": noise(part=0.02)}),
    ],
)
def test_the_headline_says_nothing_that_a_finding_forbids(key, forbidden, options, tmp_path):
    study = build(tmp_path / "s", **options)
    m = measure(study)
    assert key in keys(study)
    headline = summary(m, keys(study))
    assert "took" in headline
    assert not re.search(forbidden, headline), headline
    everything = page.page(m, find(m), []), exports.as_markdown(m, find(m), None), exports.as_json(m, find(m), None)
    for text in everything:
        assert short(m.base.time.median.value) in text
    assert json.loads(everything[2])["summary"] == headline


def test_names_beside_the_bars_have_their_colors(measured):
    svg = next(plot.svg for plot in draw(measured) if plot.name == "split").lower()
    for phase, color in PHASE_COLORS.items():
        if any(row.share(phase) >= 0.005 for row in measured.rows):
            assert svg.count(f"fill: {color.lower()}") == len(measured.rows) + 1, phase  # bars, and the mark


def test_times_without_loading_code(tmp_path):
    study = build(tmp_path / "s", law=lambda p: 0.5 + 4 / p, factor=lambda: 1.0, change=in_run(compile_seconds=0.5))
    scaling = tables.tables(measure(study))[0]
    place = scaling.columns.index("without loading code")
    assert [row[place] for row in scaling.rows] == ["1.00, 100 %", "2.00, 100 %", "4.00, 100 %", "8.00, 100 %"]
    assert "Without loading code" in scaling.note
    long = build(tmp_path / "t", law=lambda p: 500 / p, change=in_run(compile_seconds=0.5))
    assert "without loading code" not in tables.tables(measure(long))[0].columns


def test_threads_of_a_weak_study_must_not_change_the_bits(tmp_path):
    study = build(tmp_path / "s", counts=(1, 2), threads=(1, 2), mode="weak", law=lambda p: 8.0)
    write_json(folders.record_path(study.path, 2, 2, 1), record(2, 5.0, threads=2, digest="e" * 64))
    study = folders.load(study.path)
    assert "2 × 2 run 1" in finding_of(study, "outputs-differ").words
    assert promise(measure(study)) == ""
    assert differing(study)


def test_outputs_that_differ_break_the_promise(tmp_path):
    def wrong(made: dict[str, Any], ranks: int, repeat: int) -> None:
        made["digest"] = "e" * 64 if ranks == 4 else "d" * 64

    study = build(tmp_path / "s", change=wrong)
    assert find(measure(study))[0].level == "error"
    assert "4 × 1 run 1" in finding_of(study, "outputs-differ").words
    assert promise(measure(study)) == ""
    assert "same bits" not in summary(measure(study), keys(study))
    none = build(tmp_path / "t", change=lambda made, ranks, repeat: made.update(digest=""))
    assert "no-digests" in keys(none)


def test_runs_that_failed_or_are_missing(tmp_path):
    def broken(made: dict[str, Any], ranks: int, repeat: int) -> None:
        if (ranks, repeat) == (4, 2):
            made |= {"code": 1, "failure": "exit code 1: it broke\nand a long log"}

    study = build(tmp_path / "s", change=broken)
    finding = finding_of(study, "run-failed")
    assert "Run 2 on 4 ranks × 1 thread failed: exit code 1: it broke." in finding.words
    folders.record_path(study.path, 2, 1, 5).unlink()
    again = folders.load(study.path)
    assert "1 run that was asked for is not there (ranks × threads: 2 × 1)" in finding_of(again, "runs-missing").words


def test_a_machine_that_becomes_slower(tmp_path):
    count = iter(range(1000))

    def warming(made: dict[str, Any], ranks: int, repeat: int) -> None:
        made["run"]["seconds"]["total"]["slowest"] *= 1 + 0.01 * next(count)

    study = build(tmp_path / "s", repeat=6, change=warming)
    assert "became slower" in finding_of(study, "drift").words


def test_cold_first_runs(tmp_path):
    def cold(made: dict[str, Any], ranks: int, repeat: int) -> None:
        made["run"]["seconds"]["total"]["slowest"] *= 1.5 if repeat == 1 else 1.0

    study = build(tmp_path / "s", change=cold)
    assert "cold-start" in keys(study)
    assert "drift" not in keys(study)


def test_compiling_files_and_short_runs(tmp_path):
    writing = {**PHASES, "compute": 0.3, "io": 0.48}
    study = build(
        tmp_path / "s",
        law=lambda p: 0.4 / p,
        make=lambda *a, **k: record(*a, **k, phases=writing, compile_seconds=0.2),
        profile_of_machine=None,
        commit="0123456789abcdef-dirty",
    )
    assert {"compiling", "files", "short-runs", "no-profile", "dirty"} <= keys(study)


def test_memory_that_sets_the_limit(tmp_path):
    def kernel(made: dict[str, Any], ranks: int, repeat: int) -> None:
        # 16 bytes for 1e8 cells a second and rank, as fast as a triad that gives one half more to four times the ranks
        seconds = 16 * 1e8 / ({1: 20e9, 2: 26e9, 4: 30e9}[ranks] * 0.9)
        made["run"]["seconds"]["total"]["slowest"] = seconds / 0.7
        made["run"]["kernels"][0]["seconds"] = seconds

    profile = {"schema": 1, "triad": {"1": 20.0, "2": 26.0, "4": 30.0}}
    study = build(tmp_path / "s", counts=(1, 2, 4), change=kernel, profile_of_machine=profile)
    words = finding_of(study, "memory-bound").words
    assert "30 GB/s to 4 ranks and 20 to 1, 1.50 × as much" in words
    assert "90 %" in words


def test_a_study_of_filters_says_that_it_has_no_roofline(tmp_path):
    study = build(tmp_path / "s", law=lambda p: 8 / p**1.2, change=in_run(kind="pipeline", kernels=[]))
    finding = finding_of(study, "no-roofline")
    assert finding.level == "note"
    assert "No step of the job counts flops and bytes" in finding.words
    assert "Part by part" in finding.advice
    assert "Part by part" in {table.title for table in tables.tables(measure(study))}
    # Nor does other advice send readers to one.
    assert "roofline" not in finding_of(study, "above-one").advice
    assert "no-profile" not in keys(study)


# Two studies.


def test_a_slowdown_is_found_and_noise_is_not(tmp_path):
    old = measure(build(tmp_path / "old", factor=noise(1, 0.02)))
    same = measure(build(tmp_path / "same", factor=noise(2, 0.02)))
    quiet = compare(same, old)
    assert {change.verdict for change in quiet.changes} == {"same"}
    assert quiet.summary == "nothing changed by more than the noise"
    slow = measure(build(tmp_path / "slow", factor=noise(3, 0.02), law=lambda p: amdahl(p) * (1.2 if p == 4 else 1)))
    comparison = compare(slow, old)
    assert [change.label for change in comparison.slower] == ["4"]
    assert comparison.slower[0].ratio.low > 1.1
    assert comparison.slower[0].where.startswith("compute +")
    assert compare(old, slow).summary.startswith("faster on 4 (0.8")


def test_false_alarms_are_as_rare_as_is_said(tmp_path):
    """Of 40 studies of 4 points each without a change, few points are called changed."""
    from mpibatch.tools.report.statistics import different

    alarms = 0
    for seed in range(160):
        old, new = noise(seed, 0.02), noise(1000 + seed, 0.02)
        alarms += different([old() for _ in range(5)], [new() for _ in range(5)])
    assert alarms <= 16


def test_comparing_says_what_else_changed(tmp_path):
    old = build(tmp_path / "old", counts=(1, 2), repeat=3, commit="aaaa", machine={"host": "other", "cpu": "B"})
    new = build(tmp_path / "new", counts=(1, 2), job="[other]\n", change=in_run(versions={"numpy": "9.9"}))
    comparison = compare(measure(new), measure(old))
    remarks = " ".join(comparison.remarks)
    for words in ("job", "host", "numpy 2.4.3 → 9.9", "commit aaaa → 0123abc"):
        assert words in remarks
    apart = build(tmp_path / "apart", counts=(3,))
    assert "nothing to compare" in " ".join(compare(measure(new), measure(apart)).remarks)
    three = build(tmp_path / "three", counts=(1, 2), repeat=3)
    assert {change.verdict for change in compare(measure(three), measure(old)).changes} == {"unclear"}


def test_exit_codes_of_a_comparison(strong, tmp_path, capsys):
    slow = build(tmp_path / "slow", law=lambda p: 1.2 * amdahl(p))
    assert main(["report", str(slow.path), "--compare", str(strong.path), "--fail-on-slower"]) == 1
    assert "slower on 1" in capsys.readouterr().out
    text = (slow.path / "report" / "index.html").read_text()
    assert "What changed" in text
    assert "Slower on 1" in text
    assert report(slow, "--compare", str(strong.path)) == 0
    assert report(slow, "--fail-on-slower") == 2
    assert report(slow, "--compare", str(tmp_path)) == 2


# Input of others.

HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "$\\frac{", "=cmd|' /C calc'!A0",
    "a\x1b[31m\x00\x07b", "| a | b |\n|---|\n# c", "</svg></figure>", "a->b  c", "\U0001f680 \u202e x" * 40,
    "javascript:alert(1)", "[x](javascript:alert(1))", "&lt;b&gt;", "`code`", "",
]  # fmt: skip


def test_hostile_records_are_shown_as_text(tmp_path, capsys):
    names = iter(HOSTILE * 100)

    def hostile(made: dict[str, Any], ranks: int, repeat: int) -> None:
        text = next(names)
        made["run"] |= {
            "kind": text, "hosts": {text: ranks}, "mpi": text, "versions": {text: text}, "date": text,
            "laps": dict.fromkeys(HOSTILE, 1.0),
            "kernels": [{"name": name, "flops": 1, "bytes": 8, "cells": 9, "seconds": 1} for name in HOSTILE],
        }  # fmt: skip
        made["digest"] = text
        if (ranks, repeat) == (8, 2):
            made |= {"code": 1, "failure": "".join(HOSTILE)}

    everything = "".join(HOSTILE)
    study = build(
        tmp_path / "s", change=hostile, name=everything, job=everything, source=everything, commit=everything,
        settings=HOSTILE, machine={"host": everything, "cpu": everything}, profile=everything,
    )  # fmt: skip
    assert main(["report", str(study.path), "--debug", "--compare", str(study.path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    folder = study.path / "report"
    text = (folder / "index.html").read_text()
    parsed_page = Page(text)
    assert parsed_page.tags.isdisjoint({"script", "img", "b"})
    assert not [name for name, _ in parsed_page.attributes if name.startswith("on")]
    assert "&lt;script&gt;" in text
    assert "49" not in text.split("<pre>")[1].split("</pre>")[0]
    markdown = (folder / "report.md").read_text()
    assert "<script>" not in markdown
    assert not re.search(r"(?<!\\)\]\(", markdown)
    for cells in csv.reader((folder / "runs.csv").read_text().splitlines()):
        assert not [entry for entry in cells if entry.startswith(("=", "@"))]
    for metric, region, _ in parsed((folder / "extrap.txt").read_text()):
        assert metric in ("time", "bytes_sent")
        assert " " not in region
    for line in (folder / "extrap.jsonl").read_text().splitlines():
        json.loads(line)


GARBAGE: dict[str, Any] = {
    "absent": None,
    "text": "x",
    "list": [],
    "table": {},
    "-1": -1,
    "nan": math.nan,
    "inf": math.inf,
    "huge": 10**400,
}


@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize(
    "key", ["seconds", "traffic", "kernels", "memory", "hosts", "binding", "laps", "cells", "predicted"]
)
def test_records_that_lack_or_garble_anything(tmp_path, key, value):
    def garbled(made: dict[str, Any], ranks: int, repeat: int) -> None:
        if isinstance(made["run"][key], dict) and value is not None:
            made["run"][key] = dict.fromkeys(made["run"][key], value)
        elif key == "kernels":
            made["run"][key] = [dict.fromkeys(made["run"][key][0], value)]
        else:
            made["run"].pop(key)
        made["point"] = {"launch_seconds": 2.0}

    def garbled_with_prediction(made: dict[str, Any], ranks: int, repeat: int) -> None:
        made["run"]["predicted"] = {"seconds": 1.0, "memory": 2}
        garbled(made, ranks, repeat)

    study = build(tmp_path / "s", counts=(1, 2), repeat=2, change=garbled_with_prediction)
    try:
        m = measure(study)
    except UsageError:  # no run has a time
        return
    assert tables.tables(m)
    assert exports.as_csv(m)
    summary(m, {finding.key for finding in find(m)})


def numeric(document: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """The paths of all numbers in a record."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(value, dict | list):
            yield from numeric(value, *path, key)
        elif isinstance(value, int | float):
            yield *path, key


def whole_record() -> dict[str, Any]:
    made = record(2, 4.0, 1, predicted={"seconds": 1.0, "memory": 2, "seconds_per_step": 0.1})
    two_phases = ("total", "compute")
    made["run"]["seconds"] = {phase: made["run"]["seconds"][phase] for phase in two_phases}
    return made | {"point": {"ranks": 2, "threads": 1, "repeat": 1, "launch_seconds": 5.0}}


@pytest.mark.parametrize("path", list(numeric(whole_record())), ids=lambda path: ".".join(map(str, path)))
def test_no_number_of_a_record_breaks_the_report(tmp_path, path):
    study = build(tmp_path / "s", counts=(1, 2, 4), repeat=1)
    file = folders.record_path(study.path, 2, 1, 1)
    wrong: tuple[Any, ...] = (None, 0, -1, math.inf, 10**400, "x", [])
    for value in wrong:
        made = whole_record()
        table: Any = made
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value
        write_json(file, made)
        m = measure(folders.load(study.path))
        findings = find(m)
        assert exports.as_markdown(m, findings, compare(m, m))
        assert math.isfinite(m.widest.speedup.value)
        json.loads(exports.as_json(m, findings, None), parse_constant=pytest.fail)
        assert exports.as_csv(m) + exports.runs_as_csv(m) + extrap.text(m) + extrap.json_lines(m)


@pytest.mark.parametrize("value", [None, 0, -1, math.inf, 10**400], ids=["null", "0", "-1", "inf", "huge"])
def test_a_page_of_a_point_whose_numbers_are_all_garbage(tmp_path, value):
    def garbled(made: dict[str, Any], ranks: int, repeat: int) -> None:
        for *path, last in list(numeric(made["run"])) * (ranks == 2):
            table: Any = made["run"]
            for key in path:
                table = table[key]
            table[last] = value
        made["point"] = {"launch_seconds": 2.0}

    assert report(build(tmp_path / "s", counts=(1, 2), repeat=2, change=garbled)) == 0


def test_what_cannot_be_reported(tmp_path, capsys, monkeypatch):
    assert main(["report", str(tmp_path)]) == 2
    assert "is no study" in capsys.readouterr().err
    empty = build(tmp_path / "s", counts=(1, 2), repeat=1, change=lambda made, ranks, repeat: made.update(code=1))
    assert report(empty) == 2
    message = capsys.readouterr().err
    assert "no run that ended well (2 failed: exit code 1)" in message
    assert "make its runs: mpibatch scale heat.toml --mode strong --ranks 1,2 --folder" in message
    study = build(tmp_path / "t", counts=(1,), repeat=1)
    (tmp_path / "file").write_text("")
    assert report(study, "--output", str(tmp_path / "file" / "x")) == 1
    assert "--output" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RunError, match=r"pip install 'mpibatch\[report\]'"):
        page.check_installed()


def test_one_point_and_threads(tmp_path):
    alone = build(tmp_path / "alone", counts=(2,), repeat=1)
    assert report(alone) == 0
    assert "one-point" in keys(alone)
    hybrid = build(tmp_path / "hybrid", counts=(1, 2, 4), threads=(1, 2))
    for ranks in (1, 2, 4):
        for repeat in range(1, 6):
            path = folders.record_path(hybrid.path, ranks, 2, repeat)
            write_json(path, record(ranks, amdahl(2 * ranks), repeat, threads=2))
    measured = measure(folders.load(hybrid.path))
    assert measured.by == "cores"
    assert [row.label for row in measured.rows] == ["1 × 1", "1 × 2", "2 × 1", "2 × 2", "4 × 1", "4 × 2"]
    assert report(folders.load(hybrid.path)) == 0


def test_numbers_in_words():
    assert [short(value) for value in (0, 1234567, 123.4, 12.34, 1.234, 0.01234, 1e-9)] == [
        "0", "1.23e+06", "123", "12.3", "1.23", "0.0123", "1.00e-09",
    ]  # fmt: skip


def test_the_template_is_part_of_the_package():
    assert (Path(page.__file__).parent / "templates" / "report.html.j2").exists()
