"""Writing files so that a file that exists is complete, and reading them."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import resource
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError, StorageFailed, storage_problem
from capsynth.integrity import (
    drop_record,
    read_checked,
    record_file,
    unreadable,
    write_record,
)
from capsynth.reading import read_bytes

log = logging.getLogger(__name__)

# Open files that a process needs beside its data: libraries, pipes, sockets.
OTHER_FILES = 200

# What a file system answers that has not what is asked for: FUSE, CIFS, exFAT, some object stores.
_NOT_THERE = {errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}
_done_without: set[str] = set()

# A dict for its order. What the warm server has written, its children have not: it writes nothing.
_published: dict[Path, None] = {}


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file to ``path``, and note it; what is hidden is no result."""
    # First, so that no moment has a new file with the record of an old one.
    drop_record(path)
    os.replace(temporary, path)
    if not any(part.startswith(".") and part != ".." for part in path.parts):
        _published[path] = None


def published() -> list[Path]:
    """Return what this process has put in place and is still there, in that order."""
    return [path for path in _published if path.exists()]


def record_published(made_by: str) -> dict[str, str]:
    """Leave a record of what this process has put in place; return the checksums by path."""
    digests = {}
    for path in published():
        # Another copy of the job may take it away at any time.
        with contextlib.suppress(OSError):
            digests[str(path)] = record_file(path, made_by)
    return digests


@contextlib.contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` if the block succeeds.

    The temporary name is unique, so two copies of a job never write to one file; the data is
    flushed to the disk before the rename, so a crash leaves the old file or the whole new one;
    not if it need not be ``durable``, since after a crash its reader can do without it.

    Raises:
        StorageFailed: If the file system cannot take the file.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        if durable:
            flush(temporary)
        set_mode(temporary, 0o666)
        put_in_place(temporary, path)
    except BaseException as error:
        if temporary is not None:
            # It may fail for the same reason, which is the one to tell.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        if problem := storage_problem(error):
            raise StorageFailed(path, problem) from error
        raise


@contextlib.contextmanager
def do_without(what: str, path: Path, effect: str) -> Iterator[None]:
    """Go on if the file system of ``path`` has not ``what``; say so, and its effect, once."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        if what not in _done_without:
            _done_without.add(what)
            log.warning(
                "the file system of %s has no %s (%s): %s",
                path.parent.absolute(),
                what,
                error.strerror,
                effect,
            )


def set_mode(path: Path, mode: int) -> None:
    """Give a file or folder that this process has made the mode that others get, by the umask."""
    with do_without("chmod", path, "files keep the mode that it gives them"):
        path.chmod(mode & ~_umask())


def flush(path: Path) -> None:
    """Wait until the content of a file has reached the disk."""
    with path.open("rb+") as file:
        flush_descriptor(file.fileno(), path)


def flush_descriptor(descriptor: int, path: Path) -> None:
    """Wait until what was written to a descriptor of the file ``path`` has reached the disk."""
    with do_without("fsync", path, "what was written last may be lost if the machine fails"):
        os.fsync(descriptor)


def lock(descriptor: int, path: Path, wait: bool) -> None:
    """Lock an open file for this process; where there are no locks, go on without.

    Raises:
        BlockingIOError: If another process holds it, and this one is not to ``wait``.
    """
    with do_without("flock", path, "do not start the same twice at a time"):
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def flush_folder(folder: Path) -> None:
    """Wait until the content of all files below a folder has reached the disk.

    For folders that are renamed as a whole: many files flushed at the end cost a tenth of what
    each costs when it is written.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            flush(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def require_room(path: Path, size_bytes: float) -> None:
    """Check that the disk that ``path`` will lie on has room for what a stage is going to write.

    Raises:
        CapsynthError: If it has not.
    """
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        raise CapsynthError(
            f"{path}: about {size_bytes / 1e6:.0f} MB will be written, and its disk has room for "
            f"{free / 1e6:.0f} MB; free some, or let results be a link to a larger disk"
        )


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_if_changed(path: Path, text: str) -> None:
    """Write ``text`` as ``write_text`` does, unless ``path`` holds it already."""
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text)


def write_recorded(path: Path, text: str, made_by: str) -> None:
    """Write ``text`` as ``write_if_changed`` does, and leave a record of it for its readers."""
    write_if_changed(path, text)
    data = text.encode()
    write_record(path, hashlib.sha256(data).hexdigest(), len(data), made_by)


def dump_json(value: Any) -> str:
    """Return ``value`` as one line of JSON with sorted keys: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        Damaged: If it is none, or not what its job wrote.
    """
    data = read_checked(path)
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise unreadable(path, error) from None


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``rows`` as JSON Lines with sorted keys, atomically."""
    write_text(path, "".join(dump_json(row) + "\n" for row in rows))


def read_json_lines(path: Path, check: bool = True) -> list[dict[str, Any]]:
    """Read JSON Lines, an object a line.

    Args:
        path: The file.
        check: Whether it is compared with the record of its job.

    Raises:
        CapsynthError: If a line holds something else, or the file is not what its job wrote.
    """
    # Split at newlines only: captions may hold other characters that str.splitlines breaks at.
    lines = (read_checked(path) if check else read_bytes(path)).split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if line:
            try:
                row = json.loads(line.decode())
            except (ValueError, RecursionError) as error:
                raise CapsynthError(f"{path}:{number}: {error}; make it anew") from None
            if not isinstance(row, dict):
                raise CapsynthError(f"{path}:{number}: is no JSON object; make it anew")
            rows.append(row)
    return rows


def files_to_keep_open(wanted: int) -> int:
    """Return how many files a process may keep open, of ``wanted``; at least one.

    The limit of open files (``ulimit -n``), often 1,024, is raised as far as the system lets it be.
    """
    enough = wanted + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < enough:
        raised = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS has a second limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - OTHER_FILES))
