"""The rules that are in force, as nft tells them."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError
from mpibatch.tools.network.ports import RULES

if TYPE_CHECKING:
    from mpibatch.tools.network.ports import Site

__all__ = ["missing", "problems_of"]

Rule = tuple[frozenset[tuple[str, str]], str]  # what is asked of a packet, and the verdict

OWN = "host"  # so begin the comments of rules that a host needs for itself
IMPLIED = (("nfproto", "ipv4"), ("nfproto", "ipv6"), ("l4proto", "tcp"))  # by what is looked at beside them
HARMLESS = ("counter", "log")


def problems_of(site: Site) -> list[str]:
    """Return in words which rules of a site are not in force; [] if all are. Local. UsageError, RunError."""
    nft = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if nft is None:
        raise UsageError("there is no nft on the PATH: install nftables, or leave out --rules")
    done = subprocess.run([nft, "-j", "list", "ruleset"], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise RunError(f"nft does not tell its rules: {words[0] if words else 'no reason'}; it needs root")
    return missing(json.loads(done.stdout)["nftables"], site)


def missing(ruleset: list[dict[str, Any]], site: Site) -> list[str]:
    """Return in words what of `nft -j list ruleset` is not as a site's rules have it. Local."""
    ours = [(kind, about) for entry in ruleset for kind, about in entry.items() if kind in ("chain", "rule")]
    ours = [(kind, about) for kind, about in ours if (about.get("family"), about.get("table")) == ("inet", "mpibatch")]
    inputs = [about for kind, about in ours if kind == "chain" and about.get("hook") == "input"]
    if not inputs:
        return ["the table 'mpibatch' has no chain for input: nft -f with what `mpibatch net plan` prints"]
    problems = []
    if inputs[0].get("policy") != "drop":
        problems.append(f"the policy of the chain is {inputs[0].get('policy')!r}, not 'drop'")
    rules = [about for kind, about in ours if kind == "rule" and about.get("chain") == inputs[0].get("name")]
    there = [_parsed(about["expr"]) for about in rules]
    planned = _planned(site)
    for name, by_peer in planned.items():
        lacks = [peer for peer, rule in by_peer.items() if rule not in there]
        if not any(about.get("comment") == name for about in rules):
            problems.append(f"the rule {name!r} is missing")
        else:
            problems += [f"the rule {name!r}{f' for {peer}' if peer else ''} is not in force" for peer in lacks]
    known = [rule for by_peer in planned.values() for rule in by_peer.values()]
    for about, rule in zip(rules, there, strict=True):
        comment = str(about.get("comment", ""))
        if rule not in known and not comment.startswith(OWN):
            problems.append(f"the chain has a rule that was not planned: {comment or json.dumps(about['expr'])}")
    return problems


def _planned(site: Site) -> dict[str, dict[str, Rule]]:
    """The rules of a site, by name and peer ("" where there is none)."""
    loopback, established, ports = RULES
    face = {("iifname", site.interface)} if site.interface else set()
    return {
        loopback: {"": (frozenset({("iif", "lo")}), "accept")},
        established: {"": (frozenset({("state", "established,related")}), "accept")},
        ports: {
            peer: (
                frozenset({(f"{'ip6' if ':' in peer else 'ip'} saddr", peer), ("tcp dport", str(site.ports)), *face}),
                "accept",
            )
            for peer in site.peers
        },
    }


def _parsed(statements: list[dict[str, Any]]) -> Rule:
    """What a rule asks of a packet, and its verdict."""
    matches, verdict = set(), ""
    for statement in statements:
        ((kind, about),) = statement.items()
        if kind == "match":
            name, value = _name(about["left"]), _value(about["right"])
            if about["op"] not in ("==", "in"):
                value = f"{about['op']} {value}"
            if name.endswith(" saddr"):
                value = _network(value)
            if (name, value) not in IMPLIED:
                matches.add((name, value))
        elif kind not in HARMLESS:
            verdict += kind if about is None else json.dumps(statement)
    return frozenset(matches), verdict


def _name(left: dict[str, Any]) -> str:
    """What of a packet is looked at: "ip saddr", or "iifname"."""
    ((kind, about),) = left.items()
    if kind == "payload" and "field" in about:
        return f"{about['protocol']} {about['field']}"
    return str(about["key"]) if kind in ("meta", "ct") and {*about} == {"key"} else json.dumps(left)


def _value(right: Any) -> str:
    """As it is written: "lo", "50000-50199", "10.0.0.0/24", "established,related"."""
    if isinstance(right, list):
        return ",".join(sorted(map(_value, right)))
    if isinstance(right, dict) and "prefix" in right:
        return f"{right['prefix']['addr']}/{right['prefix']['len']}"
    if isinstance(right, dict) and "range" in right:
        return "-".join(map(str, right["range"]))
    if isinstance(right, dict) and "set" in right:
        return _value(right["set"])
    return str(right)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        return text
