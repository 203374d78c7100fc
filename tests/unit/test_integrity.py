"""A result is compared with what its job wrote, by whoever reads it."""

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from folders import write_index
from PIL import Image

from capsynth import cli
from capsynth.classifiers import ClassifierCard, build_classifier, load_classifier, save_classifier
from capsynth.datasets import tars
from capsynth.datasets.drawn import check_drawn
from capsynth.datasets.folder import source_token
from capsynth.datasets.images import ShardedImages
from capsynth.datasets.openmoji.folders import render_folders
from capsynth.datasets.rows import SourceSettings
from capsynth.datasets.sources import class_digests, index_source, index_token
from capsynth.errors import CapsynthError
from capsynth.files import (
    atomic_path,
    read_json,
    read_json_lines,
    record_published,
    write_json,
    write_json_lines,
    write_recorded,
    write_text,
)
from capsynth.fingerprints import file_digest
from capsynth.integrity import Damaged, check_size, find_record, record_path
from capsynth.predictions import read_predictions, write_predictions
from capsynth.records import read_records, write_records
from capsynth.shards import OK, Sample, ShardReader, ShardRecord, read_manifest, write_shard
from capsynth.transforms import Preprocessing

SAID = "is not what stage wrote: damaged, cut or exchanged since; delete it and run"


@dataclass(frozen=True, order=True)
class Row:
    """A row of a CSV file."""

    name: str
    value: float


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flip(path: Path, place: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def write_three_rows(path: Path) -> None:
    write_json_lines(path, [{"key": "a"}, {"key": "b"}, {"key": "c"}])


def write_toy_predictions(path: Path) -> None:
    write_predictions(
        path,
        keys=["a", "b"],
        targets=np.array([0, 1]),
        probabilities=np.array([[0.75, 0.25], [0.5, 0.5]]),
        class_ids=["car", "bat"],
        dataset="toy",
        training_set="real",
        recipe="tiny",
        seed=0,
        eval_set="val",
        fingerprint="f",
    )


KINDS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "rows.jsonl": (write_three_rows, read_json_lines),
    "value.json": (lambda path: write_json(path, {"a": [1, 2, 3]}), read_json),
    "table.csv": (
        lambda path: write_records(path, Row, [Row("a", 1.0), Row("b", 2.0)]),
        lambda path: read_records(path, Row, "stage"),
    ),
    "answers.parquet": (write_toy_predictions, read_predictions),
}
DAMAGES: dict[str, Callable[[Path], None]] = {
    "a bit": flip,
    "cut": lambda path: os.truncate(path, path.read_bytes()[:-1].rfind(b"\n") + 1),
    "empty": lambda path: os.truncate(path, 0),
    "another": lambda path: path.write_bytes(Path("results/other").read_bytes()) and None,
}


@pytest.mark.parametrize(("name", "damage"), [*itertools.product(KINDS, DAMAGES)])
def test_a_damaged_result_is_refused_by_its_name(name: str, damage: str) -> None:
    write, read = KINDS[name]
    path = Path("results/toy") / name
    write(path)
    record_published("stage")
    whole = read(path)
    Path("results/other").write_bytes(path.read_bytes().replace(b"2", b"4") + b"\n")
    DAMAGES[damage](path)
    with pytest.raises(Damaged, match=SAID) as told:
        read(path)
    assert str(told.value).startswith(f"{path} ")
    # Made again it is read again.
    write(path)
    record_published("stage")
    assert repr(read(path)) == repr(whole)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_nobody_recorded_is_read_as_it_is(name: str) -> None:
    write, read = KINDS[name]
    for folder in ("results/toy", "mine"):
        write(Path(folder) / name)
        read(Path(folder) / name)
    assert not Path("results/provenance").exists()


def test_a_damaged_record_stops_nobody() -> None:
    path = Path("results/rows.jsonl")
    write_three_rows(path)
    record_published("stage")
    record = record_path(path)
    assert record is not None
    whole = record.read_bytes()
    for place in range(len(whole)):
        record.write_bytes(whole)
        flip(record, place)
        assert len(read_json_lines(path)) == 3
    for size in range(len(whole)):
        record.write_bytes(whole[:size])
        assert len(read_json_lines(path)) == 3


def test_what_takes_the_place_of_a_result_has_not_its_record() -> None:
    path = Path("results/rows.jsonl")
    write_three_rows(path)
    record_published("stage")
    assert find_record(path) is not None
    write_text(path, '{"key": "d"}\n')  # of a job that was killed before it ended
    assert find_record(path) is None
    assert read_json_lines(path) == [{"key": "d"}]


def test_only_results_have_records(here: Path) -> None:
    has = ("results/a.csv", "results/x/real/car-0.tar", "results/.arguments/a/b.txt")
    has_none = ("mine/a.csv", "results", "results/x/.a.sources.json", "results/.code/a.json")
    assert all(record_path(Path(name)) == record_path(here / name) for name in has)
    assert record_path(Path(has[1])) == Path("results/provenance/files/x/real/car-0.tar")
    assert [record_path(Path(name)) for name in (*has_none, "results/provenance/r.json")] == [
        None
    ] * 5


def test_a_script_that_fails_leaves_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stage.py"])
    path = Path("results/rows.jsonl")

    def fail() -> None:
        write_three_rows(path)
        raise CapsynthError("later")

    assert cli.run(fail) == 1
    assert find_record(path) is None
    assert cli.run(lambda: write_three_rows(path)) == 0
    record = find_record(path)
    assert record is not None
    assert (record.sha256, record.made_by) == (file_digest(path), "stage")


def test_a_damaged_file_of_arguments_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("results/.arguments/scored/a.txt")
    monkeypatch.setattr(sys, "argv", ["stage.py", f"@{path}"])
    write_recorded(path, "--tar\nb.tar\n", "Snakemake")
    assert cli.run(lambda: None) == 0
    flip(path)
    assert cli.run(lambda: pytest.fail("it was read")) == 1
    assert f"error: {path} is not what Snakemake wrote" in capsys.readouterr().err
    write_recorded(path, "--tar\nb.tar\n", "Snakemake")  # as each start does
    assert cli.run(lambda: None) == 0


def test_of_a_file_that_is_only_counted_the_size_tells() -> None:
    path = Path("results/answers.parquet")
    write_toy_predictions(path)
    record_published("stage")
    assert check_size(path) == path.stat().st_size
    os.truncate(path, 100)
    with pytest.raises(Damaged, match=SAID):
        check_size(path)


def shard(folder: Path, colours: str) -> tuple[Path, Path]:
    """Write a shard of one image a colour."""
    tar, manifest = folder / "car-0.tar", folder / "car-0.jsonl"
    samples = []
    for index, colour in enumerate(colours.split()):
        record = ShardRecord(f"car_{index}", "car", 0, index, OK, "f", extension="png")
        with atomic_path(folder / "image.png") as temporary:
            Image.new("RGB", (8, 8), colour).save(temporary, "PNG")
        samples.append(Sample(record, (folder / "image.png").read_bytes()))
    write_shard(tar, manifest, samples)
    return tar, manifest


def test_an_image_is_compared_with_its_manifest_whoever_wrote_it() -> None:
    tar, manifest = shard(Path("mine"), "red green")
    first, second = read_manifest(manifest)
    assert second.offset is not None
    flip(tar, second.offset + 50)
    with ShardReader(tar) as reader:
        reader.read_bytes(first)
        with pytest.raises(Damaged, match=r"car-0\.tar: image 'car_1' is not the one"):
            reader.read_bytes(second)


def test_an_image_of_an_older_tar_is_not_trained_on() -> None:
    old, _ = shard(Path("old"), "red blue")
    tar, manifest = shard(Path("new"), "red green")
    tar.write_bytes(old.read_bytes())
    images = ShardedImages([(tar, manifest, 1.0)], lambda image, rng: image, again=True)
    images[0]
    with pytest.raises(Damaged, match="image 'car_1'"):
        images[1]


def checkpoint(path: Path, fingerprint: str) -> None:
    """Write a classifier and its history."""
    card = ClassifierCard(
        "test_resnet",
        32,
        Preprocessing(32, "center", 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3),
        ("car", "bat"),
        fingerprint,
    )
    save_classifier(path, build_classifier("test_resnet", 2, 32), card)
    write_json(path.with_suffix(".json"), {"checkpoint_sha256": file_digest(path)})


def test_a_checkpoint_is_the_one_that_its_history_names() -> None:
    one, two = Path("seed0.safetensors"), Path("seed1.safetensors")
    checkpoint(one, "one")
    checkpoint(two, "two")
    assert load_classifier(one)[1].fingerprint == "one"
    whole = one.read_bytes()
    one.write_bytes(two.read_bytes())
    with pytest.raises(Damaged, match=r"seed0\.safetensors is not the one that seed0\.json names"):
        load_classifier(one)
    one.write_bytes(whole[:-1])
    with pytest.raises(Damaged, match=r"seed0\.json names"):
        load_classifier(one)
    one.with_suffix(".json").unlink()  # somebody's own
    with pytest.raises(CapsynthError, match=r"seed0\.safetensors cannot be understood"):
        load_classifier(one)
    one.write_bytes(whole)
    load_classifier(one)


def test_drawn_images_that_rot_are_refused_and_those_of_a_user_are_not() -> None:
    root = Path("results/eval_sets/source/val")
    render_folders(root, root.with_name("val.json"), "val", ["car", "bat"], 2, 1, 0.5)
    image = root / "car" / "car_000001.png"
    then = image.stat().st_mtime_ns

    def pack(folder: Path) -> None:
        index = Path("index.json")
        write_index(index, {name: folder / name for name in ("bat", "car")}, "token")
        check_drawn(folder, index)

    pack(root)
    flip(image)
    os.utime(image, ns=(then, then))
    with pytest.raises(Damaged, match=f"an image in {root} is not what was drawn"):
        pack(root)
    # Written by hand, in whatever way: Snakemake sees that, and has all made anew.
    os.utime(image)
    pack(root)
    image.unlink()
    pack(root)
    shutil.copytree(root, "mine")
    pack(Path("mine"))


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_index_of_sources_has_the_images_packed_again(damage: str) -> None:
    folder, index = Path("mine/car"), Path("results/toy/real/.car-0.sources.json")
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    write_index(index, {"car": folder}, "first")
    assert source_token({"car": folder}, index) == "first"
    if damage == "other":
        write_json(index, {"token": "first", "files": {"car/a.png": [1]}})
    else:
        os.truncate(index, 20 if damage == "cut" else 0)
    token = source_token({"car": folder}, index)
    assert token not in ("first", "not packed before")
    write_index(index, {"car": folder}, token)
    assert source_token({"car": folder}, index) == token


def test_a_damaged_summary_of_tars_has_them_scanned_again() -> None:
    tar, _ = shard(Path("mine"), "red green")
    settings = SourceSettings("webdataset", str(tar), label_classes=("car",))
    folder = Path("results/toy/source")
    index_source(settings, ["car"], "first", folder)
    whole = class_digests(settings, ["car"], folder)
    assert index_token(settings, folder) == "first"
    os.truncate(folder / ".index.json", 20)
    token = index_token(settings, folder)
    assert token != "first"
    assert class_digests(settings, ["car"], folder) == whole
    index_source(settings, ["car"], token, folder)
    assert index_token(settings, folder) == token


def test_what_is_kept_of_a_tar_is_not_believed_with_another_label() -> None:
    tar, _ = shard(Path("mine"), "red green")
    settings = SourceSettings("webdataset", str(tar), label_classes=("car", "bat"))
    cache = Path("results/toy/source/.cache")
    rows, _ = tars.scan(settings, ["car"], cache)
    (kept,) = cache.glob("*.json")
    about = json.loads(kept.read_text())
    about["rows"][0][0] = "1"
    kept.write_text(json.dumps(about))
    assert tars.scan(settings, ["car"], cache)[0] == rows
