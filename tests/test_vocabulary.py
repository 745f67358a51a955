"""Names say what they hold: a module is a noun, a function a verb, a variable the noun that it holds."""

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mpibatch"
# Words that could stand for anything, as whole names.
VAGUE = {"told", "said", "foretold", "found", "gone", "here", "cell", "one", "what", "asked", "wanted"}
# Modules whose names end like a verb's form and are nouns; `compiled` is what it is used as.
NOUNS = {
    "compiled", "finding", "keyring", "numbering", "peak_spacing", "spacing", "testing", "thinning", "timing",
}  # fmt: skip
# Verbs, adjectives and prepositions that no module is named after, but a command is. Not those that are nouns as well,
# such as call, map, plan and watch.
NO_NOUNS = {
    *("accept", "agree", "allocate", "apply", "assign", "bind", "choose", "collect", "compare", "compile", "compute"),
    *("correlate", "create", "decide", "describe", "detect", "distribute", "enclose", "execute", "explain", "fetch"),
    *("generate", "grow", "identify", "inspect", "iterate", "join", "label", "load", "make", "merge", "number", "pack"),
    *("parse", "predict", "propagate", "receive", "redistribute", "remove", "render", "replace", "resume", "save"),
    *("select", "send", "settle", "split", "submit", "supervise", "verify", "write"),
    *("affine", "american", "binary", "classic", "direct", "exact", "finite", "foreign", "frozen", "global", "gray"),
    *("independent", "lazy", "linear", "local", "mutable", "parallel", "periodic", "several", "sparse"),
    *("strong", "tridiagonal", "typical", "uniform", "weak", "wide"),
    *("above", "after", "ahead", "before", "behind", "below", "between", "beyond", "inside", "outside", "within"),
}
# Classes and functions that have a better name now: processes and files, rather than people and meetings.
RENAMED = {
    *("Teller", "Heard", "hear", "Meeting", "Examination", "Standing", "Filled", "Found", "_Whole"),
    *("read_lives", "life_of"),
}
# What texts said once, and a native speaker would not; whole words, in messages, --help and docstrings alike.
PHRASES = re.compile(
    r"the grid has to say|for a stranger|it was not meant|on 2 cores, not its own|could not be looked at"
    r"|one can be gone on from|\bthe patients?\b|\blives in a row\b|\bforetold\b"
)

MOST_POSITIONS = 6  # values that a record is given without their names


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


@functools.cache
def trees() -> list[tuple[str, ast.Module]]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return [(str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def test_names_say_what_they_hold() -> None:
    vague = Counter((path, name) for path, tree in trees() for name in names(tree) if name in VAGUE | RENAMED)
    assert not vague


def test_names_are_those_of_variables_parameters_and_fields_of_dataclasses() -> None:
    text = "class told:\n    said: int = 0\n    gone: str\n    def hear(self, found, *, asked): self.wanted = cell = 1"
    assert set(names(ast.parse(text))) > {"told", "said", "gone", "hear", "found", "asked", "wanted", "cell"}


def test_texts_are_those_of_the_field() -> None:
    texts = [(path, node.value) for path, tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    chapters = [(path.name, path.read_text(encoding="utf-8")) for path in (PACKAGE / "guide").glob("*.md")]
    wrong = [(path, PHRASES.findall(text)) for path, text in [*texts, *chapters] if isinstance(text, str)]
    assert [entry for entry in wrong if entry[1]] == []


def test_modules_are_nouns() -> None:
    modules = {path.stem for path in PACKAGE.rglob("*.py") if path.parent.name != "cli" or path.stem.startswith("_")}
    verbs = {name for name in modules if name.endswith(("ing", "ed"))}
    assert verbs == NOUNS
    assert {name for name in modules if name.strip("_") in NO_NOUNS} == set()


def test_no_two_classes_have_one_name() -> None:
    """Nor private ones; programs to copy from are blind to one another, and may repeat theirs."""
    homes: dict[str, list[str]] = {}
    for path, tree in trees():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not path.startswith("apps/"):
                homes.setdefault(node.name.strip("_"), []).append(path)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def is_record(node: ast.ClassDef) -> bool:
    above = [ast.unparse(part) for part in (*node.decorator_list, *node.bases)]
    return any("dataclass" in text or text.endswith("NamedTuple") for text in above)


def long_calls(parsed: list[tuple[str, ast.Module]]) -> Iterator[str]:
    """Calls of records of these modules that count on the order of more than a few values."""
    classes = [(tree, node) for _, tree in parsed for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    records = {node.name for _, node in classes if is_record(node)}
    inside = {call: node.name for _, node in classes if is_record(node) for call in ast.walk(node)}
    for path, tree in parsed:
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and len(call.args) > MOST_POSITIONS:
                name = ast.unparse(call.func).split(".")[-1]
                if name in records or (name == "cls" and call in inside):
                    yield f"{path}:{call.lineno}: {inside.get(call, name) if name == 'cls' else name}"


def test_long_records_are_built_by_the_names_of_their_fields() -> None:
    assert list(long_calls(list(trees()))) == []


def test_calls_of_records_are_seen_wherever_they_stand() -> None:
    text = (
        "@dataclass(frozen=True)\nclass A:\n    x: int\n    @classmethod\n"
        "    def of(cls): return cls(1, 2, 3, 4, 5, 6, 7)\n"
        "class B(NamedTuple): y: int\nclass C: pass\n"
        "b = m.B(1, 2, 3, 4, 5, 6, *rest), A(1, 2, 3, 4, 5, 6, z=7), C(1, 2, 3, 4, 5, 6, 7)\n"
    )
    assert list(long_calls([("m.py", ast.parse(text))])) == ["m.py:8: B", "m.py:5: A"]
