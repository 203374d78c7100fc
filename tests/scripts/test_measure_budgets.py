"""Images, steps and epochs of trainings, from their histories."""

import csv
from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.files import write_json
from capsynth.shards import OK, Sample, ShardRecord, read_manifest, take_fraction, write_shard
from measure_budgets import main

CLASSES = ["bat", "car"]


def write_history(folder: Path, training_set: str, seed: int, images: int, steps: int) -> Path:
    path = folder / training_set / f"seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"images": images, "steps": steps, "seed": seed, "epochs": []})
    return path


def write_manifests(folder: Path, images: int) -> Path:
    """Write shards of two classes of so many images, of which one more was set aside."""
    folder.mkdir()
    for index, class_id in enumerate(CLASSES):
        samples = [
            Sample(
                ShardRecord(f"{class_id}_{i:06d}", class_id, index, i, OK if i else "rejected", "f",
                            extension="png", reason=None if i else "no image"),
                b"image" if i else None,
            )
            for i in range(images + 1)
        ]  # fmt: skip
        write_shard(folder / f"{class_id}-0.tar", folder / f"{class_id}-0.jsonl", samples)
    return folder


def measure(tmp_path: Path, *arguments: object) -> list[dict[str, str]]:
    output = tmp_path / "budgets.csv"
    main(["--dataset", "toy", "--class-ids", *CLASSES, *map(str, arguments), "--output",
          str(output)])  # fmt: skip
    return list(csv.DictReader(output.open()))


def test_images_and_steps_are_those_of_the_history_and_synthetic_ones_stand_apart(
    tmp_path: Path,
) -> None:
    drawn = write_manifests(tmp_path / "drawn", 50)
    history = write_history(tmp_path, "mixed", 3, 80 + 100, 60)
    alone = write_history(tmp_path, "real", 3, 80, 30)
    synthetic = write_history(tmp_path, "drawn-only", 3, 100, 40)
    rows = measure(
        tmp_path, "--real", "mixed", "real", "--synthetic", "mixed", drawn, 1.0,
        "--synthetic", "drawn-only", drawn, 1.0, "--training", "real", "tiny", 8, alone,
        "--training", "mixed", "tiny", 8, history,
        "--training", "drawn-only", "tiny", 8, synthetic,
    )  # fmt: skip
    names = ("training_set", "seed", "real_images", "synthetic_images", "steps", "epochs")
    assert [[row[name] for name in names] for row in rows] == [
        # 80 images in batches of 8: 10 steps an epoch. 180: 23, the last of 4 images.
        ["real", "3", "80", "0", "30", "3.0"],
        ["mixed", "3", "80", "100", "60", repr(round(60 / 23, 6))],
        ["drawn-only", "3", "0", "100", "40", repr(round(40 / 13, 6))],
    ]


def test_a_share_of_a_variant_is_counted_as_it_is_trained_on(tmp_path: Path) -> None:
    drawn = write_manifests(tmp_path / "drawn", 50)
    records = [r for name in CLASSES for r in read_manifest(drawn / f"{name}-0.jsonl")]
    kept = len(take_fraction([r for r in records if r.status == OK], 0.25))
    assert 0 < kept < 100
    history = write_history(tmp_path, "mixed", 0, 80 + kept, 60)
    (row,) = measure(tmp_path, "--real", "mixed", "--synthetic", "mixed", drawn, 0.25,
                     "--training", "mixed", "tiny", 8, history)  # fmt: skip
    assert (row["real_images"], row["synthetic_images"]) == ("80", str(kept))


def test_fewer_images_than_the_manifests_have_are_refused(tmp_path: Path) -> None:
    drawn = write_manifests(tmp_path / "drawn", 50)
    history = write_history(tmp_path, "mixed", 0, 90, 60)
    with pytest.raises(CapsynthError, match="100 synthetic ones alone; run train_classifier"):
        measure(tmp_path, "--real", "mixed", "--synthetic", "mixed", drawn, 1.0,
                "--training", "mixed", "tiny", 8, history)  # fmt: skip


def test_a_history_without_steps_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seed0.json"
    write_json(path, {"images": 80})
    with pytest.raises(CapsynthError, match=r"seed0\.json cannot be understood"):
        measure(tmp_path, "--real", "real", "--training", "real", "tiny", 8, path)
