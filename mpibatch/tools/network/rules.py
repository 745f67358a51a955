"""The rules that are in force, as nft tells them."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError
from mpibatch.tools.network.ports import RULES

if TYPE_CHECKING:
    from mpibatch.tools.network.ports import Site

__all__ = ["missing", "problems_of"]


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
    """Return in words what of a site's rules is not among those that `nft -j list ruleset` tells. Local."""
    chains = [entry["chain"] for entry in ruleset if entry.get("chain", {}).get("table") == "mpibatch"]
    rules = [entry["rule"] for entry in ruleset if entry.get("rule", {}).get("table") == "mpibatch"]
    inputs = [chain for chain in chains if chain.get("hook") == "input"]
    if not inputs:
        return ["the table 'mpibatch' has no chain for input: nft -f with what `mpibatch net plan` prints"]
    problems = []
    if inputs[0].get("policy") != "drop":
        problems.append(f"the policy of the chain is {inputs[0].get('policy')!r}, not 'drop'")
    by_name: dict[str, list[Any]] = {}
    for rule in rules:
        by_name.setdefault(str(rule.get("comment", "")), []).append(rule["expr"])
    problems += [f"the rule {name!r} is missing" for name in RULES if name not in by_name]
    text = json.dumps(by_name.get(RULES[2], []))
    if RULES[2] in by_name:
        low, high = site.ports.low, site.ports.high
        if f'"range": [{low}, {high}]' not in text:
            problems.append(f"the rule {RULES[2]!r} is for other ports than {site.ports}")
        problems += [
            f"the rule {RULES[2]!r} for {peer} is missing" for peer in site.peers if peer.partition("/")[0] not in text
        ]
    return problems
