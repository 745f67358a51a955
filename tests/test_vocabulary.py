"""Names say what they hold: a module is a noun, a function a verb, a variable the noun that it holds."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mpibatch"
# Words that could stand for anything, as whole names.
VAGUE = {"told", "said", "foretold", "found", "gone", "here", "cell", "one", "what", "asked", "wanted"}
# Modules whose names end like a verb's form and are nouns; `compiled` is what it is used as.
NOUNS = {
    *(
        "batching",
        "binning",
        "finding",
        "labelling",
        "merging",
        "numbering",
        "peak_spacing",
        "spacing",
        "testing",
        "thinning",
        "timing",
    ),
    "compiled",
}
# How many names of these are left, by package. They may only become fewer: then the number here, too.
LEFT: dict[str, int] = {}


def names(tree: ast.AST) -> Iterator[str]:
    """All names that a module gives: to variables, attributes, parameters, functions and classes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def package_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[: 2 if parts[0] == "tools" else 1])


def test_names_say_what_they_hold() -> None:
    counts: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        counts[package_of(path)] += sum(name in VAGUE for name in names(ast.parse(path.read_text(encoding="utf-8"))))
    assert {package: count for package, count in counts.items() if count} == LEFT


def test_modules_are_nouns() -> None:
    verbs = [path.stem for path in PACKAGE.rglob("*.py") if path.stem.endswith(("ing", "ed"))]
    assert sorted(set(verbs) - NOUNS) == []
