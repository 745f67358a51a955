"""A real Slurm for the tests: slurmctld, munged and four slurmd on this machine, invisible from outside.

All of it lives in namespaces of its own (network, processes, mounts) whose first process is this module, run as a
program. That process ends when its standard input does, also when the tests are killed, and with it the kernel
ends everything inside. Commands enter by `nsenter`. The network is a loopback device and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")  # states that jobs of the tests end in
NODES = 4
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "unshare", "nsenter")
INSTALL = "slurmctld slurmd slurm-client munge util-linux"
PORT = 26800

# The lines that are not what one would write first:
# - cred_expire=5 (the least): by default a requeued job waits two minutes; sched_interval=1: not another one.
# - batch_sched_delay, bf_interval: a second for each batch job, not three.
# - NoInAddrAny: all daemons bind to the loopback address alone.
# - TmpFS for each node: PMIx plug-ins of two nodes would collide; task/none: more ranks than cores are allowed.
# - MinJobAge: ended jobs stay known for the whole session.
CONFIGURATION = """\
ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire=5
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
TmpFS={folder}/tmp/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=20
KillWait=2
MinJobAge=3600
MpiDefault=none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n[1-{nodes}] NodeHostName=localhost NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=8 RealMemory=16000 \
TmpDisk=10000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""

# A node's own host name, hosts file and /dev/shm: MPI tells nodes apart by the first, and meets in the last.
START_NODE = """
hostname "$1"; mount --bind "$2/hosts" /etc/hosts; mount -t tmpfs tmpfs /dev/shm
exec slurmd -N "$1"
"""


def missing() -> str:
    """Return what keeps a cluster from being started here, or ""."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"needs Slurm ({', '.join(absent)} not found; Debian: apt-get install {INSTALL})"
    if os.geteuid() != 0:
        return "needs root: Slurm's daemons start in namespaces of their own"
    namespaces = ["unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    done = subprocess.run(namespaces, capture_output=True, text=True, check=False)
    return f"needs root that may make namespaces ({done.stderr.strip()})" if done.returncode else ""


class Cluster:
    """A running cluster; `folder` holds all its state. Use as a context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: a socket's path ends at 107
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("SLURM", "SBATCH", "SRUN", "SQUEUE", "PMI", "OMPI"))
        } | {"SLURM_CONF": str(self.folder / "slurm.conf"), "UCX_NET_DEVICES": "lo", "FI_TCP_IFACE": "lo"}
        # Not UCX, with which ranks now and then failed to start ("value not properly terminated in client request"):
        # probably since a rank's address is longer there than one message of this Slurm's pmi2.
        self.environment |= {"MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"}
        self._inside: subprocess.Popen[bytes] | None = None
        self._prefix: list[str] = []

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._inside is not None and self._inside.stdin is not None:
            with self._inside:  # closes its standard input: it ends, and the kernel ends all that it holds
                pass
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        for name in ("state", "spool", "tmp", "log", "run"):
            (self.folder / name).mkdir()
        settings = {"folder": self.folder, "port": PORT, "nodes": NODES, "first": PORT + 1, "last": PORT + NODES}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**settings))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # else slurmd wants it mounted
        hosts = Path("/etc/hosts").read_text() + "".join(f"127.0.0.1 n{i + 1}\n" for i in range(NODES))
        (self.folder / "hosts").write_text(hosts)
        key = self.folder / "run" / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        namespaces = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self._inside = subprocess.Popen(
            [*namespaces, sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._inside.stdout is not None
        assert self._inside.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{self._inside.pid}/task/{self._inside.pid}/children").read_text().split()
        self._prefix = ["nsenter", "--target", children[0], "--net", "--pid", "--mount"]
        run = self.folder / "run"
        munge = [f"--key-file={key}", f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid"]
        munge += [f"--log-file={self.folder}/log/munged.log", f"--seed-file={run}/munge.seed"]
        self.command("munged", "--force", *munge)
        self.command("slurmctld")
        for number in range(NODES):
            self.start_node(f"n{number + 1}")
        self.wait(lambda: self.idle_nodes() == NODES, "the nodes to come up", 20)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd, also again after it was killed."""
        for name in ("spool", "tmp"):
            (self.folder / name / node).mkdir(exist_ok=True)
        separate = ["unshare", "--uts", "--mount", "--propagation", "private"]
        self.command(*separate, "sh", "-euc", START_NODE, "sh", node, str(self.folder))

    def kill_node(self, node: str) -> None:
        """End a node as a power cut would: its slurmd and all that ran on it, by its host name's namespace."""
        text = """
ns=$(readlink "/proc/$(cat "$1")/ns/uts")
[ "$ns" != "$(readlink /proc/self/ns/uts)" ]
for p in /proc/[0-9]*; do
    if [ "$(readlink "$p/ns/uts" 2>/dev/null)" = "$ns" ]; then kill -KILL "${p#/proc/}" 2>/dev/null || true; fi
done
"""
        self.command("sh", "-euc", text, "sh", str(self.folder / "run" / f"slurmd.{node}.pid"))

    def command(
        self, *arguments: str, check: bool = True, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, with its output as text."""
        settings: dict[str, Any] = {"env": self.environment, "cwd": self.folder, **options}
        done = subprocess.run(
            [*self._prefix, f"--wd={settings['cwd']}", *arguments],  # else it would be the root
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **settings,
        )
        if check and done.returncode:
            raise RuntimeError(f"{shlex.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def mpibatch(self, *arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run this repository's mpibatch inside."""
        environment = {**self.environment, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "mpibatch", *arguments]
        return self.command(*command, cwd=cwd, env=environment, check=check, timeout=150)

    def idle_nodes(self) -> int:
        found = self.command("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False)
        return len(set(found.stdout.split()))

    def job(self, job_id: str) -> dict[str, str]:
        """Return what `scontrol show job` says, as a dictionary."""
        words = self.command("scontrol", "show", "-o", "job", job_id).stdout.split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job_id: str) -> str:
        return self.command("squeue", "-h", "-t", "all", "-j", job_id, "-o", "%T").stdout.split("\n")[0]

    def wait_for(self, job_id: str, *states: str, seconds: float = 30) -> str:
        """Wait until a job is in one of `states`; return it."""
        self.wait(lambda: self.state(job_id) in states, f"job {job_id} to be {' or '.join(states)}", seconds)
        return self.state(job_id)

    def wait(self, done: Any, what: str, seconds: float = 30) -> None:
        """Wait until `done()` is true; tell what the cluster's logs say if it never is."""
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until:
                logs = "".join(f"--- {path.name}\n{tail(path)}" for path in sorted(self.folder.glob("log/slurm*.log")))
                queue = self.command("squeue", "-t", "all", check=False).stdout
                raise TimeoutError(f"waited {seconds:g} s for {what}\n{queue}{logs}")
            time.sleep(0.05)

    def listeners(self) -> list[str]:
        """Return the addresses that something inside listens on, of TCP and UDP."""
        lines = self.command("sh", "-c", "cat /proc/net/tcp /proc/net/udp").stdout.splitlines()
        words = [line.split() for line in lines if ":" in line.split()[1]]
        listening = [word[1] for word in words if word[3] in ("0A", "07")]
        return [socket.inet_ntoa(bytes.fromhex(address.split(":")[0])[::-1]) for address in listening]


def tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) + "\n"


def loopback_up(addresses: Sequence[str] = ("127.0.0.1", "127.0.0.2")) -> None:
    """Bring up this namespace's loopback device; the second address is for getaddrinfo, which ignores the first."""
    set_address, set_flags, up = 0x8916, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for number, address in enumerate(addresses):
            name = b"lo" if number == 0 else f"lo:{number}".encode()
            family = struct.pack("=16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, set_address, family)
            fcntl.ioctl(control, set_flags, struct.pack("=16sH14x", name, up))


def _hold() -> None:
    """Be the first process of the namespaces: take in orphans, and end when nobody holds the other end any more."""
    import select

    loopback_up()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


if __name__ == "__main__":
    _hold()
