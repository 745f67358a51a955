"""``mpibatch net``: one range of ports for a job, and whether it keeps to it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpibatch.tools.network.ports import Site

__all__ = ["add", "execute"]

DESCRIPTION = """\
plan prints what keeps all sockets of a job within one range of ports: the variables of MPICH, UCX, libfabric and
Open MPI, Slurm's line, and rules for nftables. check looks at the sockets of running jobs of yours on this host (as
root: of everybody's), and with --rules (as root) at the rules that are in force.
"""
EPILOG = """\
Who connects has a port that the system chooses; the other end is in the range. Loopback is left out. Variables must
be in the environment of the launcher. MPI does not encrypt: see mpibatch guide trust for WireGuard.

examples:
  mpibatch net plan --ports 50000-50199 --peers 10.0.0.0/24 --interface eth0
  eval "$(mpibatch net plan --ports 50000-50199 --only sh)"; mpiexec -n 8 mpibatch run job.toml
  mpibatch net plan --ports 50000-50199 --peers 10.0.0.0/24 --only nft > rules.nft
  mpibatch net check --ports 50000-50199 --peers 10.0.0.0/24 --rules

exit codes: 0 done, 1 from check: a socket outside the range, a rule that is missing, an interface that is down,
or no job to look at; 2 usage error, such as too few ports, or no nft
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "net",
        parents=[shared],
        help="keep a job's sockets within one range of ports, and check it",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("plan", "check"), help="what to do")
    parser.add_argument("--ports", metavar="LOW-HIGH", required=True, help="the range, such as 50000-50199")
    parser.add_argument(
        "--peers",
        metavar="NETWORK",
        action="append",
        default=[],
        help="the nodes' addresses: 10.0.0.0/24 (repeatable)",
    )
    parser.add_argument("--interface", metavar="NAME", default="", help="what leads to them, such as eth0 or wg0")
    parser.add_argument("--ranks", type=int, metavar="N", default=1, help="ranks of a node (default: 1)")
    parser.add_argument("--only", choices=("sh", "nft", "slurm"), help="with plan: print only this part")
    parser.add_argument("--pid", type=int, action="append", metavar="N", help="of check: this process (repeatable)")
    parser.add_argument("--rules", action="store_true", help="of check: look at the rules in force, too; needs root")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    from mpibatch.base.errors import UsageError
    from mpibatch.base.processes.launch import launched
    from mpibatch.tools.network.ports import parsed

    site = parsed(args.ports, args.peers, args.interface, max(1, args.ranks))
    if not site.peers and (args.only == "nft" or args.rules):
        raise UsageError("rules need --peers: the addresses of the nodes, such as 10.0.0.0/24")
    if launched()[0] != 0:
        return 0
    if args.action == "check":
        return _check(args, site)
    parts = {
        "sh": "\n".join(f"export {name}={value}" for name, value in site.variables().items()),
        "slurm": site.slurm(),
        "nft": site.nftables() if site.peers else "# no rules without --peers",
    }
    heads = {"sh": "# for the shell that starts the job", "slurm": "# slurm.conf", "nft": "# firewall"}
    shown = [parts[args.only]] if args.only else [f"{heads[name]}\n{text}\n" for name, text in parts.items()]
    print("\n".join(shown).rstrip("\n"))
    return 0


def _check(args: argparse.Namespace, site: Site) -> int:
    from mpibatch.base.processes.networks import is_up
    from mpibatch.tools.network import rules, sockets

    pids = args.pid or sockets.mpi_processes()
    if not pids and not args.rules and not site.interface:
        print("no MPI job of yours runs here: nothing was looked at")
        return 1
    known = [*sockets.sockets_of(pids, may_end=not args.pid)]
    problems = [f"{socket}: outside {site.ports}" for socket in sockets.outside(known, site.ports)]
    if site.interface and not is_up(site.interface):
        problems.append(f"the interface {site.interface} is not up: a job must not start now")
    problems += rules.problems_of(site) if args.rules else []
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{len(pids)} processes of MPI with {len(known)} sockets: none outside {site.ports}")
    return 1 if problems else 0
