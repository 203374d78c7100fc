"""Archives of others: what is unpacked, and what is refused without a trace."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.fetching import unpacking
from capsynth.fetching.unpacking import unpack

FILES = {"set/train/a/1.jpg": b"one", "set/train/b/2.jpg": b"two", "set/val/a/3.jpg": b"three"}


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def write_tar(path: Path, *extra: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]  # any mode
        for name, data in FILES.items():
            info = member(name)
            info.size, info.mode = len(data), 0o4700
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return path


def write_zip(path: Path, *extra: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in FILES.items():
            file.writestr(name, data)
        for info, data in extra:
            file.writestr(info, data)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(
    "make",
    [write_tar, lambda path: write_tar(path, mode="w"), write_zip],
    ids=["tar.gz", "tar called tar.gz", "zip"],
)
def test_the_folder_inside_becomes_the_target(make: Callable[[Path], Path], tmp_path: Path) -> None:
    archive = make(tmp_path / "set.tar.gz")
    assert unpack(archive, "set/train", tmp_path / "train") == 2
    assert contents(tmp_path / "train") == {"a/1.jpg": b"one", "b/2.jpg": b"two"}
    assert unpack(archive, "", tmp_path / "all") == 3
    assert contents(tmp_path / "all") == FILES


def test_an_older_target_is_replaced_as_a_whole(tmp_path: Path) -> None:
    old = tmp_path / "train" / "old.jpg"
    old.parent.mkdir()
    old.write_bytes(b"old")
    unpack(write_tar(tmp_path / "set.tgz"), "set/train", tmp_path / "train")
    assert sorted(contents(tmp_path / "train")) == ["a/1.jpg", "b/2.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.tgz", "train"]


def test_no_mode_of_the_archive_is_taken_over(tmp_path: Path) -> None:
    unpack(write_tar(tmp_path / "set.tgz"), "set/train", tmp_path / "train")
    mode = (tmp_path / "train/a/1.jpg").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_IXUSR)


HOSTILE = {
    "traversal": member("set/train/../../../evil"),
    "absolute path": member("/evil"),
    "symbolic link": member("set/train/a/link", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": member("set/train/a/link", tarfile.LNKTYPE, "set/train/a/1.jpg"),
    "device": member("set/train/a/null", tarfile.CHRTYPE),
    "pipe": member("set/train/a/pipe", tarfile.FIFOTYPE),
    "hostile member outside of the folder": member("other/link", tarfile.SYMTYPE, "/etc"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_member_is_refused_and_nothing_is_kept(kind: str, tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "set.tgz", HOSTILE[kind])
    with pytest.raises(CapsynthError, match=r"member .* nothing of the archive is kept"):
        unpack(archive, "set/train", tmp_path / "out" / "train")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_an_archive_that_grows_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.tgz"
    with tarfile.open(path, "w:gz") as tar:
        info = member("set/train/a/zeros")
        info.size = 4 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(CapsynthError, match="unpacks to more than 1048576 bytes"):
        unpack(path, "set/train", tmp_path / "train")
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 2)
    with pytest.raises(CapsynthError, match="or 2 files"):
        unpack(write_tar(tmp_path / "many.tgz"), "set/train", tmp_path / "train")
    assert not (tmp_path / "train").exists()


def link_in_zip() -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo("set/train/a/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, b"/etc/passwd"


@pytest.mark.parametrize(
    "extra",
    [
        link_in_zip(),
        (zipfile.ZipInfo("set/train/../../evil"), b""),
        (zipfile.ZipInfo("set\\train\\..\\..\\evil"), b""),
        (zipfile.ZipInfo("C:/evil"), b""),
    ],
    ids=["link", "traversal", "backslashes", "drive"],
)
def test_a_hostile_member_of_a_zip_is_refused(
    extra: tuple[zipfile.ZipInfo, bytes], tmp_path: Path
) -> None:
    archive = write_zip(tmp_path / "set.zip", extra)
    with pytest.raises(CapsynthError, match="nothing of the archive is kept"):
        unpack(archive, "set/train", tmp_path / "train")
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def test_a_zip_bomb_is_refused_by_what_it_announces(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "set.zip", (zipfile.ZipInfo("zeros"), b""))
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("set/train/zeros", bytes(4 << 20))
    with pytest.raises(CapsynthError, match="unpacks to more than"):
        unpack(archive, "set/train", tmp_path / "train")


def test_a_cut_archive_is_no_folder(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "set.tgz")
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 3])
    with pytest.raises(CapsynthError, match="cannot be unpacked"):
        unpack(archive, "set/train", tmp_path / "train")
    assert not (tmp_path / "train").exists()


def test_an_archive_without_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="has no files in its folder 'set/test'"):
        unpack(write_tar(tmp_path / "set.tgz"), "set/test", tmp_path / "test")
