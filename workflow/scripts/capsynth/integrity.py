"""Whether a result is still what its job wrote, asked by whoever reads it.

A job that ends well leaves a record of each file that it has put in place below ``results``: one
line with the file's SHA-256, its size and the script that wrote it, under the file's own path in
``results/provenance/files/``. Readers compare what they read with it. A file without a record, a
user's own or one of an older version, is read as it is; so is one whose record is damaged, since a
record carries a checksum of its own.
"""

import contextlib
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from capsynth.errors import CapsynthError, storage_problem
from capsynth.reading import open_steady, read_bytes

RESULTS = "results"
PROVENANCE = "provenance"
RECORDS = Path(RESULTS, PROVENANCE, "files")
# Hidden files of results that are inputs of jobs: written when Snakemake reads the workflow.
ARGUMENTS = ".arguments"


class Damaged(CapsynthError, ValueError):
    """A file that is not what it should be; the message names it and says how to make it again."""


@dataclass(frozen=True)
class Record:
    """What was noted of a file when it was written.

    Attributes:
        path: Of the record.
        sha256: Of the file.
        size: Of the file, bytes.
        made_by: The script that wrote it.
    """

    path: Path
    sha256: str
    size: int
    made_by: str


def record_path(path: Path) -> Path | None:
    """Return where the record of a file lies; None of what has none.

    Only results have records: not what is hidden, which no rule but its own reads, and nothing
    outside of ``results``.
    """
    inner = _below_results(path)
    if not inner or inner[0] == PROVENANCE:
        return None
    shown = inner[1:] if inner[0] == ARGUMENTS else inner
    if any(part.startswith(".") for part in shown):
        return None
    return RECORDS.joinpath(*inner)


def _below_results(path: Path) -> list[str]:
    """Return the parts of a path below the folder of results; none if it lies elsewhere."""
    name = os.fspath(path)
    if os.path.isabs(name) or ".." in path.parts:
        name = os.path.relpath(name)
    top, *inner = name.split(os.sep)
    return inner if top == RESULTS else []


def is_result(path: Path) -> bool:
    """Return whether a path lies below the folder of results."""
    return bool(_below_results(path))


def find_record(path: Path) -> Record | None:
    """Return the record of a file; None if there is none, or none that can be believed."""
    place = record_path(path)
    if place is None:
        return None
    try:
        check, about = place.read_bytes().decode().rstrip("\n").split(" ", 1)
        sha256, size, made_by = about.split(" ", 2)
        return Record(place, sha256, int(size), made_by) if check == _check(about) else None
    except (OSError, ValueError):
        return None


def _check(about: str) -> str:
    return f"{zlib.crc32(about.encode()):08x}"


def write_record(path: Path, sha256: str, size: int, made_by: str) -> None:
    """Note what a file holds.

    It is no atomic write: half a record is none. One that cannot be written is done without.
    """
    place = record_path(path)
    if place is None:
        return
    about = f"{sha256} {size} {made_by}"
    text = f"{_check(about)} {about}\n".encode()
    with contextlib.suppress(OSError):
        if place.exists() and place.read_bytes() == text:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)


def drop_record(path: Path) -> None:
    """Forget what a file held, before another one takes its place."""
    if (place := record_path(path)) is not None:
        place.unlink(missing_ok=True)


def record_file(path: Path, made_by: str) -> str:
    """Note what a file holds now; return its SHA-256.

    Raises:
        OSError: If it cannot be read, or is not there any more.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        status = os.fstat(file.fileno())
        write_record(path, sha256, status.st_size, made_by)
        # Another start of the job may have put its own in place meanwhile.
        if not os.path.samestat(status, path.stat()):
            drop_record(path)
    return sha256


def read_checked(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        Damaged: If that is not what its job wrote.
        OSError: If it cannot be read.
    """
    data = read_bytes(path)
    record = find_record(path)
    if record is not None and hashlib.sha256(data).hexdigest() != record.sha256:
        raise Damaged(_other_than(path, record))
    return data


def check_file(path: Path, wanted: str | None = None, source: str = "") -> None:
    """Check a file that a library reads by its path.

    Args:
        path: The file.
        wanted: What its SHA-256 has to be by another file; None if nothing else tells.
        source: That file, for the message.

    Raises:
        Damaged: If it is not what its job wrote, or not what ``source`` says.
        OSError: If it cannot be read.
    """
    record = find_record(path)
    if record is None and wanted is None:
        return
    with open_steady(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if record is not None and sha256 != record.sha256:
        raise Damaged(_other_than(path, record))
    if wanted is not None and sha256 != wanted:
        raise Damaged(
            f"{path} is not the one that {source} names: damaged, or of another run; delete both "
            "and run the same command again, which makes them anew"
        )


def check_size(path: Path) -> int:
    """Return the size of a file of which only that, or little more, is read.

    Raises:
        Damaged: If it is not the one that its job wrote.
        OSError: If it is not there.
    """
    size = path.stat().st_size
    record = find_record(path)
    if record is not None and size != record.size:
        raise Damaged(_other_than(path, record))
    return size


def _other_than(path: Path, record: Record) -> str:
    return (
        f"{path} is not what {record.made_by} wrote: damaged, cut or exchanged since; delete it "
        "and run the same command again, which makes it anew (or delete its record, "
        f"{record.path}, to have it read as it is)"
    )


def unreadable(path: Path, error: BaseException) -> CapsynthError:
    """Return the error of a file that does not hold what it should, or that a disk cannot read."""
    if problem := storage_problem(error):
        return CapsynthError(f"{path}: {problem}")
    reason = " ".join(str(error).split()) or type(error).__name__
    remedy = "delete it and run the same command again, which makes it anew"
    return Damaged(
        f"{path} cannot be understood ({reason[:200]}): damaged, cut or another kind of file; "
        f"{remedy if is_result(path) else 'mend it, or put a whole one in its place'}"
    )
