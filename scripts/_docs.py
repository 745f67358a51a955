#!/usr/bin/env python3
"""Write the sources of the site, from README, guide and public names: `scripts/_docs.py FOLDER`; see docs.sh."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

from mpibatch.guide import CHAPTERS, chapter

HERE = Path(__file__).resolve().parent
# In the order of the pages; a name that several packages have is described on the first page.
PACKAGES = {
    "": "Grids, fields, kernels, jobs",
    "filters": "Filters",
    "reduce": "Reductions",
    "measure": "Measurements",
    "segment": "Segmentation",
    "resample": "Resampling",
    "projections": "Projections",
    "fourier": "Spectra",
    "fourier.fft": "Fourier transforms",
    "solve": "Linear equations",
    "particles": "Particles",
    "io": "Files",
    "stencil": "Kernels",
    "simulate": "Simulations",
    "checkpoint": "Checkpoints",
    "batch": "Batches",
    "job": "Jobs",
    "random": "Random numbers",
    "halo": "Halos",
    "domain": "Boxes and decompositions",
    "mpi": "Messages and failures",
    "testing": "Tests of one's own programs",
}


def main(folder: Path) -> None:
    """Write all pages into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "guide").mkdir(parents=True)
    (folder / "reference").mkdir()
    for picture in (HERE).glob("*.png"):
        (folder / "scripts").mkdir(exist_ok=True)
        shutil.copy(picture, folder / "scripts")
    for name in CHAPTERS:
        text = chapter(name).replace("../../scripts/", "../scripts/")
        (folder / "guide" / f"{name}.md").write_text(text, encoding="utf-8")
    described: set[int] = set()
    pages = [name for name, title in PACKAGES.items() if _page(folder / "reference", name, title, described)]
    (folder / "reference" / "index.md").write_text(
        "# Reference\n\n" + _contents([name or "mpibatch" for name in pages]), encoding="utf-8"
    )
    (folder / "guide" / "index.md").write_text("# Guide\n\n" + _contents(CHAPTERS), encoding="utf-8")
    readme = (HERE.parent / "README.md").read_text(encoding="utf-8").replace("](mpibatch/guide/", "](guide/")
    (folder / "index.md").write_text(f"{readme}\n{_contents(('guide/index', 'reference/index'), True)}", "utf-8")


def _contents(names: tuple[str, ...] | list[str], is_hidden: bool = False) -> str:
    option = ":hidden:\n" * is_hidden
    return f"```{{toctree}}\n:maxdepth: 2\n{option}\n" + "\n".join(names) + "\n```\n"


def _page(folder: Path, package: str, title: str, described: set[int]) -> bool:
    """Write the page of a package, unless it is not there, or all that it has is described already."""
    name = f"mpibatch.{package}" if package else "mpibatch"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    members = {member: getattr(module, member) for member in module.__all__}
    new = {
        member: value
        for member, value in sorted(members.items(), key=lambda item: item[0].lower())
        if not isinstance(value, ModuleType | str) and callable(value) and id(value) not in described
    }
    if not new:
        return False
    described |= {id(value) for value in new.values()}
    # Not cleaned as others are: what is indented stays so, and is code.
    first, _, rest = (module.__doc__ or "").strip().partition("\n")
    lines = [title, "=" * len(title), "", f".. module:: {name}", "", first, ""]
    for member, value in new.items():
        kind = "autoclass" if inspect.isclass(value) else "autofunction" if inspect.isroutine(value) else "autodata"
        lines += [member, "-" * len(member), "", f".. {kind}:: {name}.{member}"]
        lines += ["   :members:", ""] if kind == "autoclass" else [""]
    if rest.strip() and package and not re.search(r"^(Parameters|Examples)$", rest, re.M):
        lines[6:6] = ["", re.sub(r"(?<!::)\n\n(?=    )", "\n\n::\n\n", f"\n{rest}").strip("\n"), ""]
    (folder / f"{package or 'mpibatch'}.rst").write_text("\n".join(lines), encoding="utf-8")
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
