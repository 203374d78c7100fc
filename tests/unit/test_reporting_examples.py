from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.predictions import write_predictions
from capsynth.reporting import examples
from capsynth.shards import Sample, ShardRecord, encode_image, write_shard

CLASS_IDS = ("bat", "car")


def write_run(
    folder: Path, training_set: str, seed: int, of_bat: dict[str, float], eval_set: str = "val"
) -> Path:
    """Write a run that gives each image, all of them bats, so much probability of a bat."""
    path = folder / f"{training_set}-{seed}-{eval_set}.parquet"
    p = np.array(list(of_bat.values()), dtype=np.float32)
    write_predictions(
        path, keys=list(of_bat), targets=np.zeros(len(p), dtype=np.int64),
        probabilities=np.stack([p, 1 - p], axis=1), class_ids=CLASS_IDS, dataset="toy",
        training_set=training_set, recipe="tiny", seed=seed, eval_set=eval_set, fingerprint="f",
    )  # fmt: skip
    return path


def write_runs(folder: Path) -> list[Path]:
    """Four images: the first training set gains on two and loses on one."""
    return [
        write_run(folder, "a", 0, {"w": 0.9, "x": 0.9, "y": 0.2, "z": 0.5}),
        write_run(folder, "a", 1, {"z": 0.5, "y": 0.4, "x": 0.7, "w": 0.9}),
        write_run(folder, "b", 0, {"w": 0.1, "x": 0.7, "y": 0.9, "z": 0.5}),
        write_run(folder, "b", 1, {"w": 0.7, "x": 0.7, "y": 0.7, "z": 0.5}),
        write_run(folder, "b", 2, {"w": 0.0, "x": 0.0, "y": 0.0, "z": 0.0}),
        write_run(folder, "other", 0, {"w": 0.9}),
    ]


def test_gains_are_means_over_the_seeds_of_both(tmp_path: Path) -> None:
    found = examples.find_examples(write_runs(tmp_path), ("a", "b"), ["val"], 10)
    gains = {example.key: example.gain for example in found}
    assert gains == pytest.approx({"w": 0.5, "x": 0.1, "y": -0.5}, abs=1e-6)
    assert list(gains) == ["w", "x", "y"]
    assert found[0].second.said == (("bat", 1), ("car", 1))
    assert found[2].first.said == (("car", 2),)
    assert found[2].first.probability == pytest.approx(0.3)


def test_half_of_the_images_are_gains_and_every_set_has_its_share(tmp_path: Path) -> None:
    paths = write_runs(tmp_path)
    paths += [
        write_run(tmp_path, "a", 0, {"p": 0.9, "q": 0.8, "r": 0.1}, "r"),
        write_run(tmp_path, "b", 0, {"p": 0.1, "q": 0.1, "r": 0.9}, "r"),
    ]
    found = examples.find_examples(paths, ("a", "b"), ["val", "r"], 5)
    assert [(e.eval_set, e.key) for e in found] == [
        ("r", "p"), ("val", "w"), ("val", "y"), ("r", "r"),
    ]  # fmt: skip


def test_of_corrupted_versions_the_most_extreme_are_taken(tmp_path: Path) -> None:
    keys = ["x.jpeg-1", "x.jpeg-5", "x.contrast-1", "y.jpeg-1"]
    paths = [
        write_run(tmp_path, "a", 0, dict(zip(keys, (0.9, 0.8, 0.1, 0.6), strict=True))),
        write_run(tmp_path, "b", 0, dict(zip(keys, (0.5, 0.5, 0.5, 0.5), strict=True))),
    ]
    found = examples.find_examples(paths, ("a", "b"), ["val"], 10)
    assert [e.key for e in found] == ["x.jpeg-1", "y.jpeg-1", "x.contrast-1"]


def test_runs_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    paths = write_runs(tmp_path)
    with pytest.raises(CapsynthError, match="no seed in common on 'val'"):
        examples.find_examples(paths, ("a", "other-name"), ["val"], 10)
    with pytest.raises(CapsynthError, match="answer different samples of 'val'"):
        examples.find_examples(paths, ("a", "other"), ["val"], 10)


def write_eval_set(folder: Path, keys: list[str], side: int) -> tuple[Path, Path]:
    samples = [
        Sample(
            ShardRecord(key, "bat", 0, i, "ok", "f", "png"),
            encode_image(
                Image.fromarray(
                    np.random.default_rng(i).integers(0, 255, (side, side, 3), dtype=np.uint8)
                ),
                "png",
            ),
        )
        for i, key in enumerate(keys)
    ]
    write_shard(folder / "val.tar", folder / "val.jsonl", samples)
    return folder / "val.tar", folder / "val.jsonl"


def test_the_page_stays_below_two_megabytes_whatever_the_images(tmp_path: Path) -> None:
    keys = [f"bat_{i:06d}" for i in range(200)]
    paths = [
        write_run(tmp_path, "a", 0, {key: 0.9 if i % 2 else 0.1 for i, key in enumerate(keys)}),
        write_run(tmp_path, "b", 0, dict.fromkeys(keys, 0.5)),
    ]
    eval_sets = {"val": write_eval_set(tmp_path, keys, side=300)}
    for name in ("one.html", "two.html"):
        examples.make_examples(paths, eval_sets, ("a", "b"), 160, tmp_path / name)
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert text.count("<img") == 160
    assert len(text) < 2_000_000
    assert text == (tmp_path / "two.html").read_text(encoding="utf-8")


def test_a_page_needs_its_images(tmp_path: Path) -> None:
    paths, eval_sets = write_runs(tmp_path), {"val": write_eval_set(tmp_path, ["w", "x"], 8)}
    with pytest.raises(CapsynthError, match=r"'y' is not in .*val\.jsonl"):
        examples.make_examples(paths, eval_sets, ("a", "b"), 10, tmp_path / "x.html")


def test_training_sets_that_do_not_differ_give_an_empty_page(tmp_path: Path) -> None:
    same = [write_run(tmp_path, name, 0, {"w": 0.5}) for name in ("a", "b")]
    eval_sets = {"val": write_eval_set(tmp_path, ["w"], 8)}
    examples.make_examples(same, eval_sets, ("a", "b"), 10, tmp_path / "x.html")
    assert "<tr data-" not in (tmp_path / "x.html").read_text(encoding="utf-8")
