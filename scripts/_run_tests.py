"""What scripts/test.sh runs inside its virtual environment: checks, unit tests, MPI tests, one summary.

There are two set-ups: PyPI's mpich with plain h5py, and Debian's Open MPI with h5py on parallel HDF5, which runs what
touches MPI and files, and is prepared by scripts/_openmpi.sh. How they are run, side by side: scripts/_runner/lanes.py.
"""

from __future__ import annotations

import argparse
import sys

from scripts._runner.coverage import add_coverage, clear_coverage, why_not
from scripts._runner.lanes import Lanes
from scripts._runner.pace import Pace
from scripts._runner.results import Results


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/test.sh", description="Run all checks and tests.", allow_abbrev=False
    )
    parser.add_argument("paths", nargs="*", help="test files or test ids (default: all)")
    parser.add_argument("--quick", action="store_true", help="1 and 3 ranks only, and no test marked slow")
    parser.add_argument(
        "--ranks",
        metavar='"1 2"',
        help="rank counts for the MPI tests, every test on each, as with -k and paths (default: 1 2 3 4 6, where a "
        "case of a parametrized test runs on one of 2, 3, 4 and 6, and what runs on 6 on 1, too, "
        "and one that draws examples draws a share of them on each; openmpi: 2 3, and a case on one of them)",
    )
    parser.add_argument(
        "--setup",
        choices=("mpich", "openmpi", "all"),
        help="PyPI's mpich; or Debian's Open MPI and h5py with parallel HDF5, which are installed if need be and if "
        "possible (default: all; mpich for --quick, --only, -k, or given paths)",
    )
    parser.add_argument(
        "--only", choices=("checks", "tests", "unit", "mpi"), help="one kind of step (tests: two) instead of all"
    )
    parser.add_argument(
        "--coverage", action="store_true",
        help="tell which lines and branches the unit tests and the MPI tests on 3 ranks, there with every case, go "
        "through, as far as they are run (takes longer)",
    )  # fmt: skip
    parser.add_argument("-k", metavar="EXPR", help="only tests whose names match, as in pytest")
    parser.add_argument("--test-limit", type=float, default=300.0, metavar="SECONDS", help="of one test (default: 300)")
    parser.add_argument("--run-limit", type=float, default=2400.0, metavar="SECONDS", help="of one run (default: 2400)")
    options = parser.parse_args(arguments)
    if options.setup is None:
        options.setup = "mpich" if options.quick or options.only or options.k or options.paths else "all"
    text = options.ranks or ("1 3" if options.quick else "")
    try:
        options.ranks = [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        parser.error(f"--ranks takes rank counts such as '1 2 3', not {text!r}")
    if options.coverage and (why := why_not(options)):
        parser.error(why)
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    results, pace = Results(), Pace()
    if options.coverage:
        clear_coverage()
    Lanes(options, results).run()
    if options.coverage:
        add_coverage(results, is_whole=not (options.paths or options.k or options.quick))
    results.remarks += pace.lines()
    return results.show(wants_tests=options.only != "checks")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
