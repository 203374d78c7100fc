import hashlib
import io
import itertools
import json
import os
import subprocess
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
import yaml
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.exporting import (
    ExportSettings,
    ShardSources,
    export_variant,
    front_matter,
    size_class,
)
from capsynth.files import read_json_lines, write_json, write_json_lines
from capsynth.shards import Sample, ShardRecord, encode_image, write_shard
from capsynth.source_images import is_bare, without_metadata
from export_variant import main

CLASSES = (("zebra.1", "zebra"), ("bat", "bat | `animal`"))
IMAGES = 7


def settings(tmp_path: Path, **changes: Any) -> ExportSettings:
    """Settings of an export whose models lie in ``tmp_path``, which is to be told nowhere."""
    (tmp_path / "sd").mkdir(exist_ok=True)
    write_json(
        tmp_path / "hub/blip.json", {"revision": "0123abc", "license": "bsd-3-clause", "files": {}}
    )
    values = ExportSettings(
        dataset="photos",
        variant="caption",
        source="folder",
        classes=CLASSES,
        prompts={
            "strategy": "caption",
            "templates": ["a photo of a {class_name}, {caption}"],
            "backgrounds": [],
            "images_per_class": None,
            "images_per_caption": 1.0,
            "on_classless": "keep",
            "seed": 3,
        },
        generator={"guidance_scale": 2.0, "safety_checker": "drop", "safety_retries": 2},
        models=(
            {
                "role": "generator",
                "name": "sd",
                "mark": "feed",
                "path": str(tmp_path / "sd"),
                "settings": {"guidance_scale": 2.0, "negative_prompt": None},
            },
            {
                "role": "captioner",
                "name": "salesforce/blip",
                "mark": None,
                "path": str(tmp_path / "hub/blip"),
                "settings": {"num_beams": 1},
            },
        ),
        images_per_shard=4,
        license=None,
        attribution=None,
    )
    return replace(values, **changes)


def picture(seed: int, **how: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    if not how:
        return encode_image(Image.fromarray(pixels), "png")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **how)
    return buffer.getvalue()


def write_variant(folder: Path, images: dict[int, bytes] | None = None) -> list[ShardSources]:
    """Write a shard of seven samples for each class; the third is rejected."""
    shards = []
    for class_index, (class_id, _) in enumerate(CLASSES):
        samples = []
        for i in range(IMAGES):
            ok = i != 2
            record = ShardRecord(
                f"{class_id}_{i:06d}", class_id, class_index, i, "ok" if ok else "rejected", "f",
                "png" if ok else None, source_key=f"{class_id}_{i:06d}", seed=i,
                prompt=f"a photo of a {class_id}, number {i}", reason=None if ok else "flagged",
            )  # fmt: skip
            data = (images or {}).get(i) or picture(IMAGES * class_index + i)
            samples.append(Sample(record, data if ok else None))
        shard = ShardSources(*(folder / f"{class_id}-0.{s}" for s in ("tar", "jsonl", "prompts")))
        write_shard(shard.tar, shard.manifest, samples)
        rows = [{"key": s.record.key, "status": "fallback" if s.record.index == 0 else "ok"}
                for s in samples]  # fmt: skip
        write_json_lines(shard.prompts, rows)
        shards.append(shard)
    return shards


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "export" / "photos-caption"
    counts = export_variant(settings(tmp_path), write_variant(tmp_path), folder)
    assert counts == {"prompts": 14, "images": 12, "rejected": 2, "tars": 3}
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_datasets_loads_the_folder_and_every_image_in_it(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    loaded = datasets.load_dataset(str(exported), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 12
    keys = {row["json"]["key"] for row in loaded}
    assert keys == {f"{c}_{i:06d}" for c, _ in CLASSES for i in range(IMAGES) if i != 2}
    for row in loaded:
        class_id, class_name = CLASSES[row["cls"]]
        assert (row["json"]["class_id"], row["json"]["class_name"]) == (class_id, class_name)
        expected = picture(IMAGES * row["cls"] + row["json"]["seed"])
        assert np.array_equal(row["png"], Image.open(io.BytesIO(expected)))
    table = datasets.load_dataset(
        "parquet", data_files=str(exported / "manifest.parquet"), split="train",
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    assert len(table) == 14


def test_webdataset_loads_every_tar(exported: Path) -> None:
    tars = [str(path) for path in sorted(exported.glob("data/*.tar"))]
    assert [Path(tar).name for tar in tars] == [f"train-0000{i}.tar" for i in range(3)]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pil"))
    assert len(samples) == 12
    for sample in samples:
        assert sample["png"].size == (8, 8)
        assert sample["json"]["key"].replace(".", "_") == sample["__key__"]
        assert CLASSES[sample["cls"]][0] == sample["json"]["class_id"]


def test_the_manifest_has_every_sample_and_says_where_it_is(exported: Path) -> None:
    rows = pq.read_table(exported / "manifest.parquet").to_pylist()
    assert [row["key"] for row in rows] == [f"{c}_{i:06d}" for c, _ in CLASSES for i in range(7)]
    assert [row["key"] for row in rows if row["status"] != "ok"] == [
        "zebra.1_000002", "bat_000002",
    ]  # fmt: skip
    assert {row["reason"] for row in rows} == {None, "flagged"}
    for row in (row for row in rows if row["status"] == "ok"):
        with tarfile.open(exported / row["tar"]) as tar:
            image = tar.extractfile(f"{row['key'].replace('.', '_')}.png")
            assert image is not None
            assert hashlib.sha256(image.read()).hexdigest() == row["sha256"]
        assert json.loads(row["generator_settings"])["guidance_scale"] == 2.0
        assert row["prompt_status"] == ("fallback" if row["index"] == 0 else "ok")


def test_classes_are_mixed_over_the_tars(exported: Path) -> None:
    tars = [str(path) for path in sorted(exported.glob("data/*.tar"))]
    labels = [int(s["cls"]) for s in webdataset.WebDataset(tars, shardshuffle=False)]
    changes = sum(a != b for a, b in itertools.pairwise(labels))
    assert changes > 2


def test_checksums_hold_for_every_file(exported: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=exported, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    named = {line.split("  ")[1] for line in (exported / "SHA256SUMS").read_text().splitlines()}
    assert named == contents(exported).keys() - {"SHA256SUMS"}


def test_the_same_variant_is_the_same_bytes_and_takes_the_place_of_the_old(
    exported: Path, tmp_path: Path
) -> None:
    before = contents(exported)
    (exported / "data/train-00009.tar").touch()
    shards = write_variant(tmp_path / "elsewhere")[::-1]
    export_variant(settings(tmp_path), shards, exported)
    assert contents(exported) == before
    assert os.listdir(exported.parent) == [exported.name]


def test_nothing_tells_of_the_machine(exported: Path, tmp_path: Path) -> None:
    files = contents(exported)
    told = [name for name, data in files.items() if str(tmp_path).encode() in data]
    assert told == []
    with tarfile.open(exported / "data/train-00000.tar") as tar:
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in tar} == {(0, 0, "", "", 0)}


def test_the_card_says_what_made_the_images(exported: Path, tmp_path: Path) -> None:
    card = (exported / "README.md").read_text()
    about = front_matter(exported / "README.md")
    assert about["license"] == "unknown"
    assert about["size_categories"] == ["n<1K"]
    assert "| captioner | `salesforce/blip` | 0123abc | bsd-3-clause |" in card
    assert "| generator | `sd` | local, weights feed | not stated |" in card
    assert "`a photo of a {class_name}, {caption}`" in card
    assert "Generation seed 3" in card
    assert "Safety checker: drop" in card
    assert "| rejected: `flagged` | 2 |" in card
    assert "| 0 | `zebra.1` | `zebra` | 6 |" in card
    assert "| 1 | `bat` | `` bat \\| `animal` `` | 6 |" in card
    assert "No licence was stated" in card


def test_the_licence_is_the_configured_one_or_openmojis(tmp_path: Path) -> None:
    shards = write_variant(tmp_path)
    for changes, licence, said in [
        ({"license": "cc0-1.0", "attribution": "By A. Person."}, "cc0-1.0", "By A. Person."),
        ({"source": "openmoji"}, "cc-by-sa-4.0", "all emojis designed by OpenMoji"),
    ]:
        export_variant(settings(tmp_path, **changes), shards, tmp_path / "out")
        assert front_matter(tmp_path / "out/README.md")["license"] == licence
        assert said in (tmp_path / "out/README.md").read_text()


def test_a_model_in_a_folder_has_the_licence_of_its_card(tmp_path: Path) -> None:
    its_settings = settings(tmp_path)
    (tmp_path / "sd/README.md").write_text("---\nlicense: openrail\n---\n# A model\n---\n")
    export_variant(its_settings, write_variant(tmp_path), tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "| generator | `sd` | local, weights feed | openrail |" in card


EXIF = Image.Exif()
EXIF[0x013B] = "A. Photographer"


@pytest.mark.parametrize("how", [{"format": "JPEG", "exif": EXIF}, {"format": "PNG", "exif": EXIF}])
def test_an_image_with_metadata_is_refused_and_nothing_is_left(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    shards = write_variant(tmp_path, {5: picture(0, **how)})
    with pytest.raises(CapsynthError, match=r"_000005' carries metadata"):
        export_variant(settings(tmp_path), shards, tmp_path / "export/out")
    assert os.listdir(tmp_path / "export") == []


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def png_with(*chunks: bytes, behind: bytes = b"") -> bytes:
    """The picture with chunks behind its header, and bytes behind its compressed pixels."""
    data = picture(0)
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    pixels = chunk(b"IDAT", data[start + 8 : end - 4] + behind)
    return data[:33] + b"".join(chunks) + pixels + data[end:]


def jpeg_with(*segments: tuple[int, bytes], jfif: bool = True) -> bytes:
    """The picture with segments at its beginning."""
    data = picture(0, format="JPEG")
    made = (bytes([0xFF, m]) + (2 + len(c)).to_bytes(2, "big") + c for m, c in segments)
    return data[:2] + (data[2:20] if jfif else b"") + b"".join(made) + data[20:]


SECRET = b"A. Photographer"
PHYS = chunk(b"pHYs", bytes(9))


@pytest.mark.parametrize(
    "data",
    {
        "JFIF preview": jpeg_with((0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\2" + SECRET[:12]), jfif=False),
        "JFIF too long": jpeg_with((0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0" + SECRET), jfif=False),
        "JFXX preview": jpeg_with((0xE0, b"JFXX\0\x10" + picture(1, format="JPEG", exif=EXIF))),
        "a second JFIF": jpeg_with((0xE0, b"JFIF\0\1\1" + SECRET[:7])),
        "ICC": jpeg_with((0xE2, b"ICC_PROFILE\0\1\1" + SECRET)),
        "Adobe too long": jpeg_with((0xEE, b"Adobe" + bytes(7) + SECRET)),
        "comment": jpeg_with((0xFE, SECRET)),
        "an unknown segment": jpeg_with((0xE5, SECRET)),
        "behind the end": picture(0, format="JPEG") + SECRET,
        "PNG, ICC": png_with(chunk(b"iCCP", b"P\0\0" + zlib.compress(SECRET))),
        "PNG, two pHYs": png_with(PHYS, chunk(b"pHYs", SECRET[:9])),
        "PNG, pHYs too long": png_with(chunk(b"pHYs", SECRET)),
        "PNG, behind the stream": png_with(behind=SECRET),
        "PNG, a chunk behind the stream": png_with().replace(
            chunk(b"IEND", b""), chunk(b"IDAT", SECRET) + chunk(b"IEND", b"")
        ),
        "PNG, palette": png_with(chunk(b"PLTE", SECRET)),
        "PNG, an unknown chunk": png_with(chunk(b"seCr", SECRET)),
        "PNG, text in its end": picture(0)[:-12] + chunk(b"IEND", SECRET),
    }.values(),
)
def test_nothing_hides_in_an_image_that_is_exported(data: bytes) -> None:
    assert Image.open(io.BytesIO(data)).convert("RGB").size == (8, 8)
    assert not is_bare(data)
    try:
        bare = without_metadata(data)
    except ValueError:
        return  # packing encodes it anew
    assert is_bare(bare)
    assert SECRET[:7] not in bare
    assert np.array_equal(Image.open(io.BytesIO(bare)), Image.open(io.BytesIO(data)))


def test_what_is_drawn_and_what_only_says_how_colours_are_stored_is_bare() -> None:
    adobe = (0xEE, b"Adobe" + bytes([0, 100, 0, 0, 0, 0, 1]))
    exif = jpeg_with((0xE1, b"Exif\0\0"), (0xE0, picture(0, format="JPEG")[6:20]), jfif=False)
    assert without_metadata(exif) == picture(0, format="JPEG")
    for data in (picture(0), picture(0, format="JPEG"), jpeg_with(adobe), png_with(PHYS),
                 picture(0, format="JPEG", progressive=True)):  # fmt: skip
        assert is_bare(data)


def test_an_image_that_is_not_its_manifests_is_refused(tmp_path: Path) -> None:
    shards = write_variant(tmp_path)
    rows = read_json_lines(shards[0].manifest)
    rows[0]["sha256"] = "0" * 64
    write_json_lines(shards[0].manifest, rows)
    with pytest.raises(CapsynthError, match="is not what its manifest says"):
        export_variant(settings(tmp_path), shards, tmp_path / "out")


def test_classes_in_another_order_than_the_images_were_made_with_are_refused(
    tmp_path: Path,
) -> None:
    changed, shards = settings(tmp_path, classes=CLASSES[::-1]), write_variant(tmp_path)
    with pytest.raises(CapsynthError, match="has the class index 0, which is not that of"):
        export_variant(changed, shards, tmp_path / "out")


def test_a_variant_without_images_is_refused(tmp_path: Path) -> None:
    shards = write_variant(tmp_path)
    for shard in shards:
        rows = [row for row in read_json_lines(shard.manifest) if row["status"] == "rejected"]
        write_json_lines(shard.manifest, rows)
    with pytest.raises(CapsynthError, match="has no usable image"):
        export_variant(settings(tmp_path), shards, tmp_path / "out")


def test_the_script_takes_what_the_library_takes(exported: Path, tmp_path: Path) -> None:
    from dataclasses import asdict

    arguments = tmp_path / "arguments.txt"
    its_settings = json.dumps(asdict(settings(tmp_path, classes=())))
    words = []
    for class_id, class_name in CLASSES:
        words += ["--class", class_id, class_name]
    for shard in write_variant(tmp_path):
        words += ["--shard", str(shard.tar), str(shard.manifest), str(shard.prompts)]
    arguments.write_text("".join(f"{word}\n" for word in words))
    main(["--settings", its_settings, f"@{arguments}", "--output", str(tmp_path / "again")])
    assert contents(tmp_path / "again") == contents(exported)


@pytest.mark.parametrize(
    ("n", "name"), [(999, "n<1K"), (1000, "1K<n<10K"), (1_281_167, "1M<n<10M")]
)
def test_sizes_have_the_hubs_names(n: int, name: str) -> None:
    assert size_class(n) == name


def test_front_matter_is_read_as_yaml(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    assert front_matter(card) == {}
    card.write_text("# no front matter\n---\n")
    assert front_matter(card) == {}
    card.write_text(f"---\n{yaml.safe_dump({'license': 'mit'})}---\ntext\n")
    assert front_matter(card) == {"license": "mit"}
