"""Whether the files of results are still, bit for bit, what their jobs wrote.

Jobs log the checksums of what they put in place, beside each file's own record (``integrity``), and
records of runs keep them (``provenance``). A shard without a record is compared with its manifest.

All of it may be asked while a run is under way. A file that is not as recorded is judged once
more, by what its records and the log of its job say by then, until they have said the same before
and after it was read.
"""

import functools
import itertools
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.files import atomic_path
from capsynth.fingerprints import file_digest
from capsynth.integrity import RECORDS, Record, find_record
from capsynth.job_lines import last_words
from capsynth.provenance import Job
from capsynth.run_history import read_history
from capsynth.shards import shard_problem

SHARDS = ("*/real/*.tar", "*/images/*/*.tar", "eval_sets/*.tar")
# A file that is made again as often while it is looked at is left to another time.
LOOKS = 10


@dataclass(frozen=True)
class Recorded:
    """What the records say of a file.

    Attributes:
        rule: The rule whose job wrote it last.
        run: The run of that job.
        sha256: What it wrote; None if the record has no checksum.
        log: The log of that job, which the next job that writes the file writes anew.
    """

    rule: str
    run: str
    sha256: str | None
    log: str | None


@dataclass(frozen=True)
class Damage:
    """A file that is not what it should be.

    Attributes:
        path: The file.
        problem: What is wrong with it.
        made_by: Its rule and run; None if no record tells.
    """

    path: Path
    problem: str
    made_by: Recorded | None


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
        damaged_records: What is wrong with records of runs, which are left out.
    """

    checked: int
    size_bytes: int
    without_checksum: tuple[Path, ...]
    missing: int
    being_made: int
    damaged: tuple[Damage, ...]
    damaged_records: tuple[str, ...]


@dataclass
class Records:
    """What all records say together.

    Attributes:
        files: Of each file, by its path.
        being_made: Files of jobs that a run has begun and not ended.
        damaged: What is wrong with records that are left out.
        unknown: The latest run of whose jobs nothing can be read; "" if there is none.
    """

    files: dict[Path, Recorded] = field(default_factory=dict)
    being_made: set[Path] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)
    unknown: str = ""


def read_records() -> Records:
    """Read the records of all runs, those that can be read."""
    history = read_history()
    found = Records(
        damaged=list(history.damaged.values()), unknown=max(history.unknown, default="")
    )
    for run, jobs, is_running in history.runs:
        if is_running:
            begun = [job for job in jobs if job.start is not None and not job.done]
            found.being_made |= {Path(output) for job in begun for output in job.outputs}
        for job in jobs:
            if job.done:
                found.files |= _recorded(run, job)
    return found


def _recorded(run: str, job: Job) -> dict[Path, Recorded]:
    digests = job.sha256 or {}
    return {
        Path(output): Recorded(job.rule, run, digests.get(output), job.log)
        for output in job.outputs
        if not Path(output).is_dir()
    }


def verify(results: Path = Path("results")) -> Verification:
    """Compare every file of results with the checksum that its job left."""
    records = read_records()
    shards = {path for pattern in SHARDS for path in results.glob(pattern)}
    wanted = {*records.files, *shards}
    if records.unknown or not records.files:
        wanted |= {
            results / path.relative_to(RECORDS) for path in RECORDS.rglob("*") if path.is_file()
        }
    found: dict[Path, _Look] = {}
    for _ in range(LOOKS):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            look = functools.partial(_look, records=records)
            found |= dict(zip(sorted(wanted), pool.map(look, sorted(wanted)), strict=True))
        wanted = {path for path, look in found.items() if look.problem is not None}
        before, records = records, read_records() if wanted else records
        if all(
            _says_the_same(path, before, records) and found[path].noted == find_record(path)
            for path in wanted
        ):
            break
    else:
        found |= dict.fromkeys(wanted, _Look(is_being_made=True))
    return _summary(found, records)


@dataclass(frozen=True)
class _Look:
    """What was seen of a file.

    Attributes:
        problem: What is wrong with it; None if nothing is.
        size_bytes: Its size, if it was compared.
        is_missing: Whether it was not there.
        is_being_made: Whether its job had not ended.
        is_by_manifest: Whether it was compared with its manifest.
        noted: Its own record.
    """

    problem: str | None = None
    size_bytes: int | None = None
    is_missing: bool = False
    is_being_made: bool = False
    is_by_manifest: bool = False
    noted: Record | None = None


def _says_the_same(path: Path, before: Records, now: Records) -> bool:
    is_known = path not in now.being_made and before.files.get(path) == now.files.get(path)
    return is_known and before.unknown == now.unknown


def _look(path: Path, records: Records) -> _Look:
    """Compare a file with what is known of it."""
    if path in records.being_made:
        return _Look(is_being_made=True)
    recorded, noted = records.files.get(path), find_record(path)
    try:
        size = path.stat().st_size
        if noted is not None:  # of the last job that wrote it, whatever is known of that job's run
            is_same = file_digest(path) == noted.sha256
            return _Look(None if is_same else "is not what its job wrote", size, noted=noted)
        if recorded is not None and recorded.sha256 is not None:
            digest = file_digest(path)
            if digest == recorded.sha256 or digest == (said := _last_said(path, recorded.log)):
                return _Look(size_bytes=size)
            if said is not None or recorded.run > records.unknown:
                return _Look("is not what its job wrote", size)
        # Nothing is recorded, or maybe in a later record that cannot be read.
        if not any(path.match(pattern) for pattern in SHARDS):
            return _Look()
        return _Look(_problem_by_manifest(path), size, is_by_manifest=True)
    except FileNotFoundError:
        return _Look(is_missing=True)
    except OSError as error:
        return _Look(f"cannot be read ({error.strerror})", 0, noted=noted)


def _last_said(path: Path, log: str | None) -> str | None:
    """Return the checksum that the log of a file's job has: what is in it was written last.

    The record of that run may be deleted or damaged, or not yet have it.
    """
    said = last_words(log) if log is not None else []
    digests = {name: d for words in said for name, d in words.get("sha256", {}).items()}
    return digests.get(str(path))


def _problem_by_manifest(tar: Path) -> str | None:
    try:
        return shard_problem(tar, tar.with_suffix(".jsonl"))
    except CapsynthError as error:
        return str(error)
    except OSError as error:
        if not tar.exists():
            raise
        return f"cannot be read with its manifest ({error.strerror})"


def _summary(found: Mapping[Path, _Look], records: Records) -> Verification:
    checked = {path: look for path, look in found.items() if look.size_bytes is not None}
    manifests = {p.with_suffix(".jsonl") for p, look in found.items() if look.is_by_manifest}
    nothing = {path for path, look in found.items() if look == _Look()}
    being_made = {path for path, look in found.items() if look.is_being_made} | records.being_made
    return Verification(
        checked=len(checked),
        size_bytes=sum(look.size_bytes or 0 for look in checked.values()),
        without_checksum=tuple(sorted(nothing - manifests)),
        missing=sum(look.is_missing for look in found.values()),
        being_made=sum(path.exists() for path in being_made),
        damaged=tuple(
            Damage(path, look.problem, records.files.get(path))
            for path, look in sorted(found.items())
            if look.problem is not None
        ),
        damaged_records=tuple(records.damaged),
    )


def keep_aside(path: Path, folder: Path = Path("results/damaged")) -> Path | None:
    """Keep a file under its path in a folder, where it stays when the file is made again.

    It is not moved: as long as the folder's lock is another's, nothing of a run may be touched.

    Returns:
        Where it is kept: a link, or a copy if it lies on another file system; None if it cannot
        be read.

    Raises:
        StorageFailed: If a copy cannot be written.
    """
    inner = [part for part in Path(os.path.relpath(path, "results")).parts if part != os.pardir]
    for number in itertools.count():
        target = folder.joinpath(*inner)
        if number:
            target = target.with_name(f"{target.name}.{number}")
        if not os.path.lexists(target):
            break
        if _are_equal(path, target):
            return target
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:  # another file system, or one without hard links
        try:
            file_digest(path)
        except OSError:
            return None
        with atomic_path(target) as temporary:
            shutil.copyfile(path, temporary)
    return target


def _are_equal(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other) or file_digest(path) == file_digest(other)
    except OSError:
        return False
