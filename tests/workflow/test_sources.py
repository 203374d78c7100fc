"""Sources in the workflow: what is asked for, what is missing, what a change makes anew."""

import io
import json
import os
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CLASS_IDS = ["n01440764", "n02102040", "n07753592"]
INDICES = [0, 217, 954]
FUTURE = 4_000_000_000  # the year 2096


def photo(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), (shade, 90, 9)).save(path)


def write_tar(path: Path, labels: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, label in labels.items():
            data = io.BytesIO()
            Image.new("RGB", (40, 40), (sum(key.encode()) % 256, 0, 9)).save(data, "PNG")
            for name, content in ((f"{key}.png", data.getvalue()), (f"{key}.cls", label.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def config_of(dataset: dict[str, Any], eval_sets: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset": {"name": "photos", "classes": CLASS_IDS, **dataset},
        "eval_sets": eval_sets,
        "training_sets": {"real": {"real": 1.0}},
        "recipes": {"plain": {"model": "test_resnet"}},
        "training_seeds": [0],
        "report": {"in_distribution": next(iter(eval_sets))},
    }


@pytest.fixture
def folders(checkout: Callable[[], Path], new_experiment: Callable[..., Any]) -> Any:
    """A checkout with stand-ins for ImageNet, ImageNet-V2 (downloaded), -R and ObjectNet."""
    root = checkout()
    for shade, (class_id, index) in enumerate(zip(CLASS_IDS, INDICES, strict=True)):
        for number in range(2):
            photo(root / f"train/{class_id}/{class_id}_{number}.JPEG", shade)
        photo(root / f"val/{class_id}/v_{shade}.JPEG", shade)
        for name in ("v2-a", "v2-b"):
            photo(root / f"downloads/data/{name}/{index}/x.jpeg", shade)
    for name in ("v2-a", "v2-b"):
        (root / f"downloads/data/{name}.json").write_text("{}")
    photo(root / "objects/banana/b.png")
    (root / "map.json").write_text('{"banana": "n07753592", "chair": "n03376595"}')
    sets = {
        "val": {"source": "folder", "path": "val"},
        "v2": {"source": "folder", "layout": "index-folders", "download": ["v2-a", "v2-b"]},
        "objectnet": {"source": "folder", "path": "objects", "class_map": "map.json"},
        "tench": {"source": "folder", "path": "val", "classes": ["n01440764", "n99999999"]},
        "made": {
            "source": "folder",
            "path": "val",
            "images_per_class": 1,
            "corruptions": "imagenet-c",
            "severities": [2],
        },
    }
    experiment = new_experiment(root, config_of({"source": "folder", "path": "train"}, sets))
    experiment.write_config(experiment.config)
    return experiment


SETS = ("val", "v2", "objectnet", "tench", "made")
PACKED = [f"results/photos/real/{class_id}-0.jsonl" for class_id in CLASS_IDS]
PACKED += [f"results/eval_sets/{name}.jsonl" for name in SETS]


def said_by(experiment: Any, *words: str) -> str:
    done = experiment.snakemake("-n", *words)
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_everything_that_is_missing_is_told_at_once_with_how_to_get_it(folders: Any) -> None:
    (folders.folder / "train").rename(folders.folder / "elsewhere")
    (folders.folder / "val/n02102040/v_1.JPEG").unlink()
    (folders.folder / "val/n02102040").rmdir()
    said = said_by(folders)
    assert "dataset.path: train does not exist" in said
    assert "eval_sets.val.path: lacks val/n02102040 of 3 class folders" in said
    assert "eval_sets.made.path: lacks val/n02102040" in said
    assert "image-net.org" in said
    assert "ILSVRC2012_img_train.tar" in said
    assert "docs/data-sources.md" in said
    assert "eval_sets.tench" not in said


def test_a_set_without_a_class_of_the_data_set_is_refused(folders: Any) -> None:
    folders.config["eval_sets"]["tench"]["classes"] = "imagenet-a"
    folders.config["dataset"]["classes"] = CLASS_IDS[:2]
    del folders.config["eval_sets"]["objectnet"]
    folders.write_config(folders.config)
    said = said_by(folders)
    assert "eval_sets.tench: none of its classes is one of the data set" in said


def test_training_images_in_an_evaluation_set_are_told_before_the_first_job(folders: Any) -> None:
    folders.config["dataset"]["share"] = [0.0, 0.8]
    folders.config["eval_sets"]["val"].update(path="./train", share=[0.3, 1.0])
    folders.write_config(folders.config)
    done = folders.snakemake("-n", "--quiet", "rules")
    told = [line for line in (done.stdout + done.stderr).splitlines() if line[:8] == "warning:"]
    assert [line.split(" (")[0] for line in told] == [
        "warning: eval_sets.val takes images of dataset"
    ]


def test_classifiers_are_told_what_is_corrupted_and_which_answers_are_right(folders: Any) -> None:
    either = {"banana": ["n07753592", "n02102040"], "chair": ["n03376595", "n04099969"]}
    (folders.folder / "map.json").write_text(json.dumps(either))
    runs = "results/photos/predictions/real/plain/seed0"
    sets = ("val", "objectnet", "made")
    done = folders.snakemake("-n", "-p", f"{runs}/val.parquet")
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    (command,) = [line for line in lines if "evaluate_on_sets.py" in line]
    words = shlex.split(command)
    # One job for all sets, in one order.
    paths = words[words.index("--views") + 1 : words.index("--code")]
    made = words[words.index("--outputs") + 1 : words.index("2>")]
    told = [json.loads((folders.folder / path).read_text()) for path in paths]
    assert made == [f"{runs}/{view['eval_set']}.parquet" for view in told]
    views = {view["eval_set"]: view for view in told}
    assert views.keys() == folders.config["eval_sets"].keys() - {"of-curves"}
    assert [name for name in sets if views[name]["corrupted"]] == ["made"]
    assert views["val"]["answer_groups"] is views["made"]["answer_groups"] is None
    assert views["objectnet"]["answer_groups"] == {"n07753592": ["n07753592", "n02102040"]}
    assert views["objectnet"]["class_ids"] == ["n07753592"]
    assert views["val"]["class_ids"] is None


def test_folders_that_share_a_part_of_their_classes_are_refused(folders: Any) -> None:
    shared = {"banana": ["n07753592", "n02102040"], "fruit": ["n07753592"]}
    (folders.folder / "map.json").write_text(json.dumps(shared))
    photo(folders.folder / "objects/fruit/f.png")
    said = said_by(folders)
    assert "class_map: folders 'banana' and 'fruit' share the class 'n07753592'" in said


def test_a_download_that_is_not_there_is_asked_for_by_its_stamp(folders: Any) -> None:
    assert "download_data(v2-b)" not in folders.owed()
    (folders.folder / "downloads/data/v2-b.json").unlink()
    assert "download_data(v2-b)" in folders.owed()


def test_a_hub_data_set_is_asked_for_in_the_download_folder(folders: Any) -> None:
    dataset = {"source": "huggingface", "path": "someone/photos", "revision": "abc"}
    folders.write_config(config_of(dataset, {"val": folders.config["eval_sets"]["val"]}))
    owed = folders.owed()
    assert "download_dataset(someone--photos@abc)" in owed
    assert "index_source" in owed
    assert {f"pack_real(photos, {class_id}-0)" for class_id in CLASS_IDS} <= owed


@pytest.mark.slow
def test_folders_of_every_layout_are_packed_and_rerun_by_what_changed(folders: Any) -> None:
    from capsynth.shards import read_manifest

    # A machine with a wrong clock has written them: Snakemake fails jobs with inputs of the future.
    train = (folders.folder / "train" / class_id for class_id in CLASS_IDS)
    for path in (*train, *map(folders.folder.joinpath, ("val", "objects", "map.json"))):
        os.utime(path, (FUTURE, FUTURE))
    done = folders.snakemake(*PACKED)
    assert done.returncode == 0, done.stdout + done.stderr
    sets = {
        name: read_manifest(folders.folder / f"results/eval_sets/{name}.jsonl") for name in SETS
    }
    assert {name: len(records) for name, records in sets.items()} == {
        "val": 3,
        "v2": 6,
        "objectnet": 1,
        "tench": 1,
        "made": 45,
    }
    assert [r.class_index for r in sets["v2"]] == [0, 1, 2, 0, 1, 2]
    assert [(r.class_id, r.class_index) for r in sets["objectnet"]] == [("n07753592", 2)]
    assert folders.owed(*PACKED) == set()

    photo(folders.folder / "train/n02102040/new.png", 77)
    assert folders.owed(*PACKED) == {"pack_real(photos, n02102040-0)"}
    photo(folders.folder / "downloads/data/v2-b/954/new.jpeg", 77)
    assert folders.owed(*PACKED[3:]) == {"pack_eval_set(v2)"}
    (folders.folder / "downloads/data/v2-a.json").write_text('{"fetched": "again"}')
    assert folders.owed(*PACKED[3:]) == {"pack_eval_set(v2)"}
    mapping = {"banana": "n02102040"}
    (folders.folder / "map.json").write_text(json.dumps(mapping))
    assert folders.owed(*PACKED[3:]) == {"pack_eval_set(v2)", "pack_eval_set(objectnet)"}


@pytest.mark.slow
def test_a_tar_that_is_added_reruns_the_index_and_the_classes_in_it(
    checkout: Callable[[], Path], new_experiment: Callable[..., Any]
) -> None:
    root = checkout()
    write_tar(root / "tars/0.tar", {f"a{i}": CLASS_IDS[i % 3] for i in range(6)})
    write_tar(root / "tars/1.tar", {f"b{i}": str(INDICES[i % 3]) for i in range(3)})
    dataset = {"source": "webdataset", "path": "tars", "label_classes": "imagenet-1k"}
    sets = {"held-out": {**dataset, "share": [0.0, 0.9]}}
    experiment = new_experiment(root, config_of(dataset, sets))
    experiment.write_config(experiment.config)
    targets = [*PACKED[:3], "results/eval_sets/held-out.jsonl"]
    done = experiment.snakemake(*targets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert experiment.owed(*targets) == set()

    write_tar(root / "tars/2.tar", {"c0": CLASS_IDS[1]})
    owed = {"index_source", f"pack_real(photos, {CLASS_IDS[1]}-0)"}
    owed |= {"pack_eval_set(held-out)"}
    assert experiment.owed(*targets) == owed
    untouched = root / PACKED[0]
    before = untouched.stat().st_mtime_ns
    done = experiment.snakemake(*targets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert untouched.stat().st_mtime_ns == before
    assert experiment.owed(*targets) == set()

    for tar in (root / "tars").iterdir():
        os.utime(tar, (1, 1))
    assert experiment.owed(*targets) == {"index_source"}
    done = experiment.snakemake(*targets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert experiment.owed(*targets) == set()
