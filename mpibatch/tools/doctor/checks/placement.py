"""What the ranks say of themselves, compared: hosts, cores, binding, and whether all have the same software."""

from __future__ import annotations

import os
import platform
import socket
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.host import available_memory, core_quota, cpu_model
from mpibatch.base.units import bytes_text, plural
from mpibatch.tools.doctor.checks.launchers import starter
from mpibatch.tools.doctor.checks.machine import MEBI
from mpibatch.tools.doctor.checks.slurm import threads_of
from mpibatch.tools.doctor.finding import Finding, error, fine, warning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["About", "about_me", "check_alike", "check_binding", "check_cores", "check_memory"]

LEAST_MEMORY = 256 * MEBI


@dataclass(frozen=True)
class About:
    """What one rank says of itself.

    Attributes
    ----------
    cores : those that it may use, by number; quota : how many cores' worth of time its host's limits allow, if any.
    memory : bytes that its host can still give, or that a limit leaves.
    software : what must be the same on all ranks, by name.
    """

    rank: int
    host: str
    cores: frozenset[int]
    threads: int = 1
    quota: float | None = None
    host_cores: int = 1
    memory: int = 0
    folder: str = ""
    cpu: str = ""
    software: Mapping[str, str] = field(default_factory=dict)


def about_me(rank: int, software: Mapping[str, str]) -> About:
    """Tell of this process. Local."""
    return About(
        rank=rank,
        host=socket.gethostname(),
        cores=frozenset(os.sched_getaffinity(0)),
        threads=threads_of(os.environ),
        quota=core_quota(),
        host_cores=os.cpu_count() or 1,
        memory=available_memory(),
        folder=str(Path.cwd()),
        cpu=cpu_model(),
        software={"Python": platform.python_version(), **software},
    )


def _by_host(ranks: Sequence[About]) -> dict[str, list[About]]:
    hosts = defaultdict(list)
    for about in ranks:
        hosts[about.host].append(about)
    return dict(hosts)


def _usable(local_ranks: Sequence[About]) -> float:
    """How many cores the ranks on one host may use together."""
    quotas = [about.quota for about in local_ranks if about.quota is not None]
    return min([len(_together(local_ranks)), *quotas])


def _together(local_ranks: Sequence[About]) -> frozenset[int]:
    return frozenset[int]().union(*(about.cores for about in local_ranks))


def check_cores(ranks: Sequence[About]) -> list[Finding]:
    """Compare ranks × threads with the cores of each host. Local."""
    check, findings, hosts = "cores", [], _by_host(ranks)
    for host, local_ranks in hosts.items():
        usable, threads = _usable(local_ranks), sum(about.threads for about in local_ranks)
        if threads <= usable + 0.01:
            continue
        each = local_ranks[0].threads
        times = f" × {each} threads" if each > 1 else ""
        limited = ""
        if usable < local_ranks[0].host_cores:
            by = (
                "a control group"
                if any(about.quota == usable for about in local_ranks)
                else "its binding, or a container"
            )
            limited = f" of {local_ranks[0].host_cores} (limited by {by})"
        slow = "they take turns" if threads > 1 else "it waits most of the time"
        cores = plural(usable, "core")
        message = f"{plural(len(local_ranks), 'rank')}{times} on {cores}{limited} of {host}: {slow}"
        findings.append(warning(check, message, _fitting(usable, each, len(local_ranks), len(hosts))))
    total = sum(_usable(local_ranks) for local_ranks in hosts.values())
    threads = sum(about.threads for about in ranks)
    summary = f"{plural(len(ranks), 'rank')} of {plural(ranks[0].threads, 'thread')} on {plural(total, 'core')}"
    return _few(findings) or [fine(check, summary if threads > 1 else plural(total, "core"))]


def _fitting(usable: float, each: int, ranks_per_host: int, hosts: int) -> str:
    """What to type so that threads fit on the cores."""
    if each > 1:
        fitting = max(1, int(usable // ranks_per_host))
        names = [name for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if name in os.environ]
        return f"export {' '.join(f'{name}={fitting}' for name in names or ['OMP_NUM_THREADS'])}"
    if usable < 1:
        return "raise the limit: docker run --cpus=4, sbatch --cpus-per-task=1, systemd-run -p CPUQuota="
    fitting = int(usable)
    return f"srun --ntasks-per-node={fitting} …" if starter() == "slurm" else f"mpiexec -n {fitting * hosts} …"


def check_binding(ranks: Sequence[About]) -> list[Finding]:
    """Look for ranks on one host that must share cores while others are free. Local."""
    check, findings, bound = "binding", [], False
    for host, local_ranks in _by_host(ranks).items():
        everything, together = local_ranks[0].host_cores, _together(local_ranks)
        bound |= len(together) > len(local_ranks[0].cores)
        running = _at_a_time([about.cores for about in local_ranks])
        if running < min(len(local_ranks), everything):
            cores = f"core{'s' * (len(together) > 1)} {_listed(sorted(together))} of {everything}"
            message = f"{len(local_ranks)} ranks on {host} are bound to {cores}, so that {running} can run at a time"
            flag = (
                "srun --cpu-bind=cores" if starter() == "slurm" else "mpiexec -bind-to core (Open MPI: --bind-to core)"
            )
            findings.append(warning(check, message, f"{flag}, and no taskset around it"))
    if len(ranks) == 1:
        return [fine(check, f"{len(ranks[0].cores)} of {ranks[0].host_cores} cores")]
    summary = "each rank has a core of its own" if bound else "ranks are not bound: the system places them"
    return _few(findings) or [fine(check, summary)]


def _at_a_time(choices: Sequence[frozenset[int]]) -> int:
    """How many ranks can have a core of their own: the size of a largest matching of ranks and cores."""
    owner: dict[int, int] = {}

    def place(rank: int, tried: set[int]) -> bool:
        for core in choices[rank]:
            if core in tried:
                continue
            tried.add(core)
            if core not in owner or place(owner[core], tried):
                owner[core] = rank
                return True
        return False

    return sum(place(rank, set()) for rank in range(len(choices)))


def check_memory(ranks: Sequence[About]) -> list[Finding]:
    """Compare the memory of each host with what ranks take before any data. Local."""
    check, findings = "memory", []
    each = []
    for host, local_ranks in _by_host(ranks).items():
        memory = min(about.memory for about in local_ranks)
        each.append(memory // len(local_ranks))
        if memory and memory < LEAST_MEMORY * len(local_ranks):
            message = (
                f"{bytes_text(memory)} on {host} for {len(local_ranks)} ranks, "
                "each of which takes 150 to 250 MiB before any data"
            )
            findings.append(warning(check, message, "fewer ranks on a host, or more memory: sbatch --mem=0"))
    return _few(findings) or [fine(check, f"{bytes_text(min(each))} for each rank")]


def check_alike(ranks: Sequence[About]) -> list[Finding]:
    """Look for ranks that have other software, another processor or another working folder. Local."""
    check, findings = "ranks alike", []
    for name in sorted({name for about in ranks for name in about.software}):
        values = _groups({about.rank: about.software.get(name, "none") for about in ranks})
        if len(values) > 1:
            listing = "; ".join(f"{value} on {_listed(who)}" for value, who in values.items())
            advice = "the same environment on all nodes: activate it in the batch script"
            findings.append(error(check, f"ranks have different {name}: {listing}", advice))
    cpus = _groups({about.rank: about.cpu for about in ranks})
    if len(cpus) > 1:
        listing = "; ".join(f"{cpu} on {_listed(who)}" for cpu, who in cpus.items())
        message = f"different processors: {listing}; NumPy may round functions such as exp otherwise on each"
        findings.append(warning(check, message, "ask for nodes of one kind: sbatch --constraint=…"))
    folders = _groups({about.rank: about.folder for about in ranks})
    if len(folders) > 1:
        listing = "; ".join(f"{folder} on {_listed(who)}" for folder, who in folders.items())
        message = f"ranks are in different folders: {listing}; relative paths mean different files"
        findings.append(warning(check, message, "srun --chdir=…, mpiexec -wdir …, or give full paths"))
    hosts = plural(len({about.host for about in ranks}), "host")
    summary = f"{plural(len(ranks), 'rank')} on {hosts}, {platform.machine()}, Python {platform.python_version()}"
    return findings or [fine(check, summary)]


def _groups(values: Mapping[int, str]) -> dict[str, list[int]]:
    groups = defaultdict(list)
    for rank, value in values.items():
        groups[value].append(rank)
    return dict(groups)


def _listed(numbers: Sequence[int]) -> str:
    """Numbers as 0-3,7."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def _few(findings: list[Finding]) -> list[Finding]:
    """Of many findings alike, on many hosts, the first, and how many more there are."""
    if len(findings) < 3:
        return findings
    first = findings[0]
    return [warning(first.check, f"{first.message}; and so on {len(findings) - 1} more hosts", first.advice)]
