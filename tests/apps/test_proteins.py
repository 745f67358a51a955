"""The guide's scores of pairs of proteins, on proteins of a genome: known ones, and those of Gotoh's recurrences."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

import pytest

import mpibatch as mb
from mpibatch.guide import chapter
from tests.support.packaged import packaged

if TYPE_CHECKING:
    from pathlib import Path

OPEN, EXTEND = 11, 1  # of a gap: what its first place costs, and each other


def score_of_the_guide(parasail: Any) -> Any:
    """The function of the batch in the chapter, as it stands there."""
    found = re.search(r"^import parasail\n\n(def score.*?\n)\n", chapter("kmers"), re.MULTILINE | re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {"parasail": parasail}
    exec(found[1], names)
    return names["score"]


def proteins() -> list[str]:
    (path,) = packaged("pyhmmer", "seqs/938293.PRJEB85.HG003687.faa")
    return ["".join(record.split("\n")[1:]) for record in path.read_text().split(">")[1:]]


def gotoh(a: str, b: str, matrix: Any) -> int:
    """The best local alignment, cell by cell (O. Gotoh 1982, doi:10.1016/0022-2836(82)90398-9)."""
    best, above, down = 0, [0] * (len(b) + 1), [-OPEN] * (len(b) + 1)
    for x in a:
        row, along = [0], -OPEN
        for j, y in enumerate(b, 1):
            along = max(row[j - 1] - OPEN, along - EXTEND)
            down[j] = max(above[j] - OPEN, down[j] - EXTEND)
            row.append(max(0, above[j - 1] + matrix[x, y], along, down[j]))
        above = row
        best = max(best, *row)
    return best


def test_a_protein_against_all_of_a_genome(tmp_path: Path) -> None:
    parasail = pytest.importorskip("parasail", reason="parasail is not installed: the guide's scores are NOT TESTED")
    score, every = score_of_the_guide(parasail), proteins()
    assert (len(every), sum(map(len, every))) == (2100, 682583)
    query = sorted(every, key=len, reverse=True)[49].removesuffix("*")
    assert len(query) == 859
    letters = "ARNDCQEGHILKMFPSTWYVBZX*"
    matrix = {(x, y): int(parasail.blosum62.matrix[i, j]) for i, x in enumerate(letters) for j, y in enumerate(letters)}
    batch = mb.map_items(score, [(query, protein) for protein in every], output=str(tmp_path / "scores.csv"))
    scores = batch.table.gather()["result"].tolist()
    with open(tmp_path / "scores.csv", newline="") as file:
        assert [int(row["result"]) for row in csv.DictReader(file)] == scores
    at = every.index(f"{query}*")
    assert scores[at] == max(scores) == sum(matrix[x, x] for x in query) == 4408
    assert sorted(scores)[-2] < 4408
    for number in sorted(range(len(every)), key=lambda n: len(every[n]))[:8]:
        assert scores[number] == gotoh(query, every[number], matrix), number
