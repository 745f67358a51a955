"""The study that mpibatch scale works on: the one in its folder, if it is of this job, else a new one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mpibatch.tools.scaling.study import Study

__all__ = ["remember", "removed_if_refused", "study_of"]


def study_of(
    args: argparse.Namespace,
    folder: Path,
    text: str,
    counts: Sequence[int],
    threads: Sequence[int],
    sources: dict[str, str],
) -> Study:
    """Return the study in the folder if it is of this job, with what is asked for now; else a new one. Local."""
    import os
    from pathlib import Path

    from mpibatch.base.errors import UsageError
    from mpibatch.base.log import logger
    from mpibatch.tools.scaling import folder as folders
    from mpibatch.tools.scaling import local_machine, runs, study

    machine = local_machine.machine_here()
    cores = machine["cores"]
    many = [runs.words_of(r, t) for r in counts for t in threads if r * t > cores]
    if many and args.profile is None:
        logger("scaling").warning(
            "%s on %d cores: ranks that share a core tell nothing of more cores", ", ".join(many), cores
        )
    commit, versions = local_machine.commit_here(), local_machine.versions_here()
    if not folders.holds_study(folder):
        return folders.create(
            folder,
            name=Path(args.job).stem,
            mode=args.mode,
            job=text,
            source=args.job,
            settings=args.settings,
            counts=counts,
            threads=threads,
            repeat=args.repeat,
            profile=args.profile,
            commit=commit,
            versions=versions,
            machine=machine,
            sources=sources,
            run_as=runs.plain_job(text, args.job, args.mode),
            profile_of_machine=_profile_of_machine(args),
            dry_run=args.dry_run,
        )
    known_study = folders.load(folder)
    differ = study.differences(known_study, text, args.settings, args.mode, args.profile, sources)
    if args.profile is None:
        differ += [
            f"it was made on {known_study.machine.get(key)!r}, here it is {machine[key]!r}"
            for key in ("cpu", "cores")
            if known_study.machine.get(key) != machine[key]
        ]
    if differ:
        raise UsageError(f"{folder} holds another study: {'; '.join(differ)}; name another --folder, or remove it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the study's folder {folder} is not writable; allow it, or name another with --folder")
    # Older studies tell the commit alone, not of which repository.
    same = known_study.commit.partition(" ")[0] == commit.partition(" ")[0]
    for name, before, now in (
        ("commit", "" if same else known_study.commit, commit),
        ("versions", known_study.versions, versions),
    ):
        if before and now and before != now:
            logger("scaling").warning("the %s of the runs in %s: %s; now: %s", name, folder, before, now)
    profile = _profile_of_machine(args) if args.machine else None
    # Its folder is told when it is locked.
    return folders.extended(known_study, counts, threads, args.repeat, profile, dry_run=True)


def remember(study: Study) -> Study:
    """Return the study as its locked folder has it now, which remembers what is asked for, too. Local."""
    from mpibatch.tools.scaling.folder import extended, load

    return extended(load(study.path), study.counts, study.threads, study.repeat, study.profile_of_machine)


def _profile_of_machine(args: argparse.Namespace) -> dict[str, Any] | None:
    """The machine's profile: the one named, or for runs here what `mpibatch probe` left."""
    import json
    from pathlib import Path

    from mpibatch.tools.planning import profile

    path = Path(args.machine) if args.machine else profile.default_path()
    if not args.machine and (args.profile is not None or not path.is_file()):
        return None
    profile.load(path)  # tells all that is wrong in it
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


@contextmanager
def removed_if_refused(folder: Path) -> Iterator[None]:
    """Remove a new study of which Slurm takes no job: it would be in the way of the corrected command. Local."""
    import shutil

    from mpibatch.base.errors import UsageError
    from mpibatch.tools.scaling.batch import SUBMITTED

    try:
        yield
    except UsageError:  # not RunError: an sbatch that gives no answer may have taken the job
        if not any(folder.glob(f"points/*/{SUBMITTED}")):
            shutil.rmtree(folder, ignore_errors=True)
        raise
