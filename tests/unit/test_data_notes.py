"""Notes on the images behind scores: classes without one, and images that were trained on."""

from pathlib import Path

import pytest

from capsynth.files import write_json_lines
from capsynth.reporting.data_notes import Images, data_notes

CLASS_IDS = ("bat", "car")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two real images of bat, of which half a share leaves none of car's one; a drawn bat."""
    keys = {"real/bat-0": ["k0", "k5"], "real/car-0": ["k1"], "drawn/bat-0": ["k0"]}
    for name, its_keys in (keys | {"drawn/car-0": []}).items():
        write_manifest(tmp_path / f"{name}.jsonl", its_keys, name)
    return tmp_path


def write_manifest(path: Path, keys: list[str], salt: str) -> Path:
    about = {"class_id": "bat", "class_index": 0, "index": 0, "status": "ok", "fingerprint": "f"}
    about |= {"extension": "png", "offset": 512, "size": 1}
    write_json_lines(path, ({**about, "key": key, "sha256": f"{salt}/{key}"} for key in keys))
    return path


def test_a_class_without_a_training_image_and_known_images_are_told(folder: Path) -> None:
    real, drawn = folder / "real", folder / "drawn"
    mixes = {"real": {real: 1.0}, "some": {real: 0.0001}, "drawn": {drawn: 1.0, real: 0.0001}}
    val = write_manifest(folder / "val.jsonl", ["k0", "k1"], "real/bat-0")
    new = write_manifest(folder / "new.jsonl", ["k0", "k1"], "new")
    notes = data_notes(Images(CLASS_IDS, 1, mixes, real), {"val": val, "new": new})
    assert [note.split(":")[0] for note in notes] == [
        "Training set some has no image of classes bat, car",
        "Training set drawn has no image of class car",
        "Of the 2 images of val, 1 are real images of the data set too, byte for byte",
    ]


def test_of_images_that_are_only_captioned_the_known_ones_are_told_too(folder: Path) -> None:
    val = write_manifest(folder / "val.jsonl", ["k1"], "real/car-0")
    images = Images(CLASS_IDS, 1, {"drawn": {folder / "drawn": 1.0}}, folder / "real")
    assert len(data_notes(images, {"val": val})) == 2
    assert data_notes(Images(CLASS_IDS, 1, {}, None), {"val": val}) == []
