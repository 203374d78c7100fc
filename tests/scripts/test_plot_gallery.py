from pathlib import Path

import pytest
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.files import write_json_lines
from capsynth.shards import Sample, ShardRecord, encode_image, write_shard
from plot_gallery import main


def write_shards(folder: Path) -> list[tuple[str, str]]:
    """Write a shard of two images for each of two classes; return tars and manifests."""
    paths = []
    for class_index, class_id in enumerate(("bat", "car")):
        samples = [
            Sample(
                ShardRecord(f"{class_id}_{i}", class_id, class_index, i, "ok", "f", "png"),
                encode_image(Image.new("RGB", (8, 8), (40 * i, 0, 0)), "png"),
            )
            for i in range(2)
        ]
        tar, manifest = folder / f"{class_id}-0.tar", folder / f"{class_id}-0.jsonl"
        write_shard(tar, manifest, samples)
        paths.append((str(tar), str(manifest)))
    return paths


def arguments(tmp_path: Path) -> list[str]:
    captions = tmp_path / "captions.jsonl"
    write_json_lines(
        captions,
        [
            {"key": f"bat_{i}", "class_id": "bat", "caption": f"a bat {i}", "status": "ok"}
            for i in range(2)
        ],
    )
    args = ["--captions", str(captions), "--output", str(tmp_path / "gallery.html")]
    for shard in write_shards(tmp_path):
        args += [
            "--real",
            *shard,
            "--variant",
            "class-name",
            *shard,
            "--variant",
            "caption",
            *shard,
        ]
    return [*args, "--columns", "class-name", "caption"]


def test_many_shards_make_one_page_and_one_strip(tmp_path: Path) -> None:
    strip = tmp_path / "senses.png"
    main([*arguments(tmp_path), "--ambiguous", "bat", "--strip", str(strip)])
    text = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    assert text.count("<tr data-class=") == 4
    assert "a bat 1" in text
    assert strip.read_bytes()[:4] == b"\x89PNG"


def test_a_variant_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="unknown variant in --columns 'captoin'"):
        main([*arguments(tmp_path), "--columns", "captoin"])
