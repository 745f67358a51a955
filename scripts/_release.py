"""What scripts/release.sh makes of the commit that is checked out: the same bytes wherever and whenever it is run.

Wheel and sdist are built from what is committed, with the commit's time as SOURCE_DATE_EPOCH. Wheel and extras are
installed into an empty environment, of which `sbom.json` (CycloneDX) lists all packages, and pip-audit tells known
vulnerabilities. The bill of materials is that of the versions which the package index has on that day.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
SERVICES = ("pypi", "osv")  # of known vulnerabilities, for pip-audit
PYTHON = sys.executable


def main(arguments: list[str]) -> int:
    """Make everything; return 1 if a package has a known vulnerability."""
    parser = argparse.ArgumentParser(prog="scripts/release.sh", allow_abbrev=False, description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist", help="folder (default: dist)")
    parser.add_argument("--extras", default="mpich,image,seal", help="of what sbom.json lists (default: %(default)s)")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        folder = Path(name)
        tree = committed(folder / "tree")
        artifacts = build(tree, args.out, _output("git", "log", "-1", "--format=%ct").strip())
        (wheel,) = (path for path in artifacts if path.suffix == ".whl")
        python = installed(wheel, args.extras, folder / "environment")
        artifacts.append(bill(python, tree, args.out / "sbom.json"))
        lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(artifacts)]
        (args.out / "SHA256SUMS").write_text("".join(lines))
        print("".join(lines), end="")
        vulnerable, unknown = audit(next(python.parent.parent.glob("lib/python*/site-packages")))
    for line in vulnerable:
        print(f"vulnerable: {line}")
    if unknown:
        print(f"not audited: {unknown}")
    elif not vulnerable:
        print("audited: no known vulnerability")
    return 1 if vulnerable else 0


def committed(tree: Path) -> Path:
    """Write what is committed into a new folder; return it."""
    tree.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
    return tree


def build(tree: Path, out: Path, epoch: str) -> list[Path]:
    """Build wheel and sdist of a tree, all of whose files have the same time; return their paths."""
    command = [PYTHON, "-m", "hatchling", "build", "-d", str(out.resolve())]
    subprocess.run(command, cwd=tree, env={**os.environ, "SOURCE_DATE_EPOCH": epoch}, check=True, stdout=sys.stderr)
    version = _output(PYTHON, "-m", "hatchling", "version", folder=tree).strip()
    return [out / f"mpibatch-{version}{ending}" for ending in ("-py3-none-any.whl", ".tar.gz")]


def installed(wheel: Path, extras: str, environment: Path) -> Path:
    """Install a wheel with extras, and nothing else, into a new environment; return its Python."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    wanted = f"{wheel.resolve()}[{extras}]"
    subprocess.run([PYTHON, "-m", "pip", "--python", python, "install", "-q", wanted], check=True)
    return python


def bill(python: Path, tree: Path, path: Path) -> Path:
    """Write the bill of materials of an environment, validated, without times and numbers drawn by chance."""
    about: list[str | Path] = ["--pyproject", tree / "pyproject.toml", "--mc-type", "library"]
    about += ["--output-reproducible", "--validate"]
    subprocess.run([PYTHON, "-m", "cyclonedx_py", "environment", python, *about, "-o", path], check=True)
    # The version is not in pyproject.toml, and so not in what was written of the package itself.
    listed = json.loads(path.read_text())
    version = _output(PYTHON, "-m", "hatchling", "version", folder=tree).strip()
    listed["metadata"]["component"] |= {"version": version, "purl": f"pkg:pypi/mpibatch@{version}"}
    path.write_text(json.dumps(listed, indent=2) + "\n")
    return path


def audit(packages: Path) -> tuple[list[str], str]:
    """Return in words which installed packages have known vulnerabilities, and why some were not looked up, or ""."""
    reasons = []
    for service in SERVICES:
        command = [
            PYTHON,
            "-m",
            "pip_audit",
            "--path",
            str(packages),
            "-s",
            service,
            "-f",
            "json",
            "--progress-spinner=off",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            vulnerable, unknown = verdict(json.loads(done.stdout))
        except ValueError:  # no report at all
            reasons.append(f"{service}: {(done.stderr.strip().splitlines() or ['no reason'])[-1][:200]}")
            continue
        if vulnerable or not unknown:
            return vulnerable, ""
        reasons.append(f"{service}: does not know {', '.join(unknown)}")
    return [], "; ".join(reasons)


def verdict(report: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return what pip-audit reports: vulnerabilities in words, and packages that its service does not know."""
    packages = [about for about in report["dependencies"] if about["name"] != "mpibatch"]
    vulnerable = [
        f"{about['name']} {about['version']}: {entry['id']}, mended in {', '.join(entry['fix_versions']) or 'none'}"
        for about in packages
        for entry in about.get("vulns", ())
    ]
    return vulnerable, [about["name"] for about in packages if "skip_reason" in about]


def _output(*command: str, folder: Path = REPOSITORY) -> str:
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
