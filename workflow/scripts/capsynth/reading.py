"""Reading files of disks and networks that fail for a moment, and of folders that hold anything.

What is a property of a file (a pipe, no permission) is told apart from what passes or is no fault
of the file: that is tried again a few times, and then ends the job with the name of the file.
"""

import errno
import functools
import hashlib
import io
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from capsynth.errors import CapsynthError, storage_problem

log = logging.getLogger(__name__)

# Four attempts within three and a half seconds: a connection that was reset, a server that hands
# over, another process that has all files open.
ATTEMPTS = 4
PAUSE_S = 0.5
# What a system says of a file itself, which another attempt would say again.
_OF_THE_FILE = frozenset(
    {
        errno.EACCES,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
    }
)
T = TypeVar("T")


class Unusable(OSError, ValueError):
    """A file that nothing can be read from, today and tomorrow; the message is the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EINVAL, reason)

    def __str__(self) -> str:
        return str(self.strerror)


class ReadFailed(CapsynthError):
    """A file could not be read, though nothing is wrong with the file as such."""

    def __init__(self, path: Path | str, error: OSError) -> None:
        problem = storage_problem(error) or (
            f"{error.strerror or error}; look at the file and its disk, or at the connection to "
            "its server (dmesg), and start again"
        )
        super().__init__(f"{path} cannot be read: {problem}")


@dataclass(frozen=True)
class FileState:
    """What was read of a file.

    Attributes:
        size: Its bytes, while it was read.
        mtime_ns: Time of its last change then, nanoseconds since the epoch.
        sha256: Hex digest of the bytes that were read.
    """

    size: int
    mtime_ns: int
    sha256: str


def again(path: Path | str, read: Callable[[], T]) -> T:
    """Return what ``read`` returns; while the system cannot read, ask again, ``ATTEMPTS`` times.

    Args:
        path: What is read, for messages.
        read: Reads it, from the start.

    Raises:
        ReadFailed: If no attempt succeeded.
        OSError: If the file is missing, or is none that can be read.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return read()
        except Unusable:
            raise
        except OSError as error:
            # Libraries raise OSErrors without a number, of files that are not as they should be.
            if error.errno is None or error.errno in _OF_THE_FILE:
                raise
            if attempt == ATTEMPTS:
                raise ReadFailed(path, error) from error
            log.warning("%s: %s; trying again", path, error.strerror)
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file, as ``again``."""
    return again(path, path.read_bytes)


def read_at(descriptor: int, size: int, offset: int, path: Path) -> bytes:
    """Return ``size`` bytes of an open file, as ``again``; fewer only if the file ends there.

    A system may return fewer bytes than it was asked for, for no reason: that is no end.
    """
    data = again(path, functools.partial(_some, descriptor, size, offset))
    while 0 < len(data) < size:
        at = len(data)
        more = again(path, functools.partial(_some, descriptor, size - at, offset + at))
        if not more:
            break
        data += more
    return data


def _some(descriptor: int, size: int, offset: int) -> bytes:
    data = os.pread(descriptor, size, offset)
    if not data and size and offset < os.fstat(descriptor).st_size:
        raise OSError(errno.EAGAIN, "nothing could be read where the file goes on")
    return data


class _Steady(io.RawIOBase):
    """A file whose reads are those of ``read_at``."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._at = path, 0
        self._file = again(path, lambda: path.open("rb", buffering=0))

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = read_at(self._file.fileno(), len(view), self._at, self._path)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        if start is None:
            start = os.fstat(self._file.fileno()).st_size
        if start + offset < 0:
            raise ValueError(f"negative place in {self._path}")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def open_steady(path: Path) -> io.BufferedReader:
    """Open a file of which each read is tried as ``again`` tries it.

    Raises:
        ReadFailed: If it cannot be opened.
    """
    try:
        return io.BufferedReader(_Steady(path))
    except OSError as error:
        raise ReadFailed(path, error) from error


def open_file(path: Path) -> io.BufferedReader:
    """Open a file, and nothing else: a pipe would make its reader wait, a device give no end.

    Raises:
        Unusable: If it is no file, or none that may be read.
        OSError: If it is not there, or the system cannot open it now.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise Unusable("a folder" if stat.S_ISDIR(mode) else "a pipe or device")
        # Should a pipe take its place by now, opening it does not wait either.
        return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    except OSError as error:
        if error.errno not in _OF_THE_FILE:
            raise
        # A link that leads nowhere has a target to name, a missing file has not.
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            raise Unusable("a link that leads nowhere") from None
        if error.errno == errno.ENOENT:
            raise
        raise Unusable(str(error.strerror)) from None


def read_file(path: Path, most: int) -> tuple[bytes, FileState]:
    """Return the bytes of a file that anybody may have put there, and its state as they were read.

    Raises:
        Unusable: As ``open_file``; or if it has more than ``most`` bytes.
        FileNotFoundError: If it is not there.
        ReadFailed: If it cannot be read, or changes whenever it is.
    """

    def take(file: io.BufferedReader, size: int) -> tuple[bytes, str]:
        data = file.read(size + 1)
        return data, hashlib.sha256(data).hexdigest()

    return _read_whole(path, most, take)


def digest_file(path: Path, most: int | None) -> FileState:
    """Return the state of a file as it is read now, as ``read_file``; None sets no limit."""

    def digest(file: io.BufferedReader, size: int) -> tuple[None, str]:
        return None, hashlib.file_digest(file, "sha256").hexdigest()

    return _read_whole(path, most, digest)[1]


def _read_whole(
    path: Path, most: int | None, take: Callable[[io.BufferedReader, int], tuple[T, str]]
) -> tuple[T, FileState]:
    def once() -> tuple[T, FileState]:
        with open_file(path) as file:
            before = os.fstat(file.fileno())
            if most is not None and before.st_size > most:
                raise Unusable(f"{before.st_size} bytes are more than an image has")
            taken, digest = take(file, before.st_size)
            after, read = os.fstat(file.fileno()), file.tell()
        if read and not before.st_size:
            raise Unusable("a file without a size")  # the kernel's; it may have no end
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise OSError(errno.EAGAIN, "it changes while it is read")
        if read != before.st_size:
            raise OSError(errno.EAGAIN, f"{read} of its {before.st_size} bytes could be read")
        return taken, FileState(before.st_size, before.st_mtime_ns, digest)

    return again(path, once)
