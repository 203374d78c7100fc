"""Packing from every source and layout, by the command lines."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import index_source
import pack_eval_set
import pack_real
from capsynth import packing
from capsynth.corruptions import IMAGENET_C
from capsynth.datasets.imagenet import wordnet_ids
from capsynth.datasets.selection import place_of
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.packing import short_key
from capsynth.shards import ShardReader, ShardRecord, part_of, read_manifest
from capsynth.source_images import without_metadata

FORMAT = dump_json({"side": None, "extension": "jpg"})


def words(**flags: object) -> list[str]:
    line: list[str] = []
    for name, value in flags.items():
        many = value if isinstance(value, list) else [value]
        line += [f"--{name.replace('_', '-')}", *map(str, many)]
    return line


def pack_shard(out: Path, shard: str, **flags: object) -> list[ShardRecord]:
    given = {
        "shard": shard,
        "class_index": 0,
        "parts_per_class": 1,
        "format": FORMAT,
        "source_token": "t",
        "tar": out / f"{shard}.tar",
        "manifest": out / f"{shard}.jsonl",
        "index": out / f".{shard}.json",
    }
    pack_real.main(words(**{**given, **flags}))
    return read_manifest(out / f"{shard}.jsonl")


def pack_set(out: Path, class_ids: list[str], **flags: object) -> list[ShardRecord]:
    given = {
        "class_ids": class_ids,
        "format": FORMAT,
        "source_token": "t",
        "tar": out / "e.tar",
        "manifest": out / "e.jsonl",
        "index": out / "e.json",
    }
    pack_eval_set.main(words(**{**given, **flags}))
    return read_manifest(out / "e.jsonl")


def taken(low: float = 0, high: float = 1, n: int | None = None) -> str:
    return dump_json({"share": [low, high], "images_per_class": n, "sample_seed": 0})


def photo(path: Path, shade: int = 0, side: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(shade)
    pixels = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((side, side)).save(path)


def source_json(path: Path, source: str, **changes: object) -> str:
    names = ("label_key", "label_classes", "split", "image_column", "label_column")
    none = dict.fromkeys(names)
    return dump_json({**none, "source": source, "path": str(path), **changes})


# ---- what is taken ------------------------------------------------------------------------------


def test_a_held_out_share_of_a_folder_has_no_image_of_the_training_share(tmp_path: Path) -> None:
    for number in range(40):
        photo(tmp_path / "all" / "bat" / f"{number}.png", number)
    folder = tmp_path / "all" / "bat"
    train = pack_shard(tmp_path / "t", "bat-0", folder=folder, selection=taken(0, 0.7))
    held = pack_set(tmp_path / "h", ["bat"], folder=tmp_path / "all", selection=taken(0.7, 1))
    numbers = sorted(int(r.key) for r in train) + sorted(int(r.key[4:]) for r in held)
    assert sorted(numbers) == list(range(40))
    assert len(train) > len(held) > 0


def test_fewer_images_per_class_are_part_of_more_and_keep_their_index(tmp_path: Path) -> None:
    folder = tmp_path / "bat"
    for number in range(12):
        photo(folder / f"{number:02d}.png", number)
    ranks = []
    for n in (3, 6, None):
        records = pack_shard(tmp_path / str(n), "bat-0", folder=folder, selection=taken(n=n))
        ranks.append({r.key: r.index for r in records})
        assert all(index == int(key) for key, index in ranks[-1].items())
    assert [len(r) for r in ranks] == [3, 6, 12]
    assert ranks[0].items() <= ranks[1].items() <= ranks[2].items()


# ---- what is stored -----------------------------------------------------------------------------


def tagged(orientation: int) -> tuple[bytes, Image.Image]:
    """A photo with orientation, place, camera and comment; and how it is to be seen."""
    seen = Image.new("RGB", (64, 32), "white")
    seen.paste("red", (0, 0, 32, 32))
    turned = {1: seen, 6: seen.transpose(Image.Transpose.ROTATE_90)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "SECRETCAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    buffer = io.BytesIO()
    turned.save(buffer, "JPEG", quality=95, exif=exif, comment=b"SECRETCOMMENT")
    return buffer.getvalue(), seen


@pytest.mark.parametrize("orientation", [1, 6])
def test_photos_stand_upright_and_keep_no_metadata(tmp_path: Path, orientation: int) -> None:
    data, seen = tagged(orientation)
    assert b"SECRETCAMERA" in data
    (tmp_path / "bat").mkdir()
    (tmp_path / "bat" / "a.jpg").write_bytes(data)
    (record,) = pack_shard(tmp_path / "out", "bat-0", folder=tmp_path / "bat")
    with ShardReader(tmp_path / "out" / "bat-0.tar") as reader:
        stored = reader.read_bytes(record)
        image = reader.read_image(record)
    assert b"SECRET" not in stored
    with Image.open(io.BytesIO(stored)) as opened:
        assert not opened.getexif()
    assert image.size == seen.size
    difference = np.abs(np.asarray(image, int) - np.asarray(seen, int))
    assert difference.mean() < 3
    if orientation == 1:  # not encoded anew: the same pixels
        with Image.open(io.BytesIO(data)) as before:
            assert np.array_equal(np.asarray(before), np.asarray(image))


def test_the_side_is_that_of_the_upright_photo_and_plain_files_keep_their_bytes(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "bat"
    folder.mkdir()
    (folder / "turned.jpg").write_bytes(tagged(6)[0])
    Image.new("RGB", (20, 10), "red").save(folder / "plain.jpg")
    form = dump_json({"side": 16, "extension": "jpg"})
    records = pack_shard(tmp_path / "out", "bat-0", folder=folder, format=form)
    with ShardReader(tmp_path / "out" / "bat-0.tar") as reader:
        assert reader.read_bytes(records[0]) == (folder / "plain.jpg").read_bytes()
        assert reader.read_image(records[1]).size == (32, 16)


def test_metadata_of_png_files_is_left_out_and_damaged_exif_is_no_reason_to_reject(
    tmp_path: Path,
) -> None:
    from PIL.PngImagePlugin import PngInfo

    folder = tmp_path / "bat"
    folder.mkdir()
    about = PngInfo()
    about.add_text("Place", "SECRETPLACE")
    Image.new("RGB", (20, 10), "red").save(folder / "a.png", pnginfo=about)
    data = io.BytesIO()
    Image.new("RGB", (20, 10)).save(data, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xffbroken")
    (folder / "b.jpg").write_bytes(data.getvalue())
    records = pack_shard(tmp_path / "out", "bat-0", folder=folder)
    assert [r.status for r in records] == ["ok", "ok"]
    tar = (tmp_path / "out" / "bat-0.tar").read_bytes()
    assert b"SECRETPLACE" not in tar
    assert b"broken" not in tar


def test_a_jpeg_that_ends_early_and_an_image_too_large_to_open_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="without an image"):
        without_metadata(b"\xff\xd8\xff\xe1\x00\x04ab")
    photo(tmp_path / "bat" / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    (record,) = pack_shard(tmp_path / "out", "bat-0", folder=tmp_path / "bat")
    assert record.status == "rejected"
    assert "DecompressionBombError" in str(record.reason)


def test_long_names_are_cut_to_what_a_tar_can_hold(tmp_path: Path) -> None:
    for letter in "ab":
        photo(tmp_path / "bat" / f"{'x' * 150}{letter}.png", ord(letter))
    one, two = pack_shard(tmp_path / "out", "bat-0", folder=tmp_path / "bat")
    assert one.key != two.key
    assert one.key.startswith("xxx")
    assert short_key("short", 90) == "short"
    assert len(short_key("ä" * 60, 90).encode()) <= 90


# ---- evaluation sets ----------------------------------------------------------------------------


def test_index_folders_are_packed_under_the_class_of_their_index(tmp_path: Path) -> None:
    ids = wordnet_ids()
    for index in (0, 2, 10):
        photo(tmp_path / "v2" / str(index) / "p.jpeg", index)
    class_ids = [ids[0], ids[10]]
    records = pack_set(tmp_path, class_ids, folder=tmp_path / "v2", layout="index-folders")
    assert [(r.class_id, r.class_index) for r in records] == [(ids[0], 0), (ids[10], 1)]
    with ShardReader(tmp_path / "e.tar") as reader:
        assert reader.read_bytes(records[1]) == (tmp_path / "v2" / "10" / "p.jpeg").read_bytes()


def test_a_mixture_of_roots_keeps_every_image_under_a_key_of_its_own(tmp_path: Path) -> None:
    tench = wordnet_ids()[0]
    roots = [tmp_path / name for name in ("matched", "threshold", "top")]
    for shade, root in enumerate(roots):
        photo(root / "0" / "same.jpeg", shade)
    records = pack_set(tmp_path, [tench], folder=roots, layout="index-folders")
    assert [r.key for r in records] == [f"{root.name}_{tench}_same" for root in roots]
    assert len({r.sha256 for r in records}) == 3


def test_a_class_of_which_nothing_is_taken_or_can_be_used_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cat"
    photo(folder / "a.png")
    place = place_of("cat", "a")
    with pytest.raises(CapsynthError, match=r"class cat: dataset\.share .* none of its 1 images"):
        pack_shard(tmp_path, "cat-0", folder=folder, selection=taken(0, place))
    with pytest.raises(CapsynthError, match=r"eval_sets\.e: nothing is taken of class cat"):
        pack_set(tmp_path, ["cat"], folder=tmp_path, selection=taken(0, place))
    (folder / "a.png").write_text("broken")
    given = {"folder": folder, "max_rejected": 0.1}
    with pytest.raises(CapsynthError, match=r"class cat: none of its 1 images can be used: a\.png"):
        pack_shard(tmp_path, "cat-0", **given)
    assert not (tmp_path / "cat-0.tar").exists()
    # One of the parts may be empty, as long as another one has an image that can be used.
    other = next(key for key in "bcdefgh" if part_of(key, 2) != part_of("a", 2))
    (folder / f"{other}.png").write_text("broken")
    for part in range(2):
        with pytest.raises(CapsynthError, match="none of its 2 images can be used"):
            pack_shard(tmp_path, f"cat-{part}", **given, parts_per_class=2)
    photo(folder / f"{other}.png")
    packed = [pack_shard(tmp_path, f"cat-{part}", **given, parts_per_class=2) for part in range(2)]
    assert sorted(r.status for records in packed for r in records) == ["ok", "rejected"]


def test_what_is_not_read_of_a_class_folder_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.jfif", "b.jpe", "c.png", "more/d.png", "more/deep/e.jpg"):
        path = tmp_path / "cat" / name
        photo(path.with_suffix(".jpg"))
        path.with_suffix(".jpg").rename(path)
    for name in ("f.heic", "g.avif", "h.avif", ".DS_Store"):
        (tmp_path / "cat" / name).touch()
    (tmp_path / "cat/loop.avif").symlink_to("loop.avif")
    records = pack_shard(tmp_path, "cat-0", folder=tmp_path / "cat")
    assert [(r.key, r.status) for r in records] == [("a", "ok"), ("b", "ok"), ("c", "ok")]
    left = "3 .avif, 1 .heic, 1 subfolder with 2 images"
    assert f"cat: {left}; images lie in the folder itself" in caplog.text
    caplog.clear()
    pack_set(tmp_path, ["cat"], folder=tmp_path)
    assert left in caplog.text
    (tmp_path / "dog/images").mkdir(parents=True)
    photo(tmp_path / "dog/images/a.png")
    with pytest.raises(CapsynthError, match=r"holds no image .*, but 1 subfolder with 1 images;"):
        pack_shard(tmp_path, "dog-0", folder=tmp_path / "dog")


def test_images_whose_keys_would_meet_in_an_evaluation_set_are_all_packed(tmp_path: Path) -> None:
    root = tmp_path / "set"
    names = ["a/1.jpg", "a/a_1.jpg", "a/b_c.jpg", "a_b/c.jpg", "more/1.jpg", "more/x.jpg"]
    for shade, name in enumerate(names):
        photo(root / name, shade)
    (tmp_path / "map.csv").write_text("folder,class_id\na,a\nmore,a\na_b,a_b\n")
    given = {"folder": root, "class_map": tmp_path / "map.csv"}
    records = pack_set(tmp_path, ["a", "a_b"], **given)
    assert len({r.sha256 for r in records}) == len({r.key for r in records}) == len(names)
    assert {"a_1", "a_b_c", "a_x"} <= {r.key for r in records}
    # Keys do not depend on what is taken.
    some = pack_set(tmp_path, ["a", "a_b"], **given, selection=taken(n=1))
    assert {(r.key, r.sha256) for r in some} < {(r.key, r.sha256) for r in records}


def test_samples_are_numbered_by_the_data_set_although_the_set_has_fewer_classes(
    tmp_path: Path,
) -> None:
    for class_id in ("a", "b", "c", "other"):
        photo(tmp_path / "r" / class_id / "art_0.png")
    records = pack_set(tmp_path, ["a", "b", "c"], folder=tmp_path / "r", kept_class_ids=["b", "c"])
    # As in ImageNet-R, every class calls its first image the same.
    assert [(r.key, r.class_index) for r in records] == [("b_art_0", 1), ("c_art_0", 2)]


def test_folders_with_names_of_their_own_are_mapped_to_classes(tmp_path: Path) -> None:
    for name in ("alarm_clock", "banana", "tie_rack"):
        photo(tmp_path / "images" / name / f"{name}1.png")
    mapping = {"alarm_clock": ["analog", "digital"], "banana": "banana", "tie_rack": "rack"}
    (tmp_path / "map.json").write_text(json.dumps(mapping))
    records = pack_set(
        tmp_path,
        ["banana", "analog", "digital"],
        folder=tmp_path / "images",
        class_map=tmp_path / "map.json",
        kept_class_ids=["banana", "analog", "digital"],
    )
    assert [(r.key, r.class_id) for r in records] == [
        ("banana_banana1", "banana"),
        ("analog_alarm_clock1", "analog"),
    ]


def test_images_stored_corrupted_get_the_keys_of_those_corrupted_here(tmp_path: Path) -> None:
    for kind in ("gaussian_noise", "jpeg_compression"):
        for severity in (1, 5):
            for number in range(4):
                photo(
                    tmp_path / "c" / kind / str(severity) / "n1" / f"ILSVRC_{number}.JPEG", number
                )
    flags = {
        "folder": tmp_path / "c",
        "layout": "corruption-folders",
        "corruptions": ["gaussian-noise", "jpeg-compression"],
        "severities": [1, 5],
        "selection": taken(n=2),
    }
    records = pack_set(tmp_path, ["n1"], **flags)
    assert len(records) == 2 * 2 * 2
    # The same images of every corruption.
    kinds = {}
    for record in records:
        assert record.key.startswith(f"{record.source_key}.")
        kinds.setdefault(record.key.rsplit(".", 1)[1], set()).add(record.source_key)
    assert list(kinds) == [
        "gaussian-noise-1",
        "gaussian-noise-5",
        "jpeg-compression-1",
        "jpeg-compression-5",
    ]
    assert len({frozenset(keys) for keys in kinds.values()}) == 1
    with pytest.raises(CapsynthError, match="fog/1/n1 does not exist"):
        pack_set(tmp_path, ["n1"], **{**flags, "corruptions": ["fog"]})


def test_all_of_imagenet_c_is_made_of_one_image_with_any_number_of_processes(
    tmp_path: Path,
) -> None:
    for number in range(2):
        photo(tmp_path / "val" / "n1" / f"v_{number}.png", number, side=100)
    flags = {
        "folder": tmp_path / "val",
        "corruptions": list(IMAGENET_C),
        "severities": [5],
        "corruption_library": "imagecorruptions",
        "corruption_side": 64,
    }
    records = pack_set(tmp_path / "one", ["n1"], **flags)
    assert [r.key for r in records[:15]] == [f"n1_v_0.{name}-5" for name in IMAGENET_C]
    assert len({r.sha256 for r in records}) == 30
    with ShardReader(tmp_path / "one" / "e.tar") as reader:
        assert {reader.read_image(r).size for r in records} == {(64, 64)}
    pack_set(tmp_path / "two", ["n1"], **{**flags, "threads": 2})
    assert (tmp_path / "two" / "e.tar").read_bytes() == (tmp_path / "one" / "e.tar").read_bytes()


def test_an_image_too_small_for_the_library_is_named_with_what_to_do(tmp_path: Path) -> None:
    photo(tmp_path / "val" / "n1" / "v.png", side=31)
    with pytest.raises(CapsynthError, match=r"n1_v: 'fog'.*32 pixels or more, not 31x31"):
        pack_set(
            tmp_path,
            ["n1"],
            folder=tmp_path / "val",
            corruptions=["fog"],
            severities=[1],
            corruption_library="imagecorruptions",
        )


# ---- tars and Hugging Face ----------------------------------------------------------------------


def tar_of(path: Path, images: dict[str, tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for key, (label, data) in images.items():
            for name, content in ((f"{key}.png", data), (f"{key}.cls", label.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (shade, 2 * shade, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def as_tars(tmp_path: Path) -> str:
    (tmp_path / "tars").mkdir()
    images = {f"k{i}": (("bat", "car")[i % 2], png(i)) for i in range(6)}
    tar_of(tmp_path / "tars" / "0.tar", images)
    return source_json(tmp_path / "tars", "webdataset")


def as_hub_data_set(tmp_path: Path) -> str:
    import datasets

    columns = {"image": [{"bytes": png(i), "path": f"k{i}.png"} for i in range(6)]}
    columns["label"] = [i % 2 for i in range(6)]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["bat", "car"])}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.save_to_disk(str(tmp_path / "hub"))
    columns_of = {"split": "train", "image_column": "image", "label_column": "label"}
    return source_json(tmp_path / "hub", "huggingface", **columns_of)


@pytest.mark.parametrize("make", [as_tars, as_hub_data_set])
def test_large_files_are_indexed_once_and_packed_at_random(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    source = make(tmp_path)
    index_source.main(
        words(source=source, class_ids=["bat", "car"], source_token="t", output=tmp_path / "i")
    )
    records = pack_shard(tmp_path, "car-0", rows=tmp_path / "i" / "car.jsonl", source=source)
    assert [(r.key[:2], r.index) for r in records] == [("k1", 0), ("k3", 1), ("k5", 2)]
    with ShardReader(tmp_path / "car-0.tar") as reader:
        assert [reader.read_bytes(r) for r in records] == [png(1), png(3), png(5)]


@pytest.mark.parametrize("make", [as_tars, as_hub_data_set])
def test_large_files_make_evaluation_sets_too(tmp_path: Path, make: Callable[[Path], str]) -> None:
    source = make(tmp_path)
    records = pack_set(tmp_path, ["bat", "car"], source=source, kept_class_ids=["car"])
    assert [(r.key[:6], r.class_index) for r in records] == [
        ("car_k1", 1),
        ("car_k3", 1),
        ("car_k5", 1),
    ]
    few = pack_set(tmp_path, ["bat", "car"], source=source, selection=taken(n=1))
    assert [r.class_id for r in few] == ["bat", "car"]


def test_the_shards_of_this_project_are_a_source(tmp_path: Path) -> None:
    for number, class_id in enumerate(("bat", "car")):
        photo(tmp_path / "src" / class_id / f"{class_id}_1.png", number)
        pack_shard(
            tmp_path / "tars",
            f"{class_id}-0",
            folder=tmp_path / "src" / class_id,
            class_index=number,
        )
    source = source_json(tmp_path / "tars", "webdataset")
    records = pack_set(tmp_path, ["bat", "car"], source=source)
    assert [(r.key, r.class_id) for r in records] == [("bat_1", "bat"), ("car_1", "car")]


def test_few_images_are_in_memory_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        photo(tmp_path / "val" / "n1" / f"v_{number}.png", number)
    events: list[str] = []
    read, corrupt = packing.stored_bytes, packing._corrupt_sample
    monkeypatch.setattr(packing, "stored_bytes", lambda *args: events.append("read") or read(*args))
    monkeypatch.setattr(
        packing, "_corrupt_sample", lambda *args: events.append("corrupt") or corrupt(*args)
    )
    pack_set(tmp_path, ["n1"], folder=tmp_path / "val", corruptions=["contrast"], severities=[1])
    assert events == ["read", "corrupt"] * 6


def test_rows_without_their_source_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        pack_shard(tmp_path, "bat-0", rows=tmp_path / "bat.jsonl")
