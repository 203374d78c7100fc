"""From images of no class, and of groups, to their tables: every command line in its turn."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evaluate_classifier
import make_class_tables
import make_group_tables
import make_unknown_table
import measure_groups
import measure_unknown
import pack_eval_set
import render_openmoji
import train_classifier
from capsynth.configuration import complete_recipe
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.predictions import read_predictions
from capsynth.shards import read_manifest
from collect_scores import main as collect_scores

FORMAT = dump_json({"side": None, "extension": "png"})
RECIPE = {
    "model": "test_resnet", "image_size": 32, "epochs": 2, "batch_size": 4,
    "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05, "warmup_epochs": 0,
}  # fmt: skip
CLASS_IDS = ["bat", "car"]
SETTINGS = dump_json(
    {
        "in_distribution": "val",
        "training_sets": ["real"],
        "eval_sets": ["val"],
        "comparisons": [],
    }
)


def words(**flags: object) -> list[str]:
    line: list[str] = []
    for name, value in flags.items():
        many = value if isinstance(value, list) else [value]
        line += [f"--{name.replace('_', '-')}", *map(str, many)]
    return line


def pack(out: Path, name: str, **flags: object) -> None:
    files = {"tar": out / f"{name}.tar", "manifest": out / f"{name}.jsonl"}
    line = words(format=FORMAT, source_token="t", index=out / f".{name}.json", **files, **flags)
    pack_eval_set.main(line)


@pytest.fixture
def answered(
    tmp_path: Path, draw_folder: Callable[..., Path], pack_folder: Callable[..., object]
) -> Path:
    """A folder with the answers of one run to scenes of two classes and to unknown images."""
    for index, class_id in enumerate(CLASS_IDS):
        pack_folder(draw_folder(tmp_path / "source" / class_id, 5, 10 * index), tmp_path, index)
    checkpoint = tmp_path / "c.safetensors"
    train_classifier.main(
        words(
            recipe=dump_json(complete_recipe(RECIPE)), class_ids=CLASS_IDS, seed=0,
            folders=tmp_path, fractions=1.0, parts_per_class=1, threads=1,
            checkpoint=checkpoint, history=tmp_path / "c.json",
        )
    )  # fmt: skip
    drawn = {"seed": 2, "context_bias": 0.5, "images_per_class": 12}
    render_openmoji.main(
        words(
            split="val", class_ids=CLASS_IDS, output=tmp_path / "val",
            stamp=tmp_path / "val.json", **drawn,
        )
    )  # fmt: skip
    pack(tmp_path, "val", folder=tmp_path / "val", class_ids=CLASS_IDS)
    for place in ("0.png", "cup/1.png", "cup/2.png", "bat/3.png"):
        path = tmp_path / "photos" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (20 * len(place), 80, 90)).save(path)
    pack(tmp_path, "photos", folder=tmp_path / "photos", layout="unknown")
    for name, more in (("val", []), ("photos", ["--unknown"])):
        about = {"dataset": "d", "training_set": "real", "recipe": "r", "seed": 0}
        evaluate_classifier.main(
            words(
                name=dump_json({**about, "eval_set": name}), checkpoint=checkpoint, threads=1,
                tar=tmp_path / f"{name}.tar", manifest=tmp_path / f"{name}.jsonl",
                output=tmp_path / f"{name}.parquet",
            )
            + more
        )  # fmt: skip
    return tmp_path


def test_unknown_images_from_a_folder_to_the_table(answered: Path) -> None:
    records = read_manifest(answered / "photos.jsonl")
    # A folder that has the name of a class is of none all the same.
    assert [(r.class_id, r.key) for r in records] == [
        ("unknown", "unknown_0"), ("bat", "bat_3"), ("cup", "cup_1"), ("cup", "cup_2"),
    ]  # fmt: skip
    answers = read_predictions(answered / "photos.parquet")
    assert answers.is_unknown
    assert answers.target.tolist() == [-1] * 4
    assert answers.sample_class_ids.tolist() == ["unknown", "bat", "cup", "cup"]
    assert answers.class_ids == ("bat", "car")
    measure_unknown.main(
        words(
            inside=answered / "val.parquet", unknown=answered / "photos.parquet", draws=20,
            output=answered / "unknown.csv",
        )
    )  # fmt: skip
    make_unknown_table.main(
        words(
            unknown=answered / "unknown.csv", eval_sets="photos", config_json=SETTINGS,
            output_dir=answered / "tables",
        )
    )  # fmt: skip
    row, chance = csv.DictReader((answered / "tables/unknown.csv").open())
    # 24 images of classes and four of none.
    assert float(chance["aupr_in_max_softmax"]) == pytest.approx(100 * 24 / 28, abs=1e-4)
    assert (row["eval_set"], row["n"]) == ("photos", "4")
    assert 0 <= float(row["auroc_energy"]) <= 100


def test_the_energy_is_the_log_of_the_sum_of_exponentials_of_the_logits(answered: Path) -> None:
    import torch

    from capsynth.classifiers import load_classifier
    from capsynth.datasets.images import ShardedImages
    from capsynth.transforms import evaluation_transform, normalise

    model, card = load_classifier(answered / "c.safetensors")
    prepared = card.preprocessing
    sources = [(answered / "val.tar", answered / "val.jsonl", 1.0)]
    images = ShardedImages(sources, evaluation_transform(prepared))
    pixels = torch.stack([images[i][0] for i in range(len(images))])
    with torch.inference_mode():
        logits = model.cpu().eval()(normalise(pixels, prepared.mean, prepared.std)).numpy()
    found = read_predictions(answered / "val.parquet")
    assert found.log_sum_exp is not None
    assert found.log_sum_exp == pytest.approx(np.log(np.exp(logits).sum(axis=1)), abs=1e-4)


def test_unknown_images_are_scored_by_no_metric_of_accuracy(answered: Path) -> None:
    with pytest.raises(CapsynthError, match=r"targets lie in -1\.\.-1"):
        collect_scores(words(predictions=answered / "photos.parquet", output=answered / "s.csv"))


def test_groups_from_the_renderer_to_the_tables(answered: Path) -> None:
    spec = {"by": "context", "split": "val", "seed": 2, "context_bias": 0.5}
    measure_groups.main(
        [
            *words(predictions=answered / "val.parquet", least_images=2, draws=20),
            *("--eval-set", "val", str(answered / "val.jsonl"), dump_json(spec)),
            *words(output=answered / "groups.csv"),
        ]
    )
    make_group_tables.main(
        words(
            groups=answered / "groups.csv", eval_sets="val", least_images=2,
            config_json=SETTINGS, output_dir=answered / "tables",
        )
    )  # fmt: skip
    rows = list(csv.DictReader((answered / "tables/group-accuracy.csv").open()))
    assert sum(int(row["n"]) for row in rows) == 24
    summary, chance = csv.DictReader((answered / "tables/groups.csv").open())
    assert chance["training_set"] == "chance"
    assert float(chance["worst_group"]) < 50
    assert summary["group"] in {row["group"] for row in rows}
    assert float(summary["worst_group"]) == min(float(row["real"]) for row in rows)


def test_the_worst_class_and_precision_get_tables(answered: Path) -> None:
    scores = answered / "scores.csv"
    collect_scores(words(predictions=answered / "val.parquet", draws=20, output=scores))
    make_class_tables.main(
        words(scores=scores, config_json=SETTINGS, output_dir=answered / "tables")
    )
    run = read_predictions(answered / "val.parquet")
    recall = [float((run.prediction[run.target == c] == c).mean()) for c in (0, 1)]
    row, chance = csv.DictReader((answered / "tables/worst-class.csv").open())
    assert (chance["training_set"], chance["balanced_accuracy"]) == ("chance", "50.0")
    assert float(row["worst_class"]) == pytest.approx(100 * min(recall), abs=1e-3)
    assert row["class_id"] == CLASS_IDS[int(np.argmin(recall))]
    assert float(row["worst_class_low"]) < float(row["worst_class_high"])
    by_class = list(csv.DictReader((answered / "tables/precision.csv").open()))
    assert [row["class_id"] for row in by_class] == CLASS_IDS


def test_classes_are_named_for_images_that_have_them(answered: Path) -> None:
    with pytest.raises(SystemExit):
        pack(answered, "again", folder=answered / "val")
