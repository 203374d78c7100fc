"""Shards: what is written is read back, by offset, as WebDataset, with counts that add up."""

import errno
import hashlib
import os
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from capsynth import reading
from capsynth.errors import CapsynthError
from capsynth.files import read_json
from capsynth.fingerprints import file_digest
from capsynth.shards import (
    OK,
    REJECTED,
    Sample,
    ShardReader,
    ShardRecord,
    part_of,
    read_manifest,
    shard_name,
    split_shard_name,
    usable,
    write_shard,
)


def sample(key: str, image: bytes | None, mark: str = "m") -> Sample:
    status = REJECTED if image is None else OK
    extension = None if image is None else "png"
    return Sample(ShardRecord(key, "bat", 3, 0, status, mark, extension=extension), image)


@given(st.lists(st.binary(min_size=1, max_size=2000), min_size=1, max_size=6))
def test_every_image_is_read_back_by_its_offset(
    tmp_path_factory: pytest.TempPathFactory, images: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("shard")
    tar, manifest = folder / "a.tar", folder / "a.jsonl"
    assert write_shard(tar, manifest, [sample(f"k{i}", b) for i, b in enumerate(images)]) == len(
        images
    )
    with ShardReader(tar) as reader:
        for record, image in zip(read_manifest(manifest), images, strict=True):
            assert reader.read_bytes(record) == image
            assert record.sha256 == hashlib.sha256(image).hexdigest()


def test_webdataset_reads_the_tar(tmp_path: Path) -> None:
    tar = tmp_path / "a.tar"
    write_shard(tar, tmp_path / "a.jsonl", [sample("k0", b"png0"), sample("k1", b"png1")])
    read = list(webdataset.WebDataset(str(tar), shardshuffle=False))
    assert [(r["__key__"], r["png"], r["cls"]) for r in read] == [
        ("k0", b"png0", b"3"),
        ("k1", b"png1", b"3"),
    ]


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / f"{name}.tar", tmp_path / f"{name}.jsonl", [sample("k", b"x")])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_a_rejected_sample_is_in_the_manifest_and_not_in_the_tar(tmp_path: Path) -> None:
    tar, manifest = tmp_path / "a.tar", tmp_path / "a.jsonl"
    write_shard(tar, manifest, [sample("good", b"x"), sample("bad", None)])
    records = read_manifest(manifest)
    assert [r.key for r in records] == ["good", "bad"]
    assert [r.key for r in usable(records)] == ["good"]
    with tarfile.open(tar) as opened:
        assert not [name for name in opened.getnames() if name.startswith("bad")]
    with ShardReader(tar) as reader, pytest.raises(CapsynthError, match="has no image"):
        reader.read_bytes(records[1])


def test_a_key_that_occurs_twice_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    tar = tmp_path / "a.tar"
    with pytest.raises(CapsynthError, match="'k' occurs twice"):
        write_shard(tar, tmp_path / "a.jsonl", [sample("k", b"x"), sample("k", b"y")])
    assert list(tmp_path.iterdir()) == []


def test_mixed_fingerprints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="different configurations"):
        write_shard(
            tmp_path / "a.tar",
            tmp_path / "a.jsonl",
            [sample("k", b"x", "one"), sample("l", b"y", "two")],
        )


def test_a_tar_that_was_cut_is_noticed(tmp_path: Path) -> None:
    tar, manifest = tmp_path / "a.tar", tmp_path / "a.jsonl"
    write_shard(tar, manifest, [sample("k", b"x" * 3000)])
    tar.write_bytes(tar.read_bytes()[:2000])
    with ShardReader(tar) as reader, pytest.raises(CapsynthError, match="ends inside 'k'"):
        reader.read_bytes(read_manifest(manifest)[0])


def test_a_read_that_returns_less_than_asked_for_is_no_damage_and_one_that_fails_names_the_tar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar, manifest = tmp_path / "a.tar", tmp_path / "a.jsonl"
    write_shard(tar, manifest, [sample("k", bytes(range(250)) * 12)])
    (record,) = read_manifest(manifest)
    real, faults = os.pread, [OSError(errno.EIO, "ill"), b"", OSError(errno.ESTALE, "stale")]

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if faults and isinstance(fault := faults.pop(), OSError):
            raise fault
        return b"" if faults else real(descriptor, min(size, 999), offset)

    monkeypatch.setattr(reading, "PAUSE_S", 0)
    monkeypatch.setattr(os, "pread", pread)
    with ShardReader(tar) as reader:
        assert reader.read_bytes(record) == bytes(range(250)) * 12
        assert not faults
        faults += [OSError(errno.EIO, "ill")] * reading.ATTEMPTS
        with pytest.raises(CapsynthError, match=r"a\.tar cannot be read: Input/output error; look"):
            reader.read_bytes(record)


def test_small_files_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = []

    def ill(*_: object, **__: object) -> bytes:
        faults.append(1)
        raise OSError(errno.EIO, "Input/output error")  # as read(2) has it: without a name

    monkeypatch.setattr(reading, "PAUSE_S", 0)
    monkeypatch.setattr(Path, "read_bytes", ill)
    monkeypatch.setattr(Path, "open", ill)
    for read in (read_manifest, read_json, file_digest):
        with pytest.raises(CapsynthError, match=r"a\.json cannot be read: Input/output error"):
            read(tmp_path / "a.json")
    assert len(faults) == 3 * reading.ATTEMPTS


@given(st.text(min_size=1), st.integers(1, 50))
def test_every_key_is_in_exactly_one_part(key: str, parts: int) -> None:
    assert part_of(key, parts) in range(parts)
    assert part_of(key, parts) == part_of(key, parts)


@given(st.text(min_size=1), st.integers(0, 999))
def test_a_shard_name_is_taken_apart_again(class_id: str, part: int) -> None:
    assert split_shard_name(shard_name(class_id, part)) == (class_id, part)
