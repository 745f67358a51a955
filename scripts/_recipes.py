#!/usr/bin/env python3
"""Write the recipes in scripts/recipes from pyproject.toml: containers, Spack, EasyBuild, conda, Lmod.

    scripts/_recipes.py           # a test holds them equal

Container images have no MPI: mpi4py's wheel loads the host's libmpi at run time, which is bound into the container, so
that one image runs under MPICH and its kin, and under Open MPI.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "scripts" / "recipes"
REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")
BASE = "debian:12-slim"
# Where the host's MPI is bound in a container.
HOST_MPI = "/opt/host-mpi"
# Top folders of file systems with users' data, here and there.
FILE_SYSTEMS = ("data", "gpfs", "lus", "lustre", "nobackup", "p", "pfs", "project", "projects", "scratch", "work")
# The steps that make an image, in a shell, from a folder with the sources: of Containerfile and definition alike.
STEPS = (
    "apt-get update",
    "apt-get install -y --no-install-recommends python3 python3-venv libgomp1",
    "rm -rf /var/lib/apt/lists/*",
    "python3 -m venv /opt/mpibatch",
    "/opt/mpibatch/bin/pip install --no-cache-dir /opt/source",
    "/opt/mpibatch/bin/python -m compileall -q /opt/mpibatch/lib",
    "rm -rf /opt/source",
    # Mount points: charliecloud can make none in an image.
    f"mkdir -p {HOST_MPI} {' '.join(f'/{name}' for name in FILE_SYSTEMS)}",
)
# What EasyBuild, which resolves exact versions alone, has for a generation of its toolchain that is new enough for
# pyproject.toml. For each of our needs: the module that has it, the module's version, and its own there.
TOOLCHAIN, TOOLCHAIN_PYTHON, TOOLCHAIN_HATCHLING = ("foss", "2025b"), "3.13.5", "1.27.0"
MODULES = {
    "h5py": ("h5py", "3.14.0", "3.14.0"),
    "jinja2": ("Python-bundle-PyPI", "2025.07", "3.1.6"),
    "mpi4py": ("mpi4py", "4.1.0", "4.1.0"),
    "numba": ("numba", "0.62.0", "0.62.0"),
    "numpy": ("SciPy-bundle", "2025.07", "2.3.2"),
    "rich": ("Python-bundle-PyPI", "2025.07", "14.1.0"),
}
ENVIRONMENT = {"PATH": "/opt/mpibatch/bin:/usr/bin:/bin", "LD_LIBRARY_PATH": HOST_MPI}


def main() -> int:
    """Write all recipes."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in recipes().items():
        (FOLDER / name).write_text(text)
    return 0


def recipes() -> dict[str, str]:
    """Return the text of each recipe by its file's name."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    source = (REPOSITORY / "mpibatch" / "__init__.py").read_text()
    version = re.search(r'^__version__ = "(.+)"', source, re.MULTILINE)
    assert version is not None
    needs = [(match[1], match[2]) for line in project["dependencies"] if (match := REQUIREMENT.fullmatch(line))]
    assert len(needs) == len(project["dependencies"])
    about = {
        "version": version[1],
        "python": project["requires-python"].removeprefix(">="),
        "description": project["description"],
        "license": project["license"],
    }
    return {
        "Containerfile": containerfile(),
        "apptainer.def": apptainer(),
        "spack-package.py.txt": spack(about, needs),
        f"mpibatch-{version[1]}.eb": easybuild(about, needs),
        "conda-meta.yaml": conda(about, needs),
        "lmod.lua": lmod(about),
    }


def containerfile() -> str:
    """For podman, buildah, docker and charliecloud."""
    steps = " && \\\n    ".join(STEPS)
    settings = "\n".join(f"ENV {name}={value}" for name, value in ENVIRONMENT.items())
    return (
        f"# podman build -t mpibatch -f scripts/recipes/Containerfile .\n# {_usage('podman run --rm')}\n"
        f"FROM {BASE}\nCOPY pyproject.toml README.md LICENSE /opt/source/\nCOPY mpibatch /opt/source/mpibatch\n"
        f"RUN {steps}\n{settings}\n"
    )


def apptainer() -> str:
    """For Apptainer and Singularity."""
    kind, _, _ = BASE.partition(":")
    steps = "\n".join(f"    {step}" for step in STEPS)
    settings = "\n".join(f"    export {name}={value}" for name, value in ENVIRONMENT.items())
    files = "\n".join(
        f"    {name} /opt/source/{name}" for name in ("pyproject.toml", "README.md", "LICENSE", "mpibatch")
    )
    return (
        f"# apptainer build mpibatch.sif scripts/recipes/apptainer.def\n# {_usage('apptainer exec')}\n"
        f"Bootstrap: docker\nFrom: {BASE}\n\n%files\n{files}\n\n%post\n    set -e\n{steps}\n\n"
        f"%environment\n{settings}\n\n%labels\n    base {kind}\n"
    )


def _usage(command: str) -> str:
    return (
        f"The image has no MPI: mpibatch guide containers tells how to run it, as {command}, with the host's at "
        f"{HOST_MPI}."
    )


def spack(about: dict[str, str], needs: list[tuple[str, str]]) -> str:
    """A package of Spack, which is one MPI's."""
    lines = "\n".join(f'    depends_on("py-{name.lower()}@{least}:", type=("build", "run"))' for name, least in needs)
    return (
        "# As packages/py-mpibatch/package.py of a repository of yours; `spack checksum py-mpibatch` adds versions.\n"
        "from spack.package import *\n\n\n"
        f'class PyMpibatch(PythonPackage):\n    """{about["description"]}."""\n\n'
        '    pypi = "mpibatch/mpibatch-{0}.tar.gz"\n\n'.format(about["version"])
        + f'    license("{about["license"]}")\n\n    version("{about["version"]}")\n\n'
        f'    depends_on("python@{about["python"]}:", type=("build", "run"))\n'
        f'    depends_on("py-hatchling@1.27:", type="build")\n    depends_on("mpi", type=("build", "run"))\n{lines}\n'
    )


def easybuild(about: dict[str, str], needs: list[tuple[str, str]]) -> str:
    """An easyconfig: all that is needed is in the toolchain's modules."""
    modules = dict.fromkeys(MODULES[name][:2] for name, _ in needs)
    lines = "\n".join(f"    ({name!r}, {version!r})," for name, version in modules)
    kind, generation = TOOLCHAIN
    return (
        f"# Versions are those of {kind} {generation}. Of another take all from there; 2024a's are too old.\n"
        f"easyblock = 'PythonBundle'\n\nname = 'mpibatch'\nversion = '{about['version']}'\n\n"
        f"homepage = 'https://pypi.org/project/mpibatch'\ndescription = {about['description']!r}\n\n"
        f"toolchain = {{'name': {kind!r}, 'version': {generation!r}}}\n\n"
        f"builddependencies = [\n    ('hatchling', {TOOLCHAIN_HATCHLING!r}),\n]\n\n"
        f"dependencies = [\n    ('Python', {TOOLCHAIN_PYTHON!r}),\n{lines}\n]\n\n"
        "exts_list = [\n    (name, version),\n]\n\n"
        "sanity_check_paths = {\n    'files': ['bin/mpibatch'],\n"
        "    'dirs': ['lib/python%(pyshortver)s/site-packages'],\n}\n\n"
        "sanity_check_commands = ['mpibatch --version']\n\nmoduleclass = 'data'\n"
    )


def conda(about: dict[str, str], needs: list[tuple[str, str]]) -> str:
    """A recipe of conda-build: no architecture, and the MPI that the user has, or the external one."""
    lines = "\n".join(f"    - {name} >={least}" for name, least in needs)
    return (
        f'package:\n  name: mpibatch\n  version: "{about["version"]}"\n\n'
        "source:\n  path: ../..\n\n"
        "build:\n  noarch: python\n  number: 0\n"
        '  script: "{{ PYTHON }} -m pip install . --no-deps --no-build-isolation -vv"\n'
        "  entry_points:\n    - mpibatch = mpibatch.cli:main\n\n"
        f"requirements:\n  host:\n    - python >={about['python']}\n    - pip\n    - hatchling >=1.27\n"
        f"  run:\n    - python >={about['python']}\n{lines}\n\n"
        "test:\n  imports:\n    - mpibatch\n  commands:\n    - mpibatch --version\n\n"
        f"about:\n  summary: {about['description']!r}\n  license: {about['license']}\n  license_file: LICENSE\n"
        '# The cluster\'s MPI: conda install "mpich=*=external_*", or "openmpi=*=external_*".\n'
    )


def lmod(about: dict[str, str]) -> str:
    """A module of Lmod for an environment in the folder MPIBATCH_ROOT."""
    return (
        f"-- As mpibatch/{about['version']}.lua, for an environment made by python -m venv $MPIBATCH_ROOT.\n"
        f'help([[{about["description"]}]])\nwhatis("Name: mpibatch")\nwhatis("Version: {about["version"]}")\n\n'
        f'local root = os.getenv("MPIBATCH_ROOT") or "/opt/mpibatch/{about["version"]}"\n'
        'prepend_path("PATH", pathJoin(root, "bin"))\nsetenv("MPIBATCH_ROOT", root)\n'
        '-- The MPI of this site, whose libmpi mpi4py finds at run time:\n-- depends_on("mpich")\n'
    )


if __name__ == "__main__":
    sys.exit(main())
