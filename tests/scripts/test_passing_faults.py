"""Sources that fail for a moment, or change while they are packed: no image is lost or stale."""

import errno
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import index_source
import pack_eval_set
import pack_real
from capsynth import reading
from capsynth.datasets import tars
from capsynth.datasets.folder import NEVER_PACKED, files_token, source_token
from capsynth.datasets.rows import SourceSettings
from capsynth.datasets.sources import SOURCES, index_token
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.reading import ReadFailed
from capsynth.settings import settings_from_json
from capsynth.shards import ShardReader, read_manifest

PASSING = [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.EAGAIN,
           errno.ENOTCONN, errno.EINVAL, errno.ENOMEM]  # fmt: skip


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAUSE_S", 0)


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 90, 9)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of the class ``bat``."""
    folder = tmp_path / "photos" / "bat"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(number))
    return folder.parent


def words(out: Path, **flags: object) -> list[str]:
    given = {
        "format": dump_json({"side": None, "extension": "png"}),
        "source-token": NEVER_PACKED,
        "tar": out / "bat-0.tar",
        "manifest": out / "bat-0.jsonl",
        "index": out / "index.json",
        **flags,
    }
    return [f"--{name}={value}" for name, value in given.items()]


def pack(photos: Path, out: Path, **flags: object) -> dict[str, bytes]:
    """Pack the class; return its images by key."""
    place = {"shard": "bat-0", "class-index": 0, "parts-per-class": 1}
    pack_real.main(words(out, folder=photos / "bat", **place, **flags))
    return images_of(out)


def pack_set(photos: Path, out: Path, **flags: object) -> dict[str, bytes]:
    pack_eval_set.main(words(out, folder=photos, **{"class-ids": "bat"}, **flags))
    return images_of(out)


def images_of(out: Path) -> dict[str, bytes]:
    with ShardReader(out / "bat-0.tar") as reader:
        return {r.key: reader.read_bytes(r) for r in read_manifest(out / "bat-0.jsonl")}


class Ill:
    """A system on which opening a file, or reading it, fails so many times."""

    def __init__(self, name: str, number: int, times: int) -> None:
        self.name, self.number, self.times = name, number, times

    def fail(self, path: object) -> None:
        if str(path).endswith(self.name) and self.times:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))

    def open(self, path: object, *rest: object) -> int:
        self.fail(path)
        return os_open(path, *rest)  # type: ignore[arg-type]  # of any call


os_open = os.open


@pytest.mark.parametrize("number", PASSING)
@pytest.mark.parametrize("packer", [pack, pack_set])
def test_a_fault_that_passes_drops_no_image(
    photos: Path, tmp_path: Path, number: int, packer: Callable[..., dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ill = Ill("1.png", number, times=1)
    monkeypatch.setattr(os, "open", ill.open)
    assert list(packer(photos, tmp_path / "out").values()) == [picture(n) for n in range(3)]
    assert ill.times == 0
    assert source_token({"bat": photos / "bat"}, tmp_path / "out/index.json") == NEVER_PACKED


@pytest.mark.parametrize("number", PASSING)
@pytest.mark.parametrize("packer", [pack, pack_set])
def test_a_fault_that_stays_fails_the_job_and_names_the_file(
    photos: Path, tmp_path: Path, number: int, packer: Callable[..., dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "open", Ill("1.png", number, times=99).open)
    pattern = rf"bat/1\.png cannot be read: {os.strerror(number)}; .*start again"
    with pytest.raises(ReadFailed, match=pattern):
        packer(photos, tmp_path / "out")
    assert not (tmp_path / "out/bat-0.tar").exists()


def test_a_read_that_fails_or_ends_early_once_is_done_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [OSError(errno.EIO, "ill"), None]

    class Short(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            if not faults or not str(self.raw.name).endswith("1.png"):
                return super().read(size)
            if fault := faults.pop(0):
                raise fault
            return super().read(20)

    real = open
    monkeypatch.setattr(
        reading, "open", lambda *a, **k: Short(real(*a, **k).detach()), raising=False
    )
    assert list(pack(photos, tmp_path / "out").values()) == [picture(n) for n in range(3)]
    assert not faults


def test_an_image_that_is_gone_since_its_folder_was_listed_fails_the_job(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", Ill("1.png", errno.ENOENT, times=99).open)
    with pytest.raises(ReadFailed, match=r"1\.png cannot be read: No such file"):
        pack(photos, tmp_path / "out")


def meanwhile(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[], object]) -> None:
    """Do something right after a file was read for the first time."""
    real, done = reading.read_file, []

    def read(path: Path, most: int) -> object:
        result = real(path, most)
        if path.name == name and not done:
            done.append(change())
        return result

    monkeypatch.setattr("capsynth.datasets.folder.read_file", read)


@pytest.mark.parametrize("packer", [pack, pack_set])
@pytest.mark.parametrize("change", ["replaced", "added", "removed"])
def test_what_changes_while_a_class_is_packed_is_packed_anew(
    photos: Path, tmp_path: Path, packer: Callable[..., dict[str, bytes]], change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, out = photos / "bat", tmp_path / "out"

    def do() -> None:
        if change == "removed":
            (folder / "0.png").unlink()
        else:
            new = tmp_path / "new.png"
            new.write_bytes(picture(99))
            new.rename(folder / ("0.png" if change == "replaced" else "9.png"))

    with monkeypatch.context() as patch:
        meanwhile(patch, "0.png", do)
        assert list(packer(photos, out).values()) == [picture(n) for n in range(3)]
    token = source_token({"bat": folder}, out / "index.json")
    assert token != NEVER_PACKED
    now = [path.read_bytes() for path in sorted(folder.iterdir())]
    assert list(packer(photos, out, **{"source-token": token}).values()) == now
    assert source_token({"bat": folder}, out / "index.json") == token


def test_an_image_that_is_written_while_it_is_read_is_read_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, states = os.fstat, []

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("1.png"):
            states.append(status)
            if len(states) == 2:  # after the first read
                (photos / "bat/1.png").write_bytes(picture(77) + b"grown")
                return real(descriptor)
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    assert pack(photos, tmp_path / "out")["1"] == picture(77)
    assert len(states) >= 4


# ---- tars ---------------------------------------------------------------------------------------


def write_tar(path: Path, start: int = 0) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in range(3):
            for name, data in (
                (f"{number}.png", picture(start + number)), (f"{number}.cls", b"bat"),
            ):  # fmt: skip
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def source(tmp_path: Path) -> str:
    write_tar(tmp_path / "tars" / "a.tar")
    names = ("label_key", "label_classes", "split", "image_column", "label_column")
    about = {"source": "webdataset", "path": str(tmp_path / "tars")}
    return dump_json({**dict.fromkeys(names), **about})


def index(source: str, out: Path) -> str:
    """Index the tars; return the token that it was asked for."""
    token = index_token(settings_from_json(SourceSettings, source), out / "i")
    flags = {"source": source, "class-ids": "bat", "source-token": token, "output": out / "i"}
    index_source.main([f"--{name}={value}" for name, value in flags.items()])
    return token


def pack_rows(source: str, out: Path) -> dict[str, bytes]:
    place = {"shard": "bat-0", "class-index": 0, "parts-per-class": 1}
    pack_real.main(words(out, rows=out / "i/bat.jsonl", source=source, **place))
    return images_of(out)


def pack_tars(source: str, out: Path) -> dict[str, bytes]:
    pack_eval_set.main(words(out, source=source, **{"class-ids": "bat"}))
    return images_of(out)


def same_size_and_time(tar: Path, start: int) -> None:
    before = tar.stat()
    write_tar(tar, start)
    os.utime(tar, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tar.stat().st_size == before.st_size


def test_a_tar_of_other_bytes_but_the_same_size_and_time_fails_one_start_and_no_more(
    source: str, tmp_path: Path
) -> None:
    tar = tmp_path / "tars/a.tar"
    tokens = {index(source, tmp_path)}
    for start in (50, 100, 150):
        same_size_and_time(tar, start)
        with pytest.raises(
            CapsynthError, match=r"a\.tar: '0' changed while it was packed.*start again"
        ):
            pack_rows(source, tmp_path)
        token = index(source, tmp_path)
        assert token not in tokens  # or Snakemake would not index anew
        tokens.add(token)
        assert list(pack_rows(source, tmp_path).values()) == [picture(start + n) for n in range(3)]
    settings = settings_from_json(SourceSettings, source)
    assert index_token(settings, tmp_path / "i") == token


def test_an_evaluation_set_of_such_a_tar_is_read_anew_at_the_next_start(
    source: str, tmp_path: Path
) -> None:
    pack_tars(source, tmp_path)
    same_size_and_time(tmp_path / "tars/a.tar", 50)
    with pytest.raises(CapsynthError, match="changed while it was packed"):
        pack_tars(source, tmp_path)
    assert list(pack_tars(source, tmp_path).values()) == [picture(50 + n) for n in range(3)]


def test_a_tar_that_changes_while_an_evaluation_set_is_packed_is_no_index(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar, real = tmp_path / "tars/a.tar", tars.open_images

    def changed(settings: SourceSettings, cache: Path) -> object:
        read = real(settings, cache)

        def last(row: object) -> bytes:
            data = read(row)
            if row.key == "2":
                write_tar(tar, 50)
            return data

        return last

    monkeypatch.setitem(SOURCES, "webdataset", replace(SOURCES["webdataset"], open_images=changed))
    with pytest.raises(CapsynthError, match=r"a\.tar changed while it was packed"):
        pack_tars(source, tmp_path)
    assert files_token({"a": tar}, tmp_path / "index.json") == NEVER_PACKED


@pytest.mark.parametrize("times", [1, 99])
def test_reads_of_a_tar_are_tried_again_and_name_it_in_the_end(
    source: str, tmp_path: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, real = [times], os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if left[0] and os.readlink(f"/proc/self/fd/{descriptor}").endswith("a.tar"):
            left[0] -= 1
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, min(size, 700), offset)  # short, always

    monkeypatch.setattr(os, "pread", pread)
    if times == 1:
        index(source, tmp_path)
        left[0] = 1
        assert list(pack_rows(source, tmp_path).values()) == [picture(n) for n in range(3)]
        return
    with pytest.raises(ReadFailed, match=r"tars/a\.tar cannot be read: Input/output error; look"):
        index(source, tmp_path)
    left[0] = 0
    index(source, tmp_path)
    left[0] = 99
    with pytest.raises(ReadFailed, match=r"tars/a\.tar cannot be read: Input/output error; look"):
        pack_rows(source, tmp_path)
