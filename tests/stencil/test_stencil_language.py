"""What a stencil may contain, what is read from its text, and how everything else is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mpibatch.base.errors import UsageError
from mpibatch.stencil import Kernel, coordinate, index, stencil
from mpibatch.stencil.language.ir import Read

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = np.array([[1.0, 2.0], [3.0, 4.0]])
LIMIT = 0.25


def mean(a, b):
    return 0.5 * (a + b)


def laplace_of(u, r=1):
    return u[-r, 0] + u[r, 0] + u[0, -r] + u[0, r] - 4.0 * u[0, 0]


@stencil
def laplace(u):
    return laplace_of(u)


@stencil
def heat(u, k):
    return u[0, 0] + k * laplace(u)


def op_names(kernel: Kernel) -> list[str]:
    return [op.name for op in kernel.program.ops]


def offsets(kernel: Kernel) -> set:
    return {read.index for read in kernel.program.reads}


def test_fields_are_what_is_indexed() -> None:
    assert heat.program.fields == ("u",)
    assert heat.program.scalars == ("k",)
    assert heat.name == vars(heat)["__name__"] == "heat"
    assert repr(heat) == "<stencil heat(u, k)>"


def test_footprint_of_a_star() -> None:
    found = heat.footprint
    assert found.ndim == 2
    assert found.reach == ((1, 1), (1, 1))
    assert not found.needs_corners
    assert found.fields["u"].reads == 5
    assert found.flops == 7
    assert found.bytes(8) == 16
    assert "reach -1+1, -1+1" in str(found)
    assert "star" in str(found)


def test_footprint_counts_components_and_sides() -> None:
    @stencil(components={"q": ("rho", "mx", "my")})
    def upwind(q, s, dt):
        return q.rho[0, 0] - dt * (q.mx[0, 0] - q.mx[-2, 0]) + s[1, 1], q.rho[0, 0]

    found = upwind.footprint
    assert found.fields["q"].reach == ((2, 0), (0, 0))
    assert found.fields["q"].words == 2
    assert found.fields["s"].needs_corners
    assert found.reach == ((2, 1), (0, 1))
    assert found.outputs == (1, 1)
    assert upwind.program.returns_tuple


def test_further_indices_are_components_where_the_grid_has_fewer_axes() -> None:
    @stencil
    def second(q):
        return q[0, -1, 2]

    assert second.footprint.ndim == 3
    assert second.footprint_on(2).reach == ((0, 0), (1, 0))
    with pytest.raises(UsageError, match="one index per axis"):
        heat.footprint_on(3)


def test_what_is_known_is_computed_while_reading() -> None:
    @stencil
    def constant(u):
        n = len([1, 2, 3])
        factor = math.sqrt(16.0) / n
        return factor * u[n - 3, 2 * n - 6]

    assert op_names(constant) == ["read", "const", "*"]
    assert constant.program.ops[1].data == 4.0 / 3


def test_loops_lists_and_tables_are_unrolled() -> None:
    @stencil
    def weighted(u):
        total = 0.0
        for a in range(2):
            for b, w in enumerate(WEIGHTS[a]):
                total += w * u[a, b]
        parts = [u[d, 0] for d in (-1, 1) if d > 0]
        parts[0] *= 2
        return total + sum(parts) + sum(u[0, d] for d in range(3))

    assert offsets(weighted) == {(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)}


def test_nothing_is_computed_twice_and_nothing_in_vain() -> None:
    @stencil
    def repeated(u):
        slope = u[5, 5] / 3.0
        slope = u[1, 0] - u[0, 0]
        return slope * (u[1, 0] - u[0, 0])

    assert op_names(repeated) == ["read", "read", "-", "*"]


def test_powers_are_repeated_squares() -> None:
    @stencil
    def powers(u):
        return u[0] ** 4 + u[0] ** -3 + u[0] ** 0.5 + u[0] ** 2.0

    assert op_names(powers).count("*") == 3  # u², u⁴, u³
    assert "pow" not in op_names(powers)
    assert "sqrt" in op_names(powers)


def test_conditions_become_choices() -> None:
    @stencil
    def clipped(u, top):
        low = u[0]
        if u[0] > top:
            low = top
        elif u[0] < 0 and not u[1] < 0:
            return 0.0
        return low if low < LIMIT else LIMIT

    assert op_names(clipped).count("where") == 4
    assert clipped.program.scalars == ("top",)


def test_a_known_condition_leaves_one_branch() -> None:
    def chosen(u, order):
        if order == 2:
            return u[1] - u[-1]
        return u[2] - u[-2]

    @stencil
    def second_order(u):
        return chosen(u, order=2)

    assert offsets(second_order) == {(1,), (-1,)}


def test_stencils_are_inlined_also_at_an_offset() -> None:
    @stencil
    def biharmonic(u):
        return laplace(u)[-1, 0] + laplace(u)[1, 0] + laplace(u)[0, -1] + laplace(u)[0, 1] - 4.0 * laplace(u)

    assert biharmonic.footprint.reach == ((2, 2), (2, 2))
    assert biharmonic.footprint.fields["u"].reads == 13
    assert biharmonic.footprint.needs_corners


def test_named_components_go_through_calls() -> None:
    @stencil(components={"s": ("a", "b")})
    def product(s):
        return s.a[0] * s.b[0]

    @stencil
    def twice(q):
        return 2.0 * product(q)[1]

    assert twice.program.reads == (Read("q", (1,), 0), Read("q", (1,), 1))


def test_functions_compiled_by_numba_are_read_as_python() -> None:
    numba = pytest.importorskip("numba")
    fast = numba.njit(mean)

    @stencil
    def averaged(u):
        return fast(u[-1], b=u[1])

    assert sorted(op_names(averaged)) == ["*", "+", "const", "read", "read"]
    assert offsets(averaged) == {(-1,), (1,)}


def refused(function: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        stencil(**options)(function)
    return str(caught.value)


def test_a_refusal_shows_file_line_and_caret() -> None:
    def bad(u):
        a = 1.0
        return a * [u[0] for _ in range(2)][u[1]]

    lines = refused(bad).splitlines()
    first = bad.__code__.co_firstlineno
    assert lines[1] == f'  File "{__file__}", line {first + 2}'
    assert lines[2] == "    return a * [u[0] for _ in range(2)][u[1]]"
    assert lines[3] == "               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"
    assert lines[4] == "index with constants"


def loops(u):
    while u[0] > 0:
        pass
    return u[0]


def writes(u):
    u[0] = 1.0
    return u[0]


def calls_print(u):
    print(u[0])
    return u[0]


def moving_index(u, n):
    return u[n]


def both(u):
    return u[0] + u


def nothing(u):
    u[0] + 1.0


def half_set(u):
    if u[0] > 0:
        a = 1.0
    return a


def half_returned(u):  # noqa: RET503  the mistake that is to be found
    if u[0] > 0:
        return 1.0


def unknown(u):
    return u[0] + absent  # type: ignore[name-defined]  # noqa: F821


def no_field(k):
    return 2 * k


def any_number(*fields):
    return fields[0]


def named_out(u, out):
    return u[0] * out


def component(q):
    return q.rho[0]


def slices(u):
    return u[0:1]


def half_offset(u):
    return u[0.5]


def complex_number(u):
    return u[0] * 1j


def endless(u):
    return endless(u)


def text(u):
    return u[0] + "a"


def rounds(u):
    return int(u[0])


def inner_function(u):
    def f(x):
        return x

    return f(u[0])


def divides(u):
    return u[0] * (1 / 0)


def lengths(u):
    return [u[0], u[1]] if u[0] > 0 else [u[0]]


def imports(u):
    import math

    return math.sin(u[0])


def axis(u):
    return u[0] * coordinate(u[0])


@pytest.mark.parametrize(
    ("function", "message", "hint"),
    [
        (loops, "(While)", "constant range"),
        (writes, "does not write to its inputs", "return the new value"),
        (calls_print, "(Expr)", "docstring of mpibatch.stencil"),
        (moving_index, "not known when the kernel is compiled", "range loop"),
        (both, "with an index in one place and without in another", "u[0, 0]"),
        (nothing, "(Expr)", ""),
        (half_set, "'a' is set in one branch", "before the `if`"),
        (half_returned, "comes to no return", "both"),
        (unknown, "'absent' is not defined", "parameter"),
        (no_field, "reads no field", "u[0, 0]"),
        (any_number, "*fields", "name every parameter"),
        (named_out, "option of the call", "another name"),
        (component, "q.rho", 'components={"q"'),
        (slices, "(Slice)", "single cells"),
        (half_offset, "0.5", "whole numbers"),
        (complex_number, "complex", "two fields"),
        (endless, "names itself", "range loop"),
        (text, "a number is needed here, not a str", "numbers only"),
        (rounds, "a call of 'int'", "floor"),
        (inner_function, "(FunctionDef)", "outside the stencil"),
        (divides, "ZeroDivisionError", "while the kernel is read"),
        (lengths, "different lengths", "same length"),
        (imports, "(Import)", "outside"),
        (axis, "coordinate() with", "axis"),
    ],
)
def test_what_is_no_stencil_is_refused_with_a_hint(function: Callable[..., Any], message: str, hint: str) -> None:
    found = refused(function)
    assert message in found
    assert hint in found.splitlines()[-1]
    assert "^" in found
    assert function.__name__ in found or __file__ in found


def test_a_lambda_and_text_without_a_file_are_refused() -> None:
    assert "lambda" in refused(lambda u: u[0])
    scope: dict[str, Any] = {}
    exec("def typed_in(u):\n    return u[0]", scope)
    assert "define it in a file" in refused(scope["typed_in"])


def test_options_are_checked() -> None:
    assert "no parameters for" in refused(component, components={"r": ("rho",)})
    with pytest.raises(UsageError, match="did you mean 'numpy'"):
        heat.using(backend="nunpy")
    with pytest.raises(UsageError, match="at least 1"):
        heat.using(threads=0)
    with pytest.raises(UsageError, match="outside a stencil"):
        index(0)


def test_threads_are_the_environments_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(u: Any) -> Any:
        return u[1]

    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert stencil(step).threads == 1
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert stencil(step).threads == 3
    assert stencil(threads=2)(step).threads == 2
    for wrong in ("0", "many", "-1"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", wrong)
        with pytest.raises(UsageError, match=f"NUMBA_NUM_THREADS={wrong} .* whole number"):
            stencil(step)


def test_reading_a_stencil_loads_neither_mpi_nor_numba() -> None:
    # The package itself is the decorator, however it was imported.
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['mpi4py', 'numba']))\n"
        "import mpibatch.stencil as s; from tests.stencil.test_stencil_language import laplace\n"
        "print(s(laplace.__stencil__).footprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "laplace: 2-D, star" in done.stdout
