"""Whether the files of results are still, bit for bit, what their jobs wrote.

Jobs log the checksums of what they put in place, and records of runs keep them (``provenance``).
A shard without a record is compared with its manifest.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.fingerprints import file_digest
from capsynth.provenance import RUNNING, Job, gather, read_jobs, read_run, run_names
from capsynth.shards import shard_problem

# In the order of their stages.
SHARDS = ("*/real/*.tar", "*/images/*/*.tar", "eval_sets/*.tar")


@dataclass(frozen=True)
class Recorded:
    """What the records say of a file.

    Attributes:
        rule: The rule whose job wrote it last.
        run: The run of that job.
        sha256: What it wrote; None if the record has no checksum.
    """

    rule: str
    run: str
    sha256: str | None


@dataclass(frozen=True)
class Damage:
    """A file that is not what it should be.

    Attributes:
        path: The file.
        problem: What is wrong with it.
        made_by: Its rule and run; None if no record tells.
        stage: A place in the order of stages: what a damaged file is made from has a lower one.
    """

    path: Path
    problem: str
    made_by: Recorded | None
    stage: int


@dataclass(frozen=True)
class Verification:
    """What a look at all results has found.

    Attributes:
        checked: Files that were compared with a checksum, damaged ones included.
        size_bytes: Their size together.
        without_checksum: Files that nothing can be compared with.
        missing: Recorded files that are not there; who deletes a file, does so on purpose.
        being_made: Files of jobs that a run has begun and not ended.
        damaged: Files that are not what they should be, by their path.
    """

    checked: int
    size_bytes: int
    without_checksum: tuple[Path, ...]
    missing: int
    being_made: int
    damaged: tuple[Damage, ...]


@dataclass
class Records:
    """What all records say together.

    Attributes:
        files: Of each file, by its path.
        being_made: Files of jobs that a run has begun and not ended.
        rules: Rules with the start of their first job: one that reads what another one makes
            starts later.
    """

    files: dict[Path, Recorded] = field(default_factory=dict)
    being_made: set[Path] = field(default_factory=set)
    rules: dict[str, str] = field(default_factory=dict)


def read_records() -> Records:
    """Read the records of all runs.

    Raises:
        CapsynthError: If one cannot be read.
    """
    found = Records()
    for run in run_names():
        jobs = read_jobs(run)
        if read_run(run)["outcome"] == RUNNING:
            jobs = gather(run, jobs)
            begun = [job for job in jobs if job.start is not None and not job.done]
            found.being_made |= {Path(output) for job in begun for output in job.outputs}
        for job in jobs:
            if job.done:
                found.files |= _recorded(run, job)
                if job.start is not None:
                    found.rules[job.rule] = min(job.start, found.rules.get(job.rule, job.start))
    return found


def _recorded(run: str, job: Job) -> dict[Path, Recorded]:
    digests = job.sha256 or {}
    return {
        Path(output): Recorded(job.rule, run, digests.get(output))
        for output in job.outputs
        if not Path(output).is_dir()
    }


def verify(results: Path = Path("results")) -> Verification:
    """Compare every file of results with the checksum that its job left.

    Raises:
        CapsynthError: If a record of a run cannot be read.
    """
    records = read_records()
    recorded, being_made = records.files, records.being_made
    rules = sorted(records.rules, key=lambda rule: records.rules[rule])
    shards = {path for pattern in SHARDS for path in results.glob(pattern)}
    unrecorded = sorted(path for path in shards if _digest_of(recorded, path) is None)
    present = [path for path in sorted(recorded) if path.exists() and path not in being_made]
    with_checksum = [path for path in present if recorded[path].sha256 is not None]
    by_manifest = [path for path in unrecorded if path not in being_made]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [
            *pool.map(lambda path: _difference(path, recorded[path].sha256), with_checksum),
            *pool.map(_problem_by_manifest, by_manifest),
        ]
    checked = [*with_checksum, *by_manifest]
    manifests = {path.with_suffix(".jsonl") for path in by_manifest}
    damaged = [
        Damage(path, problem, recorded.get(path), _stage(recorded.get(path), path, rules))
        for path, problem in zip(checked, found, strict=True)
        if problem is not None
    ]
    return Verification(
        checked=len(checked),
        size_bytes=sum(path.stat().st_size for path in checked),
        without_checksum=tuple(sorted({*present} - {*checked} - manifests)),
        missing=sum(not path.exists() for path in recorded),
        being_made=sum(path.exists() for path in being_made),
        damaged=tuple(sorted(damaged, key=lambda damage: damage.path)),
    )


def _stage(recorded: Recorded | None, path: Path, rules: Sequence[str]) -> int:
    if recorded is not None and recorded.rule in rules:
        return len(SHARDS) + rules.index(recorded.rule)
    return next((i for i, pattern in enumerate(SHARDS) if path.match(pattern)), 0)


def stages(damaged: Iterable[Damage]) -> list[list[Damage]]:
    """Return damaged files by stage, those first that others may be made from.

    What is made anew stage by stage is no reason for Snakemake to make again what lies between two
    damaged files: each time all that is older is whole, and has the bytes that it had.
    """
    ordered = sorted(damaged, key=lambda damage: damage.stage)
    return [list(group) for _, group in groupby(ordered, key=lambda damage: damage.stage)]


def _digest_of(recorded: Mapping[Path, Recorded], path: Path) -> str | None:
    return recorded[path].sha256 if path in recorded else None


def _difference(path: Path, sha256: str | None) -> str | None:
    try:
        return None if file_digest(path) == sha256 else "is not what its job wrote"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _problem_by_manifest(tar: Path) -> str | None:
    try:
        return shard_problem(tar, tar.with_suffix(".jsonl"))
    except CapsynthError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read with its manifest ({error.strerror})"


def set_aside(damaged: Iterable[Damage], folder: Path = Path("results/damaged")) -> list[Path]:
    """Move damaged files into a folder, under their paths; return where they lie now."""
    moved = []
    for damage in damaged:
        target = folder / os.path.relpath(damage.path, "results")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(damage.path, target)
        moved.append(target)
    return moved
