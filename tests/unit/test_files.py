"""Files that are written whole or not at all."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from capsynth import files
from capsynth.errors import StorageFailed, storage_problem
from capsynth.exporting import atomic_folder
from capsynth.files import atomic_path, flush_folder, write_if_changed
from capsynth.sweeps import take_lock


def test_the_same_text_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "config.yaml"
    write_if_changed(path, "one")
    os.utime(path, (1, 1))
    write_if_changed(path, "one")
    assert path.stat().st_mtime == 1
    write_if_changed(path, "two")
    assert path.read_text() == "two"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_file_system_that_cannot_take_a_file_is_an_error_that_names_it_and_leaves_nothing(
    number: int, tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(StorageFailed) as raised, atomic_path(path):
        raise OSError(number, os.strerror(number))
    assert str(raised.value).startswith(f"{path} cannot be written: {os.strerror(number)}; ")
    assert "start again" in str(raised.value)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        raise FileNotFoundError(errno.ENOENT, "a batch is missing")
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_that_cannot_be_deleted_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ill(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "unlink", ill)
    with pytest.raises(StorageFailed, match="No space left"), atomic_path(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    # Where all went well, nothing is left to delete.
    write_if_changed(tmp_path / "b", "text")
    assert (tmp_path / "b").read_text() == "text"


def test_the_reason_is_found_in_errors_of_libraries() -> None:
    full = "Error while serializing: I/O error: No space left on device (os error 28)"
    problem = storage_problem(SafetensorError(full))
    assert problem is not None
    assert problem.startswith("No space left on device; free some")
    try:
        try:
            raise OSError(errno.EIO, "Error writing bytes to file")
        except OSError:
            raise OSError("error closing file")  # noqa: B904 -- as pyarrow does
    except OSError as error:
        problem = storage_problem(error)
    assert problem is not None
    assert problem.startswith("Input/output error; look at the disk")
    assert storage_problem(OSError(errno.ENOENT, "no such file")) is None
    assert storage_problem(ValueError("28")) is None


def test_a_folder_is_flushed_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.png", "a/2.png", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.pread(handle, 99, 0)))
    flush_folder(tmp_path)
    assert sorted(flushed) == [b"README.md", b"a/1.png", b"a/2.png"]


NOT_THERE = [errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP]


@pytest.mark.parametrize("number", NOT_THERE)
def test_without_chmod_and_fsync_files_are_written_and_each_is_told_once(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "_done_without", set())
    monkeypatch.setattr(Path, "chmod", refuse)
    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(fcntl, "flock", refuse)
    for name in ("a", "b"):
        write_if_changed(tmp_path / name, "text")
        with atomic_folder(tmp_path / f"folder-{name}") as folder:
            (folder / "c").write_text("text")
        os.close(take_lock(tmp_path / ".lock"))
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert names == [".lock", "a", "b", "folder-a", "folder-a/c", "folder-b", "folder-b/c"]
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(" has no ")[2].partition(" (")[0] for line in told] == [
        *("fsync", "chmod", "flock")
    ]
    assert all(str(tmp_path) in line and os.strerror(number) in line for line in told)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_as_it_is_flushed_is_no_disk_without_fsync(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageFailed):
        write_if_changed(tmp_path / "a", "text")
    assert list(tmp_path.iterdir()) == []
