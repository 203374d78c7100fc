"""Shards: what is written is read back, by offset, as WebDataset, with counts that add up."""

import hashlib
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from capsynth.errors import CapsynthError
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


@given(st.text(min_size=1), st.integers(1, 50))
def test_every_key_is_in_exactly_one_part(key: str, parts: int) -> None:
    assert part_of(key, parts) in range(parts)
    assert part_of(key, parts) == part_of(key, parts)


@given(st.text(min_size=1), st.integers(0, 999))
def test_a_shard_name_is_taken_apart_again(class_id: str, part: int) -> None:
    assert split_shard_name(shard_name(class_id, part)) == (class_id, part)
