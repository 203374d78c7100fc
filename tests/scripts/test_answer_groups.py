"""Evaluation sets whose classes are several of the classifier's, any of which is right."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evaluate_classifier
import pack_eval_set
from capsynth.classifiers import ClassifierCard, build_classifier, save_classifier
from capsynth.errors import CapsynthError
from capsynth.evaluation import merged
from capsynth.files import dump_json
from capsynth.predictions import Predictions, read_predictions
from capsynth.transforms import Preprocessing

CLASSES = ("c0", "c1", "c2", "c3", "c4", "c5")
# c4 is no class of the set.
GROUPS = {"c0": ["c0", "c3"], "c1": ["c1"], "c2": ["c2", "c5"]}
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of noise of three classes, and a classifier of six."""
    root = tmp_path_factory.mktemp("objectnet")
    rng = np.random.default_rng(0)
    for folder in ("clock", "spoon", "chair"):
        (root / "source" / folder).mkdir(parents=True)
        for number in range(40):
            shade = rng.integers(0, 256, 3)
            noise = np.clip(shade + rng.normal(0, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noise).save(root / "source" / folder / f"{number}.png")
    class_map = {"clock": ["c0", "c3"], "spoon": "c1", "chair": ["c2", "c5"]}
    (root / "map.json").write_text(json.dumps(class_map))
    pack_eval_set.main(
        ["--folder", str(root / "source"), "--class-map", str(root / "map.json"),
         "--class-ids", *CLASSES, "--kept-class-ids", *GROUPS,
         "--format", dump_json({"side": None, "extension": "png"}), "--source-token", "t",
         "--tar", str(root / "e.tar"), "--manifest", str(root / "e.jsonl"),
         "--index", str(root / "e.json")]
    )  # fmt: skip
    torch.manual_seed(1)
    model = build_classifier("test_resnet", 6, 32)
    # Untrained, it answers alike: its last layer is made to choose, and no class is favoured.
    weight, bias = list(model.parameters())[-2:]
    shades = torch.rand(200, 3, 1, 1).mul(2).sub(1).expand(200, 3, 32, 32)
    with torch.no_grad():
        weight.normal_()
        bias.zero_()
        bias.copy_(-model.eval()(shades).mean(dim=0))
    view = Preprocessing(32, "center", 1.0, "bilinear", HALF, HALF)
    card = ClassifierCard("test_resnet", 32, view, CLASSES, "f")
    save_classifier(root / "model.safetensors", model, card)
    return root


def answers(root: Path, *flags: str) -> Predictions:
    run = {"dataset": "d", "training_set": "t", "recipe": "r", "seed": 0, "eval_set": "e"}
    evaluate_classifier.main(
        ["--name", json.dumps(run), "--checkpoint", str(root / "model.safetensors"),
         "--tar", str(root / "e.tar"), "--manifest", str(root / "e.jsonl"), "--threads", "1",
         "--output", str(root / "p.parquet"), *flags]
    )  # fmt: skip
    return read_predictions(root / "p.parquet")


def test_an_answer_is_right_if_it_is_any_class_of_the_folder(packed: Path) -> None:
    # ObjectNet's way: the answer among all classes that folders stand for, right if it is one of
    # the folder's.
    among = [c for c in CLASSES if any(c in group for group in GROUPS.values())]
    every = answers(packed).probabilities[:, [CLASSES.index(c) for c in among]]
    chosen = [among[i] for i in every.argmax(axis=1)]
    found = answers(packed, "--class-ids", *GROUPS, "--answer-groups", json.dumps(GROUPS))
    right = [
        answer in GROUPS[true] for answer, true in zip(chosen, found.sample_class_ids, strict=True)
    ]
    assert (found.prediction == found.target).tolist() == right
    assert found.class_ids == ("c0", "c1", "c2")
    assert 0 < np.mean(right) < 1
    # Without the groups, the other classes are no answers.
    first = answers(packed, "--class-ids", *GROUPS)
    assert (first.prediction != found.prediction).any()


def test_the_greatest_logit_stays_so_in_its_group() -> None:
    logits = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    groups = [[0, 3], [1, 4], [2, 5]]
    assert torch.equal(merged(logits, groups).argmax(dim=1), logits.argmax(dim=1) % 3)


def test_an_answer_that_the_classifier_does_not_know_is_named(packed: Path) -> None:
    groups = json.dumps({"c0": ["c0", "c9"]})
    with pytest.raises(CapsynthError, match="does not know the classes c9"):
        answers(packed, "--class-ids", *GROUPS, "--answer-groups", groups)
