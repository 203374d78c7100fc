"""Accuracy measured in a training: it changes no weight, and it is that of an evaluation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import CLASS_IDS, RICH, SMALL, STEPS, command, evaluate, run_together

import train_classifier
from capsynth import training_accuracy
from capsynth.distributed import Processes
from capsynth.errors import CapsynthError
from capsynth.files import read_json
from capsynth.learner import Learner
from capsynth.learning_curves import curve_steps, quarter_step, unpack_answers
from capsynth.recipes import NORMALISATIONS
from capsynth.training_accuracy import AccuracyOfImages

HELD_OUT = 2
POINTS = 4
RESNET = {**SMALL, "model": "test_resnet", "save_steps": 1}


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
    draw_folder: Callable[..., Path],
    pack_folder: Callable[..., object],
) -> tuple[Path, Path]:
    """The shards of three classes, and one shard of other images of them."""
    root = tmp_path_factory.mktemp("held-out")
    for index, class_id in enumerate(CLASS_IDS):
        folder = draw_folder(root / "source" / class_id, 3, 20 * index)
        pack_folder(folder, root / "real", index)
    folder = draw_folder(root / "other" / "dog", HELD_OUT, 100)
    pack_folder(folder, root / "others", 2)
    return root / "real", root / "others" / "dog-0"


def line_of(folders: tuple[Path, Path], checkpoint: Path, values: dict[str, Any]) -> list[str]:
    shards, held_out = folders
    line = command(shards, checkpoint, values)
    line += ["--held-out", f"{held_out}.tar", f"{held_out}.jsonl", "--points", str(POINTS)]
    return [*line, "--train-images", "7"]


def train(folders: tuple[Path, Path], checkpoint: Path, values: dict[str, Any]) -> dict[str, Any]:
    train_classifier.main(line_of(folders, checkpoint, values))
    history: dict[str, Any] = read_json(checkpoint.with_suffix(".json"))
    return history


# Batches of 3 of 9 images: no step changes the mode of the model, which measuring must restore.
@pytest.mark.parametrize(
    "values", [RICH, {**RESNET, "batch_size": 3}, {**SMALL, "batch_size": 3, "workers": 2}]
)
def test_measuring_accuracy_changes_no_byte_of_the_classifier(
    tmp_path: Path, folders: tuple[Path, Path], values: dict[str, Any]
) -> None:
    plain = tmp_path / "plain.safetensors"
    train_classifier.main(command(folders[0], plain, values))
    history = train(folders, tmp_path / "curve.safetensors", values)
    assert (tmp_path / "curve.safetensors").read_bytes() == plain.read_bytes()
    same = read_json(plain.with_suffix(".json"))
    assert {name: history[name] for name in same} == same


def test_a_learning_curve_has_a_point_after_each_part_of_the_steps(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    history = train(folders, tmp_path / "c.safetensors", RESNET)
    # 9 images in steps of 4, 4 and 1, twice: quarters of 6 steps end after 1.5, 3, 4.5 and 6.
    assert [point["step"] for point in history["curve"]] == [2, 3, 5, 6]
    assert [point["images_seen"] for point in history["curve"]] == [8, 9, 17, 18]
    assert [point["n"] for point in history["curve"]] == [HELD_OUT] * POINTS
    assert history["curve_classes"] == [2] * HELD_OUT
    for point in history["curve"]:
        assert point["accuracy"] == unpack_answers(point).mean()


@pytest.mark.parametrize("values", [RICH, RESNET])
def test_the_last_point_and_own_images_are_what_an_evaluation_finds(
    tmp_path: Path, folders: tuple[Path, Path], values: dict[str, Any]
) -> None:
    # RICH keeps the moving average of the weights, which is what is evaluated.
    checkpoint = tmp_path / "c.safetensors"
    history = train(folders, checkpoint, {**values, "epochs": 8})
    found = evaluate(checkpoint, folders[1], tmp_path / "p.parquet")
    correct = (found.prediction == found.target).tolist()
    assert unpack_answers(history["curve"][-1]).tolist() == correct
    own = history["own_images"]
    assert own["n"] == len(own["classes"]) == len(set(own["sources"])) == 7
    right = 0
    for index, class_id in enumerate(CLASS_IDS):
        whole = evaluate(checkpoint, folders[0] / f"{class_id}-0", tmp_path / f"{index}.parquet")
        of_class = unpack_answers(own)[np.array(own["classes"]) == index]
        if len(of_class) == 3:
            assert of_class.tolist() == (whole.prediction == whole.target).tolist()
            right += 1
    assert right  # at least one class is answered whole: 7 of 3 + 3 + 3 images


def test_a_killed_training_ends_in_the_same_curve(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for values in (RICH, RESNET):
        whole = tmp_path / "whole.safetensors"
        train(folders, whole, values)
        for steps in range(2 * STEPS):
            again = tmp_path / f"{values['model']}-{steps}.safetensors"
            learn, made = Learner.learn, 0

            def limited(*args: Any, limit: int = steps, learn: Any = learn) -> torch.Tensor:
                nonlocal made
                if made == limit:
                    raise KeyboardInterrupt
                made += 1
                done: torch.Tensor = learn(*args)
                return done

            with monkeypatch.context() as patch:
                patch.setattr(Learner, "learn", limited)
                with pytest.raises(KeyboardInterrupt):
                    train(folders, again, values)
            train(folders, again, values)
            for suffix in (".safetensors", ".json"):
                made_again = again.with_suffix(suffix).read_bytes()
                assert made_again == whole.with_suffix(suffix).read_bytes()


def test_only_the_points_that_were_not_saved_are_measured_again(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = 0
    measure, learn, made = AccuracyOfImages.measure, Learner.learn, 0

    def counted(*args: Any) -> Any:
        nonlocal measured
        measured += 1
        return measure(*args)

    def limited(*args: Any) -> torch.Tensor:
        nonlocal made
        if made == 4:
            raise KeyboardInterrupt
        made += 1
        return learn(*args)

    monkeypatch.setattr(AccuracyOfImages, "measure", counted)
    checkpoint = tmp_path / "c.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", limited)
        with pytest.raises(KeyboardInterrupt):
            train(folders, checkpoint, RESNET)
    assert measured == 2  # after steps 2 and 3
    train(folders, checkpoint, RESNET)
    assert measured == 2 + 2 + 1  # after steps 5 and 6, and own images


def test_two_processes_measure_what_one_does(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    one = train(folders, tmp_path / "one.safetensors", SMALL)
    two = tmp_path / "two.safetensors"
    assert run_together(line_of(folders, two, {**SMALL, "gpus": 2}), 2) == [0, 0]
    history = read_json(two.with_suffix(".json"))
    for name in ("step", "images_seen", "n"):
        assert [p[name] for p in history["curve"]] == [p[name] for p in one["curve"]]
    plain = tmp_path / "plain.safetensors"
    assert run_together(command(folders[0], plain, {**SMALL, "gpus": 2}), 2) == [0, 0]
    assert two.read_bytes() == plain.read_bytes()


def test_statistics_of_batch_norm_stay_as_they_are() -> None:
    recipe = train_classifier.settings_from_json(
        train_classifier.Recipe, command(Path(), Path("c.safetensors"), RESNET)[1]
    )
    learner = Learner(recipe, 3, 0, Processes(0, 1, torch.device("cpu")))
    before = {k: v.clone() for k, v in learner.model.state_dict().items()}
    pixels = (torch.arange(2 * 3 * 32 * 32).view(2, 3, 32, 32) % 251).to(torch.uint8)
    classes = learner.classify(pixels)
    assert all(torch.equal(v, before[k]) for k, v in learner.model.state_dict().items())
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in NORMALISATIONS[recipe.normalisation])
    logits = learner.model.eval()((pixels / 255 - mean) / std)
    assert classes.tolist() == logits.argmax(dim=1).tolist()


def test_held_out_images_of_other_classes_are_refused(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    line = line_of(folders, tmp_path / "c.safetensors", SMALL)
    place = line.index("--class-ids")
    line[place + 1 : place + 4] = ["bat", "dog", "car"]
    with pytest.raises(CapsynthError, match="class 'dog' has index 2, which is another class"):
        train_classifier.main(line)


def test_accuracy_of_a_reference_model_is_not_measured(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    line = line_of(folders, tmp_path / "c.safetensors", SMALL)
    place = line.index("--seed")
    line[place : place + 2] = ["--half", "0"]
    with pytest.raises(SystemExit):
        train_classifier.main(line)
    assert "accuracy of a reference model is not measured" in capsys.readouterr().err


def test_own_images_are_chosen_by_a_hash_and_fewer_are_among_more(
    folders: tuple[Path, Path],
) -> None:
    shards = [(folders[0] / f"{c}-0.tar", folders[0] / f"{c}-0.jsonl", 1.0) for c in CLASS_IDS]
    preprocessing = training_accuracy.Preprocessing(
        32, "center", 1.0, "bilinear", (0,) * 3, (1,) * 3
    )
    keys = [
        {r.key for r in training_accuracy.own_images(shards, n, preprocessing, 0)._images.records}
        for n in (2, 5, 100)
    ]
    assert [len(k) for k in keys] == [2, 5, 9]
    assert keys[0] < keys[1] < keys[2]


@pytest.mark.parametrize(
    ("steps", "points", "expected"),
    [(208, 8, [26, 52, 78, 104, 130, 156, 182, 208]), (6, 4, [2, 3, 5, 6]), (3, 8, [1, 2, 3])],
)
def test_points_end_equal_parts_and_one_begins_the_last_quarter(
    steps: int, points: int, expected: list[int]
) -> None:
    assert curve_steps(steps, points) == expected
    assert quarter_step(steps) in expected
