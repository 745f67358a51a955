"""A book of options by Monte Carlo: published and exact values, and the same bits on any ranks and in any portions."""

from __future__ import annotations

import csv
import gzip
import importlib.metadata
import itertools
import math
import statistics
import sys
from fractions import Fraction

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps import heston
from mpibatch.apps.risk.__main__ import main
from mpibatch.apps.risk._loops import arithmetic
from mpibatch.apps.risk.book import Book, Settings
from mpibatch.apps.risk.positions import Position, read_positions
from mpibatch.apps.risk.regression import solved
from mpibatch.apps.risk.tails import tail
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.mpi import private

HEADER = "type,S,K,T,r,q,sigma,v0,kappa,theta,eta,rho,barrier,fixings,quantity\n"
BENCHOP = "{},100,1,0.03,0,0.15,,,,,,{},,1"
FANG = "100,100,1,0,0,,0.0175,1.5768,0.0398,0.5751,-0.5711"
BOOK = [
    BENCHOP.format("european call,90", ""),
    BENCHOP.format("european put,100", ""),
    BENCHOP.format("up-out call,110", "125"),
    "european call,90,100,1,0.03,0,,0.0225,2,0.0225,0.25,-0.5,,,-2",
    "geometric-asian call,100,100,1,0.06,0.03,0.2,,,,,,,10,1",
    "asian call,100,100,1,0.06,0.03,0.2,,,,,,,10,3",
    f"asian put,{FANG},,4,1",
    "down-in call,100,90,1,0.05,0.02,0.1,,,,,,90,,1",
    "up-out call,100,100,1,0.05,0.02,0.2,,,,,,120,12,1",
    f"down-out put,{FANG},80,4,1",
    "american put,36,40,1,0.06,0,0.2,,,,,,,5,1",
]


@pytest.fixture
def price(tmp_path):
    """Price rows of a table with many paths."""

    def run(rows, paths, **settings):
        file = tmp_path / "book.csv"
        file.write_text(HEADER + "\n".join(rows) + "\n")
        comm = private()
        book = Book(comm, read_positions(comm, str(file)), Settings(**settings))
        book.extend(paths)
        return book.estimates()

    return run


def near(estimate, exact, most):
    """Within four standard errors, that are no larger than they must be."""
    assert estimate.error < most
    assert abs(estimate.price - exact) < 4 * estimate.error, (estimate.price, exact, estimate.error)


def test_known_prices(price):
    rows, exact = [], []
    calls = (2.758443856146076, 7.485087593912603, 14.702019669720769)  # BENCHOP 1a, doi:10.1080/00207160.2015.1072172
    outs = (1.822512255945242, 3.294086516281595, 3.221591131246868)  # 1c
    for style, barrier, values in (("european", "", calls), ("up-out", "125", outs)):
        for spot, value in zip((90, 100, 110), values, strict=True):
            rows.append(BENCHOP.format(f"{style} call,{spot}", barrier))
            exact.append((value, 0.03))
    # Babsiri and Noel 1998, and Clewlow and Strickland's ten dates.
    for sigma, low, high in ((0.1, 0.07187, 4.79148), (0.2, 1.64005, 9.11008)):
        rows.append(f"down-in call,100,100,1,0.05,0.02,{sigma},,,,,,90,,1")
        rows.append(f"up-in call,100,100,1,0.05,0.02,{sigma},,,,,,110,,1")
        exact += [(low, 0.02), (high, 0.04)]
    rows.append("geometric-asian call,100,100,1,0.06,0.03,0.2,,,,,,,10,1")
    exact.append((5.3425606635, 0.03))
    for found, (value, most) in zip(price(rows, 60_000, seed=1), exact, strict=True):
        near(found, value, most)


def test_known_prices_of_heston(price):
    rows = [f"european call,{spot},100,1,0.03,0,,0.0225,2,0.0225,0.25,-0.5,,,1" for spot in (90, 100, 110)]
    rows.append(f"european call,{FANG},,,1")
    exact = (2.302535842814927, 7.379832496149447, 14.974005277144057, 5.785155434)  # BENCHOP 4; Fang, Oosterlee 2008
    for found, value in zip(price(rows, 20_000, steps=40), exact, strict=True):
        near(found, value, 0.04)


def test_vega_of_heston(price):
    """By the root of the variance now, against differences of the closed form; also where variance reaches 0."""
    models = [(0.0225, 2.0, 0.0225, 0.25, -0.5), (0.0175, 1.5768, 0.0398, 0.5751, -0.5711)]
    rows = [f"european call,{s},100,1,0.03,0,,{','.join(map(str, m))},,,1" for m in models for s in (90, 110)]
    for found, (m, s) in zip(price(rows, 40_000, steps=25), itertools.product(models, (90.0, 110.0)), strict=True):
        root, prices = math.sqrt(m[0]), []
        for moved in (root + 1e-3, root - 1e-3):
            names = ("reversion", "mean", "volatility", "correlation")
            p = heston.Parameters(variance=moved * moved, rate=0.03, **dict(zip(names, m[1:], strict=True)))
            prices.append(heston.closed_form(p, s, 1.0))
        exact = (prices[0] - prices[1]) / 2e-3
        assert found.vega_error < 0.03 * exact
        assert abs(found.vega - exact) < 4 * found.vega_error, (found.vega, exact)


def test_american_puts_are_exercised_nearly_as_well_as_can_be(price):
    """Longstaff and Schwartz 2001, table 1, by finite differences: the rule found is worth 0.2 % less at most."""
    rows, exact = [], (4.478, 4.840, 7.101, 8.508)
    for sigma in (0.2, 0.4):
        rows += [f"american put,36,40,{years},0.06,0,{sigma},,,,,,,{50 * years},1" for years in (1, 2)]
    estimates = price(rows, 20_000, regression_paths=20_000)
    for (found, value), most in zip(zip(estimates, exact, strict=True), (2e-3, 4e-3, 2e-3, 4e-3), strict=True):
        assert found.error < most
        assert value * 0.998 < found.price < value + 4 * found.error, value
    now, held = price(
        ["american put,20,40,1,0.06,0,0.2,,,,,,,10,1", "american call,36,40,1,0.06,0,0.2,,,,,,,10,1"], 20_000
    )
    assert (now.price, now.delta, now.error) == (20.0, -1.0, 0.0)
    european = vanilla(36, 40, 1.0, 0.06, 0.0, 0.2, 1)[0]  # without dividends a call is not exercised early
    assert european * 0.999 < held.price < european + 4 * held.error


def vanilla(spot, strike, time, rate, dividend, sigma, sign):
    """Price, delta, gamma and vega of Black and Scholes."""
    normal, root = statistics.NormalDist(), sigma * math.sqrt(time)
    high = (math.log(spot / strike) + (rate - dividend) * time) / root + root / 2
    asset, money = spot * math.exp(-dividend * time), strike * math.exp(-rate * time)
    price = sign * (asset * normal.cdf(sign * high) - money * normal.cdf(sign * (high - root)))
    delta = sign * math.exp(-dividend * time) * normal.cdf(sign * high)
    gamma = math.exp(-dividend * time) * normal.pdf(high) / (spot * root)
    return price, delta, gamma, asset * normal.pdf(high) * math.sqrt(time)


@pytest.mark.parametrize("right", ["call", "put"])
def test_greeks(price, right):
    """Of a vanilla option; and of all others that differences of prices on the same paths agree with."""
    sign = 1 if right == "call" else -1
    (found,) = price([f"european {right},95,100,2,0.03,0.01,0.25,,,,,,,,1"], 60_000)
    exact = vanilla(95, 100, 2, 0.03, 0.01, 0.25, sign)
    for name, value in zip(("price", "delta", "gamma", "vega"), exact, strict=True):
        error = getattr(found, "error" if name == "price" else f"{name}_error")
        assert error < 0.02 * abs(value)
        assert abs(getattr(found, name) - value) < 4 * error, name
    kinds = [("asian", "", 6), ("geometric-asian", "", 6), ("up-in", 130, ""), ("down-out", 85, ""), ("up-out", 130, 3)]
    kinds.append(("american", "", 5))
    for style, barrier, fixings in kinds:
        spot, sigma = 100.0, 0.25
        moves = [(spot, sigma), (spot * 1.01, sigma), (spot / 1.01, sigma), (spot, sigma + 0.01), (spot, sigma - 0.01)]
        rows = [f"{style} {right},{s},100,1,0.03,0.01,{v},,,,,,{barrier},{fixings},1" for s, v in moves]
        middle, high, low, wild, calm = price(rows, 40_000)
        delta = (high.price - low.price) / (spot * 1.01 - spot / 1.01)
        vega = (wild.price - calm.price) / 0.02
        assert abs(middle.delta - delta) < 5 * middle.delta_error + 0.01, style
        assert abs(middle.vega - vega) < 5 * middle.vega_error + 0.3, style
        gamma = (high.delta - low.delta) / (spot * 1.01 - spot / 1.01)
        assert abs(middle.gamma - gamma) < 5 * middle.gamma_error + 5 * high.delta_error + 0.004, style


def test_the_same_bits_on_any_ranks_and_in_any_portions(launch, tmp_path):
    """Tables, profits and states; a run that goes on from a smaller one has those of a run in one go."""
    (tmp_path / "book.csv").write_text(HEADER + "\n".join(BOOK) + "\n")
    (tmp_path / "moves.csv").write_text("spot,volatility,rate\n-0.1,0.02,0\n0.3,0,0.01\n")
    shared = ["-m", "mpibatch.apps.risk", "price", str(tmp_path / "book.csv")]
    small = ["--regression-paths", "300", "--steps", "4"]
    results = []
    for ranks, paths in ((1, (701,)), (3, (333, 701))):
        folder = tmp_path / f"{ranks}"
        folder.mkdir()
        files = [folder / name for name in ("prices.csv", "state.json", "profits.h5")]
        for number in paths:
            last = ["--scenarios", str(tmp_path / "moves.csv"), "--profits", str(files[2])] if number == 701 else []
            portion = ["--paths", str(number), "--every", "250", "--state", str(files[1])]
            done = launch(ranks, *shared, str(files[0]), *small, *portion, *last)
            assert done.returncode == 0, done.stderr
        results.append([done.stdout, *(file.read_bytes() for file in files)])
    assert results[0] == results[1]
    rows = list(csv.DictReader(results[0][1].decode().splitlines()))
    assert [float(row["value"]) for row in rows] == [float(row["price"]) * float(row["quantity"]) for row in rows]
    assert "11 positions, 701 paths each" in results[0][0]


def test_an_estimate_is_that_of_numpy(price):
    """Mean, control and error against a plain computation on the same paths."""
    from mpibatch.apps.risk._loops import rows as of
    from mpibatch.apps.risk._loops.paths import simulate

    row = "european call,100,105,1,0.03,0.01,0.2,,,,,,,,1"
    (found,) = price([row], 5000, seed=9)
    numbers = Position("", "european", "call", 100, 105, 1, 0.03, 0.01, 1, 0.2, (), math.nan, 0).numbers()
    out = np.empty((5, 5000))
    work = np.empty(of.DRAWS), np.empty(of.STATE)
    simulate(np.uint64(0), np.uint64(9), of.EUROPEAN, 1.0, False, 1, numbers, *work, out)
    covariance = np.cov(out[0], out[4])
    slope = covariance[0, 1] / covariance[1, 1]
    controlled = out[0] - slope * (out[4] - 100 * math.exp(-0.01))
    assert found.price == pytest.approx(controlled.mean(), rel=1e-12)
    assert found.error == pytest.approx(controlled.std(ddof=1) / math.sqrt(5000), rel=1e-9)
    assert found.gamma_error == pytest.approx(out[2].std(ddof=1) / math.sqrt(5000), rel=1e-12)


@pytest.mark.parametrize("style", ["EUROPEAN", "DATES_OUT"])
def test_a_path_without_variance_up_to_its_first_date_weighs_nothing(style):
    """Heston's model, whose variance begins at 0 and may stay there."""
    from mpibatch.apps.risk._loops import heston_paths as loops
    from mpibatch.apps.risk._loops import rows as of

    numbers = np.array([100.0, 90.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.1, 0.001, 1.0, -0.5, 50.0])
    out, draws, states = np.empty((5, 300)), np.empty(of.DRAWS), np.empty((3, of.STATE))
    shared = (np.uint64(0), np.uint64(1), getattr(of, style), 1.0, False, 2, 1)
    if style == "EUROPEAN":
        loops.simulate_heston(*shared, numbers, draws, states[0], out)
    else:
        loops.simulate_heston_dates(*shared, np.array([0.0, 0.0, 1e-6]), 1e-3, numbers, draws, states, out)
    assert np.isfinite(out).all()
    assert (out[of.GAMMA] == 0).any()
    assert (out[of.VALUE] > 0).any()


def test_arithmetic():
    """Exponential, logarithm and the normal distribution to the last digits, whatever the length of the array."""
    points = [*np.linspace(-40, 40, 801), *np.geomspace(1e-12, 700, 99)]
    assert max(abs(arithmetic.exp(x) / math.exp(x) - 1) for x in points) < 4e-16
    positive = [x for x in points if x > 0 and x != 1.0]
    assert max(abs(arithmetic.log(x) / math.log(x) - 1) for x in positive) < 4e-16
    exact = statistics.NormalDist()
    u = np.array([1e-15, 1e-12, 1e-9, 1e-3, 0.074, 0.076, 0.3, 0.5, 0.6, 0.926, 0.99, 1 - 1e-12])
    z, some, places = np.empty((3, u.size))
    arithmetic.inverse(u, z, some, places)
    np.testing.assert_allclose(z, [exact.inv_cdf(v) for v in u], rtol=2e-15)
    for i in range(u.size):
        arithmetic.inverse(u[i : i + 1], some[:1], z[:1], places[:1])
        assert some[0] == pytest.approx(exact.inv_cdf(u[i]), rel=2e-15)
    for x in np.linspace(-9, 9, 181):
        assert arithmetic.distribution(x) == pytest.approx(0.5 * math.erfc(-x / math.sqrt(2)), rel=1e-8, abs=1e-15)
    even, odd, first, other = np.empty((4, 40))
    one, pair = np.empty((2, 41))
    arithmetic.fill(np.uint64(3), np.uint64(5), np.uint64(7), one, *np.empty((2, 41)))
    arithmetic.fill(np.uint64(4), np.uint64(5), np.uint64(7), first, even, odd)
    np.testing.assert_array_equal(one[1:], first)
    arithmetic.fill_pair(np.uint64(3), np.uint64(5), np.uint64(7), pair, np.empty(41))
    arithmetic.fill_pair(np.uint64(4), np.uint64(5), np.uint64(7), first, other)
    np.testing.assert_array_equal(pair[1:], first)
    assert 0 < pair.min() < pair.max() < 1


def test_the_normal_equations_are_solved():
    rng = np.random.default_rng(3)
    t, y = rng.uniform(-1, 0, 50), rng.normal(size=50)
    sums = [math.fsum(t**k) for k in range(7)] + [math.fsum(y * t**k) for k in range(4)]
    np.testing.assert_allclose(solved(sums), np.polynomial.polynomial.polyfit(t, y, 3), rtol=1e-7)
    assert solved([0.0] * 11) == [math.inf, 0, 0, 0]
    assert solved([2.0] * 7 + [4.0] * 4) == [2.0, 0, 0, 0]  # one price alone tells no slope


def of(values):
    return mb.scatter(np.array(values, np.float64), mb.Grid(len(values)))


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.975, 0.99])
def test_tails_are_those_of_numpy(confidence):
    losses = np.random.default_rng(4).standard_t(3, 997)
    measured = tail(of(-losses), confidence, confidence)
    at_risk = np.quantile(losses, confidence, method="higher")
    assert measured.value_at_risk == at_risk
    share = (1 - confidence) * losses.size
    ordered = np.sort(losses)[::-1]
    whole = int(share)
    assert measured.shortfall == pytest.approx((ordered[:whole].sum() + (share - whole) * ordered[whole]) / share)


def test_integers_are_lost_as_floats_are():
    """Unsigned profits, and the least integer, have no opposite of their own type."""
    for dtype, profits in (("u1", [0, 3, 200, 7]), ("i1", [-128, 3, 100, -7]), ("u8", [2**63, 1, 0, 5])):
        array = np.array(profits, dtype)
        measured, expected = (tail(mb.scatter(each, mb.Grid(4)), 0.5, 0.5) for each in (array, array.astype("f8")))
        assert measured == expected, dtype
    with pytest.raises(mb.UsageError, match="dtype complex128 are no real number"):
        tail(mb.scatter(np.ones(4, "c16"), mb.Grid(4)), 0.5, 0.5)


def test_the_shortfall_is_the_mean_of_all_that_is_as_bad():
    """Of any number of losses, at any confidence, ties and whole numbers of losses among them."""
    for count in (1, 2, 3, 7, 10, 34):
        losses = [float(i * i // 2 * 2) for i in range(count)]
        profits = of([-loss for loss in losses])
        for percent in (1, 25, 30, 50, 70, 90, 97, 99):
            rest = share = Fraction(100 - percent, 100) * count
            total = Fraction(0)
            for loss in sorted(losses, reverse=True):
                taken = min(rest, Fraction(1))
                total += Fraction(loss) * taken
                rest -= taken
            measured = tail(profits, 0.5, percent / 100).shortfall
            assert measured == pytest.approx(float(total / share), rel=1e-14), (count, percent)
    squares = of([-float(i * i) for i in range(34)])
    assert tail(squares, 0.5, 0.97).shortfall == pytest.approx((33**2 + 0.02 * 32**2) / 1.02, rel=1e-14)


def test_history_of_shares(tmp_path, capsys):
    """The quantile of 32 years of 20 shares; of the shortfall the mean of what is as bad."""
    try:
        files = importlib.metadata.files("skfolio") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("skfolio is not installed, whose sp500_dataset this reads: pip install --no-deps skfolio")
    (path,) = [file.locate() for file in files if file.name == "sp500_dataset.csv.gz"]
    with gzip.open(path, "rt") as file:
        _, *rows = csv.reader(file)
    prices = np.array([list(map(float, row[1:])) for row in rows])
    gains = np.diff(prices, axis=0) / prices[:-1]
    file = tmp_path / "gains.csv"
    lines = [[f"share{n}" for n in range(20)], *gains.tolist()]
    file.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    assert main(["losses", str(file)]) == 0
    losses = [-math.fsum(row) for row in gains.tolist()]
    assert (
        f"value at risk, 99.00%            {np.quantile(losses, 0.99, method='higher').item()!r}"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("european call,-5,100,1,0.03,0,0.15,,,,,,,,1", "S = -5 is no finite number above 0"),
        ("european call,90,100,1,0.03,0,-0.15,,,,,,,,1", "sigma = -0.15 is no finite"),
        ("european call,90,100,1,0.03,0,,,,,,,,,1", "sigma = nan is no finite"),
        ("european call,90,100,1,x,0,0.15,,,,,,,,1", "r = 'x' is no number"),
        ("bermudan call,90,100,1,0.03,0,0.15,,,,,,,,1", "the type 'bermudan call' is unknown"),
        ("up-out call,90,100,1,0.03,0,0.15,,,,,,80,,1", "barrier = 80 is on the wrong side of S = 90"),
        ("down-in put,90,100,1,0.03,0,0.15,,,,,,95,,1", "barrier = 95 is on the wrong side"),
        ("up-in put,90,100,1,0.03,0,0.15,,,,,,,,1", "barrier = nan"),
        ("asian call,90,100,1,0.03,0,0.15,,,,,,,0,1", "fixings = 0 leaves no date"),
        ("asian call,90,100,1,0.03,0,0.15,,,,,,,,1", "fixings is empty"),
        ("asian call,90,100,1,0.03,0,0.15,,,,,,,2.5,1", "fixings = 2.5 is no whole number"),
        ("european call,90,100,1,0.03,0,0.15,0.02,,,,,,,1", "give either sigma, or all of v0"),
        ("european call,90,100,1,0.03,0,,0.02,1,0.02,0.3,-1,,,1", "rho = -1 is not between"),
        ("european call,90,100,1,0.03,0,,0,1,0.02,0.3,0,,,1", "v0 = 0 is no finite number above 0"),
        (f"american put,{FANG},,10,1", "not with Heston's model"),
        (f"up-out call,{FANG},120,,1", "watched at dates"),
        ("european call,90,100,1", "4 values for 15 columns"),
    ],
)
def test_bad_positions_are_told_with_their_row(tmp_path, capsys, row, words):
    (tmp_path / "book.csv").write_text(HEADER + BOOK[0] + "\n" + row + "\n")
    assert main(["price", str(tmp_path / "book.csv"), str(tmp_path / "out.csv"), "--paths", "10"]) == 2
    told = capsys.readouterr().err
    assert "book.csv, row 2: " in told
    assert words in told
    assert [file.name for file in tmp_path.iterdir()] == ["book.csv"]


MORE = ["out.csv", "--paths", "30", "--state", "state.json"]  # would leave another state


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["out.csv", "--paths", "0"], 2, "--paths 0 is not valid"),
        (["out.txt"], 2, "none of the endings"),
        (["none/out.csv"], 1, "no such folder"),
        (["out.csv", "--seed", "-1"], 2, "the seed -1"),
        (["out.csv", "--paths", "10", "--state", "state.json"], 2, "has 20 paths already"),
        (["out.csv", "--paths", "30", "--state", "state.json", "--seed", "2"], 2, "of another seed"),
        (["out.csv", "--paths", "30", "--state", "book.csv"], 2, "no state of this program"),
        (["out.csv", "--paths", "30", "--scenarios", "book.csv"], 2, "scenarios have some of"),
        (["out.csv", "--paths", "30", "--scenarios", "none.csv"], 1, "none.csv"),
        ([*MORE, "--scenarios", "crash.csv"], 2, "scenario 1: book.csv, row 1: S = 0 is"),
        ([*MORE, "--scenarios", "calm.csv"], 2, "scenario 2: book.csv, row 2: v0 = 0 is"),
        ([*MORE, "--scenarios", "fall.csv", "--confidence", "99"], 2, "confidence = 99 is not between"),
        ([*MORE, "--scenarios", "fall.csv", "--shortfall-confidence", "0"], 2, "shortfall confidence = 0 is not"),
        (["out.parquet", *MORE[1:], "--scenarios", "fall.csv"], 2, "cannot write Parquet: pyarrow is not installed"),
        (["out.csv", "--paths", "30", "--profits", "p.h5"], 2, "give --scenarios, too"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_priced(tmp_path, monkeypatch, capsys, options, code, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)  # as if it were not installed
    (tmp_path / "book.csv").write_text(HEADER + BOOK[4] + "\n" + BOOK[3] + "\n")
    (tmp_path / "crash.csv").write_text("spot\n-1\n")
    (tmp_path / "calm.csv").write_text("volatility\n-0.14\n-0.18\n")
    (tmp_path / "fall.csv").write_text("spot\n-0.1\n")
    assert main(["price", "book.csv", "first.csv", "--paths", "20", "--state", "state.json"]) == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert main(["price", "book.csv", *options]) == code
    assert words in capsys.readouterr().err
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert before == written


def test_a_table_without_its_columns_is_refused_on_all_ranks(launch, tmp_path):
    (tmp_path / "book.csv").write_text("type,S,K\neuropean call,1,1\n")
    done = launch(2, "-m", "mpibatch.apps.risk", "price", str(tmp_path / "book.csv"), str(tmp_path / "out.csv"))
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1
    assert "has no column T, r" in done.stderr
    assert not (tmp_path / "out.csv").exists()


def test_positions_come_from_parquet_and_hdf5_too(tmp_path):
    """The same book, the type as a number in HDF5, whose tables have no words."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "book.csv").write_text(HEADER + "\n".join([BOOK[0], BOOK[5]]) + "\n")
    columns = {"type": ["european call", "asian call"], "S": [90.0, 100.0], "K": [100.0, 100.0], "T": [1.0, 1.0]}
    columns |= {"r": [0.03, 0.06], "q": [0.0, 0.03], "sigma": [0.15, 0.2], "fixings": [None, 10], "quantity": [1, 3]}
    parquet.write_table(arrow.table(columns), tmp_path / "book.parquet")
    columns |= {"type": [0, 2], "fixings": [math.nan, 10]}
    numbers = {name: np.array(values, np.float64) for name, values in columns.items()}
    mb.save(tmp_path / "book.h5", book=RegionTable(private(), numbers))
    tables = []
    for name in ("book.csv", "book.parquet", "book.h5::book"):
        assert main(["price", str(tmp_path / name), str(tmp_path / "out.csv"), "--paths", "50"]) == 0
        tables.append((tmp_path / "out.csv").read_bytes())
    assert tables[0] == tables[1] == tables[2]
