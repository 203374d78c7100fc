"""Probes of trained classifiers, from checkpoint to table."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from trainings import CLASS_IDS, SMALL, command

import probe_classifier
import train_classifier
from capsynth import probe_runs
from capsynth.classifiers import load_classifier
from capsynth.datasets.images import ShardedImages
from capsynth.errors import CapsynthError
from capsynth.files import dump_json, read_json_lines, write_json_lines
from capsynth.predictions import Predictions, read_predictions
from capsynth.probing import fitting_half
from capsynth.reporting.scores import read_scores
from capsynth.transforms import evaluation_transform
from make_probe_table import main as make_probe_table
from measure_probes import main as measure_probes

IMAGES = 12
CONFIG = {
    "in_distribution": "v",
    "training_sets": ["real"],
    "eval_sets": ["v"],
    "comparisons": [],
}


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    draw_folder: Callable[..., Path],
    pack_folder: Callable[..., object],
) -> Path:
    """A folder with two trainings, and a shard of images of things that they do not know."""
    root = tmp_path_factory.mktemp("probes")
    for index, class_id in enumerate(CLASS_IDS):
        folder = draw_folder(root / "source" / class_id, 3, 20 * index)
        pack_folder(folder, root / "real", index)
    folder = draw_folder(root / "other" / "clock", IMAGES, 100)
    pack_folder(folder, root / "other-shards", 0)
    manifest = root / "other-shards/clock-0.jsonl"
    lines = list(read_json_lines(manifest))
    for number, line in enumerate(lines):
        line["class_id"] = ("clock", "hat", "shoe")[number % 3]
    write_json_lines(manifest, lines)
    for seed in (0, 1):
        line = command(root / "real", root / f"seed{seed}.safetensors", {**SMALL, "epochs": 4})
        line[line.index("--seed") + 1] = str(seed)
        train_classifier.main(line)
    return root


def probe(trained: Path, folder: Path, seed: int = 0) -> dict[str, Path]:
    names = {"dataset": "d", "training_set": "real", "recipe": "r", "seed": seed, "eval_set": "u"}
    outputs = {name: folder / f"{name}-{seed}.parquet" for name in ("linear", "knn")}
    shard = trained / "other-shards/clock-0"
    line = ["--name", dump_json(names), "--checkpoint", str(trained / f"seed{seed}.safetensors")]
    line += ["--tar", f"{shard}.tar", "--manifest", f"{shard}.jsonl", "--threads", "1"]
    for name, path in outputs.items():
        line += [f"--{name}", str(path)]
    probe_classifier.main(line)
    return outputs


def test_features_are_what_the_last_layer_is_given(trained: Path) -> None:
    for model in ("test_vit", "test_resnet", "test_convnext"):
        from capsynth.classifiers import build_classifier

        torch.manual_seed(0)
        built = build_classifier(model, 3, 32).eval()
        given: list[torch.Tensor] = []
        built.get_classifier().register_forward_hook(
            lambda module, inputs, output, given=given: given.append(inputs[0])
        )
        pixels = torch.rand(2, 3, 32, 32)
        built(pixels)
        assert torch.allclose(probe_runs.features_before_the_head(built, pixels), given[0])


def test_a_probe_answers_the_other_half_as_scikit_learn_does(trained: Path, tmp_path: Path) -> None:
    found = {name: read_predictions(path) for name, path in probe(trained, tmp_path).items()}
    model, card = load_classifier(trained / "seed0.safetensors")
    shard = trained / "other-shards/clock-0"
    images = ShardedImages(
        [(shard.with_suffix(".tar"), shard.with_suffix(".jsonl"), 1.0)],
        evaluation_transform(card.preprocessing),
    )
    x = probe_runs.features_of(model, card.preprocessing, images, "t").astype(np.float64)
    names = np.array([record.class_id for record in images.records])
    keys = [f"{record.class_id}/{record.key}" for record in images.records]
    fits = fitting_half(names.tolist(), keys)
    scaler = StandardScaler().fit(x[fits])
    linear = LogisticRegression(tol=1e-10, max_iter=10_000)
    linear.fit(scaler.transform(x[fits]), names[fits])
    knn = KNeighborsClassifier(
        int(fits.sum()),
        metric="cosine",
        algorithm="brute",
        weights=lambda d: np.exp((1 - d) / 0.07),
    ).fit(x[fits], names[fits])
    wanted = {
        "linear": linear.predict_proba(scaler.transform(x[~fits])),
        "knn": knn.predict_proba(x[~fits]),
    }
    for name, predictions in found.items():
        assert predictions.class_ids == ("clock", "hat", "shoe")
        assert predictions.keys.tolist() == [
            k for k, fit in zip(keys, fits, strict=True) if not fit
        ]
        assert predictions.probabilities == pytest.approx(wanted[name], abs=2e-5)
        assert predictions.eval_set == f"u/{name}"


def accuracy(predictions: Predictions) -> float:
    return float((predictions.prediction == predictions.target).mean())


def test_the_table_has_accuracy_chance_and_the_number_of_images(
    trained: Path, tmp_path: Path
) -> None:
    files = [path for seed in (0, 1) for path in probe(trained, tmp_path, seed).values()]
    scores = tmp_path / "probes.csv"
    measure_probes(["--predictions", *map(str, files), "--output", str(scores)])
    rows = read_scores(scores)
    mean = np.mean([accuracy(read_predictions(path)) for path in files if "linear" in path.name])
    (row,) = (r for r in rows if (r.eval_set, r.metric, r.seed) == ("u/linear", "top1", None))
    assert row.value == pytest.approx(mean, abs=1e-6)
    assert (row.n, row.seeds, row.sources) == (IMAGES // 2, 2, "images+training-seeds")
    line = ["--probes", str(scores), "--config-json", dump_json(CONFIG)]
    make_probe_table([*line, "--output-dir", str(tmp_path)])
    text = (tmp_path / "probes.md").read_text()
    assert "the other half is answered: 6 images" in text
    (cells,) = csv.DictReader((tmp_path / "probes.csv").read_text().splitlines())
    assert float(cells["linear"]) == pytest.approx(100 * mean, abs=1e-3)
    assert float(cells["chance"]) == pytest.approx(100 / 3, abs=1e-3)
    assert cells["knn_low"] != ""


def test_the_same_checkpoint_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in probe(trained, tmp_path).values()]
    assert [path.read_bytes() for path in probe(trained, tmp_path).values()] == first


def test_images_of_one_class_cannot_be_probed(trained: Path, tmp_path: Path) -> None:
    name = probe_runs.RunName("d", "real", "r", 0, "u")
    shard = trained / "real/dog-0"
    with pytest.raises(CapsynthError, match="1 classes of 3 images and more; a probe needs two"):
        probe_runs.probe_classifier(
            name,
            trained / "seed0.safetensors",
            shard.with_suffix(".tar"),
            shard.with_suffix(".jsonl"),
            {"linear": tmp_path / "p.parquet"},
        )
