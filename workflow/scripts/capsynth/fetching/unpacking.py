"""Unpacking archives of others: only files and folders, only below the target, bounded."""

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from capsynth.errors import CapsynthError
from capsynth.tar_headers import bounded_headers

# ImageNet-C's largest archive has 750,000 images. Pictures hardly compress: an archive that
# grows tenfold is none of pictures.
MAX_MEMBERS = 2_000_000
MAX_GROWTH = 10
MIN_ALLOWED_BYTES = 1 << 20


def unpack(archive: Path, folder: str, target: Path) -> int:
    """Unpack what lies in ``folder`` of a tar (compressed or not) or zip archive into ``target``.

    Everything goes to a temporary folder first, which is renamed at the end: a target that exists
    is complete. An older target is replaced.

    Args:
        archive: The archive.
        folder: Folder inside it whose contents are wanted, ``""`` for all.
        target: Folder that is to hold them.

    Returns:
        The number of files in ``target``.

    Raises:
        CapsynthError: If the archive is damaged, has no such folder, or has members that no data
            set has: links, devices, absolute paths, ``..``, more or larger files than allowed.
    """
    work = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    allowed = max(MIN_ALLOWED_BYTES, MAX_GROWTH * archive.stat().st_size)
    try:
        if zipfile.is_zipfile(archive):
            count = _unpack_zip(archive, folder, work, allowed)
        else:
            count = _unpack_tar(archive, folder, work, allowed)
        if not count:
            raise CapsynthError(f"{archive} has no files in its folder {folder or '/'!r}")
        replace_folder(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return count


def replace_folder(new: Path, target: Path) -> None:
    """Rename ``new`` to ``target``, in the place of what is there."""
    old = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


class _Bounds:
    """Counts members and bytes, and refuses what goes beyond."""

    def __init__(self, archive: Path, allowed: int) -> None:
        self._archive, self._allowed, self._members, self._bytes = archive, allowed, 0, 0

    def add(self, size: int) -> None:
        self._members += 1
        self._bytes += size
        if self._members > MAX_MEMBERS or self._bytes > self._allowed:
            raise CapsynthError(
                f"{self._archive} unpacks to more than {self._allowed} bytes or {MAX_MEMBERS} "
                "files; it is not what it should be, so nothing of it is kept"
            )


def _inner_path(archive: Path, name: str, folder: str) -> PurePosixPath | None:
    """Return the path of a member below ``folder``, None if it is not there.

    Raises:
        CapsynthError: If the path leads out of the archive.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise _refused(archive, name, "leads out of the archive")
    wanted = PurePosixPath(folder)
    return path.relative_to(wanted) if path.is_relative_to(wanted) else None


def _refused(archive: Path, name: str, reason: str) -> CapsynthError:
    return CapsynthError(f"{archive}: member {name!r} {reason}; nothing of the archive is kept")


def _unpack_tar(archive: Path, folder: str, work: Path, allowed: int) -> int:
    count, bounds = 0, _Bounds(archive, allowed)
    try:
        # A stream is read once, from front to end. Some archives named .tar.gz are plain ones.
        with tarfile.open(archive, mode="r|*", tarinfo=bounded_headers(archive)) as tar:
            for member in tar:
                bounds.add(member.size)
                if not (member.isreg() or member.isdir()):
                    raise _refused(archive, member.name, "is neither a file nor a folder")
                inner = _inner_path(archive, member.name, folder)
                if inner is None or member.isdir():
                    continue
                # Owners, modes and times of the archive mean nothing here.
                plain = member.replace(name=str(inner), deep=False)
                tar.extract(plain, work, set_attrs=False, filter="data")
                count += 1
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        # tarfile trusts the numbers in headers; damaged compressed data may be a zlib.error.
        raise CapsynthError(f"{archive} cannot be unpacked: {error}") from None
    return count


def _unpack_zip(archive: Path, folder: str, work: Path, allowed: int) -> int:
    count, bounds = 0, _Bounds(archive, allowed)
    try:
        with zipfile.ZipFile(archive) as file:
            for info, inner in _zip_members(archive, file, folder, bounds):
                path = work / inner
                path.parent.mkdir(parents=True, exist_ok=True)
                with file.open(info) as source, path.open("wb") as copy:
                    # zipfile stops at the size that was announced and checks the CRC there.
                    shutil.copyfileobj(source, copy)
                count += 1
    except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError, zlib.error) as error:
        raise CapsynthError(f"{archive} cannot be unpacked: {error}") from None
    return count


def _zip_members(
    archive: Path, file: zipfile.ZipFile, folder: str, bounds: _Bounds
) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    infos = file.infolist()
    for info in infos:
        bounds.add(info.file_size)
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, info.filename, "is neither a file nor a folder")
        _inner_path(archive, info.filename, folder)
    for info in infos:
        inner = _inner_path(archive, info.filename, folder)
        if inner is not None and not info.is_dir():
            yield info, inner
