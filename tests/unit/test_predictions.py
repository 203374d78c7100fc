from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capsynth.errors import CapsynthError
from capsynth.predictions import read_predictions, write_predictions


def arguments() -> dict[str, Any]:
    return {
        "keys": ["bat_000000.jpeg-1", "car_000000.jpeg-1"],
        "targets": np.array([0, 1]),
        "probabilities": np.array([[0.25, 0.75], [0.125, 0.875]], dtype=np.float32),
        "class_ids": ["bat", "car"],
        "dataset": "toy",
        "training_set": "real+caption",
        "recipe": "tiny",
        "seed": 2,
        "eval_set": "toy-c",
        "fingerprint": "0123",
    }


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "toy-c.parquet"
    write_predictions(path, **arguments())
    found = read_predictions(path)
    assert (found.dataset, found.training_set, found.recipe) == ("toy", "real+caption", "tiny")
    assert (found.seed, found.eval_set, found.fingerprint) == (2, "toy-c", "0123")
    assert found.class_ids == ("bat", "car")
    assert found.keys.tolist() == arguments()["keys"]
    assert found.sample_class_ids.tolist() == ["bat", "car"]
    assert found.target.tolist() == [0, 1]
    assert found.prediction.tolist() == [1, 1]
    assert found.probabilities.dtype == np.float32
    assert (found.probabilities == arguments()["probabilities"]).all()


def test_equal_predictions_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_predictions(tmp_path / name, **arguments())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("keys", ["bat_000000"], "do not fit"),
        ("targets", np.array([0, 2]), r"targets lie in 0\.\.2, classes in 0\.\.1"),
        ("probabilities", np.full((2, 2), np.nan), "lower the learning_rate"),
        ("probabilities", np.full((2, 3), 1 / 3), "do not fit"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, name: str, value: Any, message: str
) -> None:
    path = tmp_path / "toy.parquet"
    with pytest.raises(CapsynthError, match=message):
        write_predictions(path, **{**arguments(), name: value})
    assert list(tmp_path.iterdir()) == []


def test_a_key_of_two_classes_names_two_images_and_twice_in_a_class_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "toy.parquet"
    equal = {**arguments(), "keys": ["0001", "0001"]}
    write_predictions(path, **equal)
    assert read_predictions(path).keys.tolist() == ["0001", "0001"]
    with pytest.raises(CapsynthError, match="a key of one class occurs twice"):
        write_predictions(path, **{**equal, "targets": np.array([1, 1])})


def test_an_empty_evaluation_set_is_refused(tmp_path: Path) -> None:
    empty = {"keys": [], "targets": np.zeros(0, int), "probabilities": np.zeros((0, 2))}
    with pytest.raises(CapsynthError, match="no sample was evaluated"):
        write_predictions(tmp_path / "toy.parquet", **{**arguments(), **empty})


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    with pytest.raises(CapsynthError, match="evaluate the run first"):
        read_predictions(path)
    path.write_text("no parquet")
    with pytest.raises(CapsynthError, match="not a file of predictions"):
        read_predictions(path)
