"""One range of ports, and what follows: variables for each MPI and its transports, Slurm's line, rules for nft."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from mpibatch.base.errors import UsageError
from mpibatch.base.processes.networks import VARIABLE as INTERFACE

__all__ = ["RULES", "PortRange", "Site", "parsed"]

_RANGE = re.compile(r"(\d{1,5})[-:](\d{1,5})")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
LEAST, MOST = 1024, 65535
# What a process manager and the transports of a rank listen on, at most, and what those of the node do.
PER_RANK, PER_NODE = 3, 8

# The rules by their names, which stand in their comments: by these they are looked for.
RULES = ("mpibatch loopback", "mpibatch established", "mpibatch ports")


@dataclass(frozen=True)
class PortRange:
    """The ports from `low` to `high`, both included."""

    low: int
    high: int

    def __contains__(self, port: int) -> bool:
        return self.low <= port <= self.high

    def __len__(self) -> int:
        return self.high - self.low + 1

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


@dataclass(frozen=True)
class Site:
    """The range, the hosts that may use it (networks, as text), and the interface that leads to them ("": any)."""

    ports: PortRange
    peers: tuple[str, ...]
    interface: str = ""

    def variables(self) -> dict[str, str]:
        """Return what the environment of the launcher, and of the ranks, must have. Local."""
        low, high, face = str(self.ports.low), str(self.ports.high), self.interface
        # Open MPI's daemons: that of its launcher takes all ports which it may, and would leave none to ranks.
        daemons = f"{low}-{self.ports.low + PER_NODE - 1}"
        first, count = str(self.ports.low + PER_NODE), str(len(self.ports) - PER_NODE)
        given = {
            # MPICH and its kin: the process manager, and the library.
            "MPIEXEC_PORT_RANGE": f"{low}:{high}",
            "MPICH_PORT_RANGE": f"{low}:{high}",
            "MPIR_CVAR_CH3_PORT_RANGE": f"{low}:{high}",
            "UCX_TCP_PORT_RANGE": f"{low}-{high}",
            "FI_TCP_PORT_LOW_RANGE": low,
            "FI_TCP_PORT_HIGH_RANGE": high,
            "OMPI_MCA_btl_tcp_port_min_v4": first,
            "OMPI_MCA_btl_tcp_port_range_v4": count,
            "OMPI_MCA_btl_tcp_port_min_v6": first,
            "OMPI_MCA_btl_tcp_port_range_v6": count,
            # Daemons of Open MPI 4, and of 5, which are PRRTE's.
            "OMPI_MCA_oob_tcp_dynamic_ipv4_ports": daemons,
            "OMPI_MCA_oob_tcp_dynamic_ipv6_ports": daemons,
            "PRTE_MCA_oob_tcp_dynamic_ipv4_ports": daemons,
            "PRTE_MCA_oob_tcp_dynamic_ipv6_ports": daemons,
        }
        faces = ("HYDRA_IFACE", "UCX_NET_DEVICES", "FI_TCP_IFACE", "OMPI_MCA_btl_tcp_if_include",
                 "OMPI_MCA_oob_tcp_if_include", "PRTE_MCA_prte_if_include", INTERFACE)  # fmt: skip
        return given | (dict.fromkeys(faces, face) if face else {})

    def slurm(self) -> str:
        """Return the line of slurm.conf, which is the administrator's. Local."""
        return f"SrunPortRange={self.ports}"

    def nftables(self) -> str:
        """Return rules for `nft -f`: nothing comes in but from peers, to these ports, and answers. Local."""
        loopback, established, ports = RULES
        families = ["ip6" if ":" in peer else "ip" for peer in self.peers]
        lines = [
            f'{family} saddr {peer} tcp dport {self.ports} accept comment "{ports}"'
            for family, peer in zip(families, self.peers, strict=True)
        ]
        face = f'iifname "{self.interface}" ' if self.interface else ""
        rules = [
            f'iif "lo" accept comment "{loopback}"',
            f'ct state established,related accept comment "{established}"',
            *(face + line for line in lines),
        ]
        body = "\n".join(f"        {rule}" for rule in rules)
        return (
            "# nft -f FILE. All else that comes in is dropped, logins by ssh included: add what this host needs,\n"
            '# each with a comment: tcp dport 22 accept comment "host ssh"\n'
            "table inet mpibatch {\n    chain input {\n"
            "        type filter hook input priority filter; policy drop;\n"
            f"{body}\n    }}\n}}\n"
        )


def parsed(ports: str, peers: list[str], interface: str, ranks: int) -> Site:
    """Return what the words of a user stand for; `ranks` are those of a node. Local. UsageError."""
    match = _RANGE.fullmatch(ports.strip())
    if match is None or not LEAST <= int(match[1]) <= int(match[2]) <= MOST:
        raise UsageError(f"--ports {ports}: give two ports from {LEAST} to {MOST}, such as 50000-50199")
    known = PortRange(int(match[1]), int(match[2]))
    needed = ranks * PER_RANK + PER_NODE
    if len(known) < needed:
        low = min(known.low, MOST - needed + 1)
        remedy = f"give {low}-{low + needed - 1} or more" if low >= LEAST else "start fewer ranks on a node"
        raise UsageError(
            f"--ports {ports}: {len(known)} ports are too few for {ranks} ranks on a node, which may open {needed}; "
            f"{remedy}"
        )
    networks = []
    for peer in peers:
        try:
            networks.append(str(ipaddress.ip_network(peer, strict=False)))
        except ValueError:
            raise UsageError(f"--peers {peer}: give the addresses of the nodes, such as 10.0.0.0/24") from None
    if interface and not _INTERFACE.fullmatch(interface):
        raise UsageError(f"--interface {interface}: give a name that `ip link` shows, such as eth0 or wg0")
    return Site(known, tuple(networks), interface)
