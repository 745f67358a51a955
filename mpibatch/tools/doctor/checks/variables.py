"""Environment variables that change what MPI, HDF5 and compiled code do, often set long ago and forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.tools.doctor.checks.launchers import family_of
from mpibatch.tools.doctor.finding import Finding, fine, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_variables"]

# Worth seeing in a report; none of them is wrong by itself.
_SHOWN = (
    "FI_PROVIDER", "HDF5_PLUGIN_PATH", "LD_PRELOAD", "MPI4PY_LIBMPI", "MPI4PY_MPIABI", "MPIBATCH_DRIVER",
    "MPIBATCH_HINTS", "MPIR_CVAR_CH4_NETMOD", "OMPI_MCA_btl", "OMPI_MCA_pml", "ROMIO_FSTYPE_FORCE", "ROMIO_HINTS",
    "UCX_NET_DEVICES", "UCX_TLS",
)  # fmt: skip
# By which UCX reaches ranks on the same host.
_LOCAL_TRANSPORTS = {"all", "sm", "shm", "posix", "sysv", "mm", "cma", "xpmem", "knem"}


def check_variables(environment: Mapping[str, str], library: str) -> list[Finding]:
    """Look for variables that slow a run down or make it fail. Local."""
    check = "variables"
    get = environment.get
    findings = []

    def warn(name: str, problem: str, advice: str = "") -> None:
        findings.append(warning(check, f"{name}={get(name)}: {problem}", advice or f"unset {name}"))

    is_openmpi = family_of(library)[0] == "openmpi"
    chosen = get("OMPI_MCA_io", "")
    if is_openmpi and "ompio" in chosen and not chosen.startswith("^"):
        warn("OMPI_MCA_io", "chooses Open MPI's own file layer, which may not tell of a full disk")
    # UCX itself: without self or shared memory "some endpoints are unreachable", or talk through the network card.
    transports = get("UCX_TLS", "all").split(",")
    if not transports[0].startswith("^") and not _LOCAL_TRANSPORTS & {*transports}:
        warn("UCX_TLS", "has no shared memory: ranks on one host talk through the network", "export UCX_TLS=all")
    if get("FI_PROVIDER", "") in ("sockets", "udp"):
        warn("FI_PROVIDER", "is libfabric's slowest way to talk between hosts")
    if get("MPI4PY_RC_INITIALIZE", "1").lower() in ("0", "no", "false"):
        warn("MPI4PY_RC_INITIALIZE", "mpi4py does not start MPI when imported, which mpibatch relies on")
    if get("NUMBA_DISABLE_INTEL_SVML", "1") == "0":
        warn("NUMBA_DISABLE_INTEL_SVML", "vector functions round otherwise at the end of a row: bits depend on ranks")
    if get("NUMBA_DEBUG_CACHE", "0") not in ("", "0") or get("NUMBA_OPT", "3") in ("0", "1"):
        name = "NUMBA_OPT" if get("NUMBA_OPT") else "NUMBA_DEBUG_CACHE"
        warn(name, "compiled kernels are slower, or talk")
    expected = get("MPIBATCH_EXPECT_RANKS", "")
    if expected and not expected.isdecimal():
        warn("MPIBATCH_EXPECT_RANKS", "is no number")
    shown = [f"{name}={get(name)}" for name in _SHOWN if get(name)]
    return findings or [fine(check, "set: " + ", ".join(shown) if shown else "none that matter are set")]
