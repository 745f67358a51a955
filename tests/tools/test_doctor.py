"""The doctor's checks one by one, on text and folders made for them; see test_doctor_setups.py for broken set-ups."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpibatch.base import host
from mpibatch.tools.doctor import report
from mpibatch.tools.doctor.checks import (
    faults,
    folders,
    launchers,
    libraries,
    machine,
    placement,
    slurm,
    storage,
    variables,
)
from mpibatch.tools.doctor.checks.placement import About
from mpibatch.tools.doctor.checks.versions import at_least, numbers
from mpibatch.tools.doctor.checkup import ORDER, Checkup
from mpibatch.tools.doctor.finding import Finding, error, exit_code, fine, gist, skipped, warning

MPICH = "MPICH Version:      5.0.2\nMPICH Release date: Fri Sep 25"
OPEN_MPI = "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022"
INTEL = "Intel(R) MPI Library 2021.9 for Linux* OS"


def levels(findings: list[Finding]) -> set[str]:
    return {finding.level for finding in findings}


def test_exit_code_is_that_of_the_worst():
    assert exit_code([fine("a", ""), skipped("b", "")]) == 0
    assert exit_code([fine("a", ""), warning("b", "", "x")]) == 1
    assert exit_code([warning("a", "", "x"), error("b", "", "x")]) == 2


def test_versions_are_compared_by_their_numbers():
    assert numbers("4.1.4rc2") == (4, 1, 4)
    assert at_least("1.10", "1.9.3")
    assert at_least("2.0", "2")
    assert not at_least("3.9.1", "3.12")


def test_the_gist_of_a_crash_is_its_first_and_last_telling_line():
    text = "hello\n-----\nAbort(1): Fatal error in Init\nstack\nMPII_Init failed\nunsupported PMI version\n"
    assert gist(text) == "Abort(1): Fatal error in Init … unsupported PMI version"


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        (MPICH, "mpich", "5.0.2"),
        (OPEN_MPI, "openmpi", "4.1.4"),
        (INTEL, "intel", "2021.9"),
        ("MPI VERSION    : CRAY MPICH version 8.1.23 (ANL base 3.4a2)", "mpich", ""),
        ("something else", "", ""),
    ],
)
def test_libraries_are_known_by_what_they_say(text, family, version):
    assert launchers.family_of(text) == (family, version)


def program(folder: Path, name: str, says: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("says", "library", "level"),
    [
        ("HYDRA build details:\n    Version:       5.0.2", MPICH, "ok"),
        ("mpiexec (OpenRTE) 4.1.4", MPICH, "error"),
        ("mpirun (Open MPI) 5.0.11", OPEN_MPI, "ok"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.9 Build 2023", MPICH, "ok"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.9 Build 2023", OPEN_MPI, "error"),
        ("who knows", MPICH, "ok"),
    ],
)
def test_the_launcher_on_path_is_compared_with_the_library(tmp_path, monkeypatch, says, library, level):
    program(tmp_path / "bin", "mpiexec", says)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (finding,) = launchers.check_path(library, "")
    assert (finding.check, finding.level) == ("mpiexec", level)
    # Whoever was started well already has only to be warned.
    assert launchers.check_path(library, "slurm")[0].level == ("warning" if level == "error" else level)


def test_who_started_a_rank_is_told_by_its_environment():
    proxies = {"SLURM_STEP_NUM_TASKS": "2", "PMI_RANK": "3", "PMI_SIZE": "4", "HYDI_CONTROL_FD": "7"}
    assert launchers.starter(proxies) == "mpich"  # mpiexec that starts its helpers by srun
    assert launchers.starter({"SLURM_STEP_NUM_TASKS": "2", "PMI_FD": "9", "PMI_RANK": "0"}) == "slurm"
    assert launchers.starter({"SLURM_STEP_NUM_TASKS": "2", "PMIX_RANK": "0"}) == "slurm"
    assert launchers.starter({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"}) == "openmpi"
    assert launchers.starter({}) == ""


@pytest.mark.parametrize(
    ("ranks", "size", "library", "by", "level", "words"),
    [
        (4, 4, MPICH, "mpich", "ok", ["one world of 4 ranks"]),
        (0, 4, OPEN_MPI, "openmpi", "ok", ["one world of 4 ranks"]),
        (4, 1, MPICH, "openmpi", "error", ["each is a world of its own", "Open MPI's mpiexec", "MPICH 5.0.2"]),
        (4, 1, MPICH, "slurm", "error", ["each is a world of its own", "srun --mpi=pmi2 -n 4"]),
        (4, 1, OPEN_MPI, "slurm", "error", ["srun --mpi=pmix -n 4"]),
        (4, 2, MPICH, "mpich", "error", ["4 processes were started, but MPI sees 2"]),
        (3, 0, MPICH, "openmpi", "error", ["MPI does not start"]),
        (3, 0, MPICH, "mpich", "skipped", ["MPI did not start"]),
    ],
)
def test_worlds_are_compared_with_what_was_started(ranks, size, library, by, level, words):
    (finding,) = launchers.check_world(ranks, size, library, by)
    assert finding.level == level
    for word in words:
        assert word in f"{finding.message} {finding.advice}"


MAPS = """\
7f00-7f01 r-xp 00000000 fe:01 1 /opt/mpich/lib/libmpi.so.12.1.0
7f01-7f02 r--p 00000000 fe:01 1 /opt/mpich/lib/libmpi.so.12.1.0
7f02-7f03 r-xp 00000000 fe:01 2 /usr/lib/libmpi_cxx.so.40
7f03-7f04 rw-p 00000000 00:00 0
7f04-7f05 r-xp 00000000 fe:01 3 /usr/lib/libmpi.so.40.30.4
"""


def test_two_mpi_libraries_in_one_process_are_an_error():
    both = libraries.mapped(MAPS)
    assert both == ["/opt/mpich/lib/libmpi.so.12.1.0", "/usr/lib/libmpi.so.40.30.4"]
    (finding,) = libraries.check_one_mpi(both[:1], both)
    assert finding.level == "error"
    assert "h5py brings /usr/lib/libmpi.so.40.30.4" in finding.message
    assert "MPI4PY_LIBMPI=/usr/lib/libmpi.so.40.30.4" in finding.advice
    assert levels(libraries.check_one_mpi(both[:1], both[:1])) == {"ok"}


def test_an_hdf5_that_h5py_was_not_built_for_is_told():
    facts = {"h5py": "3.16.0", "hdf5": "1.10.8", "hdf5_built": "1.14.2", "parallel": False}
    assert "was built for HDF5 1.14.2, but 1.10.8" in libraries.check_h5py(facts)[0].message
    assert levels(libraries.check_h5py(facts | {"hdf5_built": "1.10.8"})) == {"ok"}


def test_thread_single_is_too_little():
    assert levels(libraries.check_mpi(MPICH, "", 0)) == {"ok", "warning"}
    assert levels(libraries.check_mpi(MPICH, "", 3)) == {"ok"}


def test_each_known_fault_has_a_source_and_what_helps():
    assert all(fault.source and fault.advice and fault.symptom and fault.versions for fault in faults.FAULTS)


@pytest.mark.parametrize(
    ("software", "sources"),
    [
        (faults.Software(openmpi="4.1.4"), []),
        (faults.Software(openmpi="4.1.4", is_ompio=True), ["issue 10546", "test_full_disk"]),
        (faults.Software(openmpi="4.1.5", is_ompio=True), ["test_full_disk"]),
        (faults.Software(openmpi="3.1.3", is_ompio=True), ["issue 6285"]),
        (faults.Software(openmpi="3.1.4", is_ompio=True), []),
        (faults.Software(openmpi="4.0.3", is_ompio=True), ["issue 1227", "test_full_disk"]),
        (faults.Software(openmpi="5.0.5", is_ompio=True, has_parallel_hdf5=True), ["issue 12718"]),
        (faults.Software(hdf5="1.10.2"), []),
        (faults.Software(hdf5="1.10.2", has_parallel_hdf5=True), ["issues 1016", "issue 1602"]),
        (faults.Software(hdf5="1.10.4", has_parallel_hdf5=True), []),
        (faults.Software(hdf5="1.14.4", has_parallel_hdf5=True, mpich="4.2", file_system="nfs4"), ["issue 2330"]),
        (faults.Software(hdf5="1.14.4", has_parallel_hdf5=True, mpich="4.2", file_system="ext4"), []),
    ],
)
def test_known_faults_are_found_by_versions_and_use(software, sources):
    findings = faults.check_faults(software)
    bad = [finding for finding in findings if finding.level != "ok"]
    assert len(bad) == len(sources)
    for finding, source in zip(bad, sources, strict=True):
        assert source in finding.message


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_control_groups_of_both_versions_limit_cores_and_memory(tmp_path):
    version_2 = tree(
        tmp_path / "two",
        {
            "proc/self/cgroup": "0::/job/step\n",
            "proc/self/mountinfo": "30 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
            "sys/fs/cgroup/job/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/job/memory.max": "1073741824\n",
            "sys/fs/cgroup/job/memory.current": "536870912\n",
            "sys/fs/cgroup/job/memory.stat": "anon 268435456\ninactive_file 268435456\n",
            "proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n",
            "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
            "sys/fs/cgroup/job/step/memory.max": "max\n",
        },
    )
    assert host.core_quota(version_2) == 1.5  # set on a group above
    assert host.memory_limit(version_2) == 1 << 30
    assert host.available_memory(version_2) == 3 << 28  # the limit, but for what no page of a file can give back
    version_1 = tree(
        tmp_path / "one",
        {
            "proc/self/cgroup": "4:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n0::/\n",
            # A container sees its own group as the root.
            "proc/self/mountinfo": "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
            "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n",
            "proc/meminfo": "MemAvailable: 4194304 kB\n",
        },
    )
    assert host.core_quota(version_1) == 0.5
    assert host.memory_limit(version_1) is None
    assert host.available_memory(version_1) == 4 << 30
    (version_1 / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("1048576\n")
    assert host.available_memory(version_1) == (1 << 20) - 1000
    assert host.available_memory(tmp_path) == 0
    assert host.core_quota(tmp_path) is None


def test_limits_are_named_one_by_one():
    free = dict.fromkeys(("nofile", "fsize", "as", "stack", "nproc", "memlock"), resource.RLIM_INFINITY)
    assert levels(machine.check_limits(free)) == {"ok"}
    tight = {"nofile": 100, "fsize": 1 << 30, "as": 2 << 30, "stack": 1 << 16, "nproc": 20}
    findings = machine.check_limits(free | tight)
    assert len(findings) == len(tight)
    for flag, finding in zip(["n", "f", "v", "s", "u"], findings, strict=True):
        assert f"(ulimit -{flag})" in finding.message
        assert f"ulimit -{flag}" in finding.advice
    assert levels(machine.check_limits(free | {"nofile": 20})) == {"error"}


MOUNTS = r"""
27 1 254:0 / / rw - ext4 /dev/vda rw
30 27 0:27 / /scratch rw - lustre server:/fs rw,flock
31 27 0:28 / /scratch/my\040data ro - nfs4 server:/data rw
32 27 0:29 / /scratch rw - tmpfs tmpfs rw
"""


def test_the_file_system_of_a_folder_is_that_of_the_mount_around_it():
    assert folders.file_system(Path("/scratch/x"), MOUNTS)[0] == "tmpfs"  # mounted over the other
    assert folders.file_system(Path("/scratch/my data/x"), MOUNTS)[:2] == ("nfs4", "/scratch/my data")
    assert folders.file_system(Path("/scratcher"), MOUNTS)[:2] == ("ext4", "/")


def test_network_file_systems_are_warned_of(tmp_path):
    mounts = f"1 0 0:1 / {tmp_path} rw - nfs4 server:/x rw\n"
    (finding,) = folders.check_folder(tmp_path, mounts)
    assert finding.level == "warning"
    assert "nfs4" in finding.message
    assert levels(folders.check_folder(tmp_path / "missing")) == {"error"}


def test_lock_settings_are_read(tmp_path):
    for setting, level in {"maybe": "warning", "FALSE": "ok", "": "warning"}.items():
        assert levels(folders.check_locking(tmp_path, {"HDF5_USE_FILE_LOCKING": setting})) == {level}
    assert levels(folders.check_locking(tmp_path, {})) == {"ok"}
    assert not [*tmp_path.iterdir()]


def ranks(*cores: set[int], host_cores: int = 8, **more: Any) -> list[About]:
    plain = About(0, "n1", frozenset(), host_cores=host_cores, memory=1 << 34, folder="/x", cpu="Zen")
    return [replace(plain, rank=rank, cores=frozenset(numbers), **more) for rank, numbers in enumerate(cores)]


EVERY = set(range(8))


@pytest.mark.parametrize(
    ("abouts", "level", "words"),
    [
        (ranks(*[EVERY] * 8), "ok", "8 cores"),
        (ranks(*[EVERY] * 9), "warning", "9 ranks on 8 cores of n1"),
        (ranks(*[EVERY] * 4, threads=3), "warning", "4 ranks × 3 threads on 8 cores"),
        (ranks(*[EVERY] * 4, quota=2.0), "warning", "on 2 cores of 8 (limited by a control group)"),
        (ranks({0}, {0}), "warning", "2 ranks on 1 core of 8 (limited by its binding, or a container)"),
    ],
)
def test_threads_are_compared_with_cores(abouts, level, words):
    (finding,) = placement.check_cores(abouts)
    assert finding.level == level
    assert words in finding.message


@pytest.mark.parametrize(
    ("abouts", "level", "words"),
    [
        (ranks({0}), "ok", "1 of 8 cores"),
        (ranks(*[EVERY] * 20), "ok", "not bound"),
        (ranks({0}, {1}, {2}), "ok", "a core of its own"),
        (ranks({0, 1}, {1, 2}, {2, 0}), "ok", "a core of its own"),
        (ranks({0}, {0}), "warning", "bound to core 0 of 8, so that 1 can run at a time"),
        (ranks({0, 1}, {0, 1}, {0, 1}, {5}), "warning", "bound to cores 0-1,5 of 8, so that 3 can run"),
    ],
)
def test_ranks_that_must_share_cores_are_found(abouts, level, words):
    (finding,) = placement.check_binding(abouts)
    assert finding.level == level
    assert words in finding.message


def test_ranks_that_are_not_alike_are_listed():
    same = ranks(EVERY, EVERY, EVERY, software={"numpy": "2.4"})
    assert levels(placement.check_alike(same)) == {"ok"}
    other = [*same[:2], replace(same[2], software={"numpy": "2.3"}, cpu="Skylake", folder="/y")]
    messages = {finding.level: finding.message for finding in placement.check_alike(other)[:2]}
    assert "numpy: 2.4 on 0-1; 2.3 on 2" in messages["error"]
    assert "different processors: Zen on 0-1; Skylake on 2" in messages["warning"]
    assert "different folders" in placement.check_alike(other)[2].message


def test_many_hosts_alike_are_one_finding():
    hosts = [replace(about, host=f"n{about.rank // 2}") for about in ranks(*[{0}] * 40)]
    (finding,) = placement.check_cores(hosts)
    assert finding.message.endswith("and so on 19 more hosts")
    assert levels(placement.check_memory([replace(about, memory=1 << 27) for about in hosts])) == {"warning"}


IN_JOB = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}


@pytest.mark.parametrize(
    ("more", "world", "words"),
    [
        ({}, 4, ""),
        ({}, 2, "has 4 tasks (SLURM_NTASKS), but 2 ranks were started"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, 4, ""),
        ({"SLURM_CPUS_PER_TASK": "2", "OMP_NUM_THREADS": "2", "SRUN_CPUS_PER_TASK": "2"}, 4, ""),
        ({"SLURM_CPUS_PER_TASK": "2", "OMP_NUM_THREADS": "2"}, 4, "srun does not take over --cpus-per-task"),
        ({"SLURM_CPUS_PER_TASK": "2", "OMP_NUM_THREADS": "8"}, 4, "8 threads for each rank, but 2 cores"),
        ({"SLURM_CPUS_PER_TASK": "8"}, 4, "8 cores for each rank (SLURM_CPUS_PER_TASK), but 1 thread"),
        ({"OMP_NUM_THREADS": "2"}, 4, "but one core (no --cpus-per-task)"),
        ({"SLURM_MEM_PER_CPU": "100"}, 4, "100.0 MiB of memory for each rank (--mem-per-cpu)"),
        ({"SLURM_CPU_BIND": "quiet,none"}, 4, "not bound to cores"),
    ],
)
def test_slurms_settings_in_a_job(more, world, words):
    (finding,) = slurm.check_slurm(IN_JOB | more, world, MPICH)
    assert finding.level == ("warning" if words else "ok")
    assert words in finding.message


def test_slurms_settings_outside_a_job(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert levels(slurm.check_slurm({}, 1, MPICH)) == {"skipped"}
    program(tmp_path / "bin", "sbatch", "")
    (tmp_path / "bin" / "srun").write_text("#!/bin/sh\necho 'MPI plugin types are... none pmix cray_shasta'\n")
    (tmp_path / "bin" / "srun").chmod(0o755)
    (finding,) = slurm.check_slurm({}, 1, MPICH)
    assert "but not pmi2" in finding.message
    assert levels(slurm.check_slurm({}, 1, OPEN_MPI)) == {"ok"}


@pytest.mark.parametrize(
    ("name", "value", "library", "level"),
    [
        ("OMPI_MCA_io", "ompio", OPEN_MPI, "warning"),
        ("OMPI_MCA_io", "^ompio", OPEN_MPI, "ok"),
        ("OMPI_MCA_io", "ompio", MPICH, "ok"),
        ("UCX_TLS", "tcp,self", MPICH, "warning"),
        ("UCX_TLS", "rc,sm,self", MPICH, "ok"),
        ("UCX_TLS", "^cma", MPICH, "ok"),
        ("FI_PROVIDER", "sockets", MPICH, "warning"),
        ("MPI4PY_RC_INITIALIZE", "0", MPICH, "warning"),
        ("MPIBATCH_EXPECT_RANKS", "four", MPICH, "warning"),
    ],
)
def test_variables(name, value, library, level):
    (finding,) = variables.check_variables({name: value}, library)
    assert finding.level == level
    if level == "warning":
        assert f"{name}={value}" in finding.message


def test_parts_of_the_self_test_are_uneven_and_whole():
    for number in range(1, 9):
        given = storage.counts(1009, number)
        assert sum(given) == 1009
        assert number == 1 or given[1] == 0


def test_what_came_back_wrong_is_told(tmp_path):
    path = tmp_path / "data"
    values = storage.pattern(0, storage.ROWS * storage.COLUMNS)
    path.write_bytes(values.tobytes())
    storage._compare(str(path))
    values[1000] ^= 1 << 40
    path.write_bytes(values.tobytes())
    with pytest.raises(OSError, match="1 of 37333 values are wrong, the first at byte 8000"):
        storage._compare(str(path))
    path.write_bytes(values.tobytes()[:-8])
    with pytest.raises(OSError, match="has 298656 bytes instead of 298664"):
        storage._compare(str(path))


@pytest.fixture
def examined() -> Checkup:
    findings = [
        fine("h5py", "3.16.0"),
        warning("cores", "4 ranks on 2 cores: " + "they take turns " * 8, "mpiexec -n 2 …"),
        error("launcher", "4 processes were started", "srun --mpi=pmi2 -n 4 …"),
        skipped("messages", "not tried: needs one world"),
    ]
    environment = {"hosts": ["n1"], "folder": {"path": "/x"}}
    return Checkup(0, 4, findings, environment, 1.5)


def test_the_report_for_people(examined):
    shown = report.as_text(examined, width=80)
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.splitlines()[0].endswith("doctor: 4 ranks on n1, /x")
    assert "✓  h5py      3.16.0" in shown
    assert "\n             → srun --mpi=pmi2 -n 4 …\n" in shown
    assert "messages" not in shown
    assert shown.endswith("It will fail: 1 error, 1 warning; 1 not tried (--verbose shows what). 1.5 s.")
    assert "-  messages" in report.as_text(examined, verbose=True)
    assert "h5py" not in report.as_text(examined, quiet=True)
    report.as_text(examined, plain=True, quiet=True).replace("…", "").encode("ascii")
    assert "\x1b[31m✗" in report.as_text(examined, color=True)
    well = replace(examined, findings=examined.findings[:1])
    assert "All is well. 1.5 s." in report.as_text(well)
    assert report.as_text(well, quiet=True) == ""


def test_the_report_for_programs(examined):
    document = json.loads(report.as_json(examined))
    assert {*document} == {"schema", "version", "exit_code", "ranks", "seconds", "findings", "environment"}
    assert (document["schema"], document["exit_code"], document["ranks"]) == (1, 2, 4)
    assert document["findings"][0] == {"check": "h5py", "level": "ok", "found": "3.16.0", "advice": ""}


def test_checks_have_an_order():
    assert len({*ORDER}) == len(ORDER)
