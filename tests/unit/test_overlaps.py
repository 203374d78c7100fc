"""Images that are used twice, and entries of class folders that are none: told before a run."""

import os
from pathlib import Path

import pytest
import yaml

from capsynth.classes import ClassInfo
from capsynth.configuration import class_table, complete
from capsynth.datasets.entries import class_entries
from capsynth.datasets.missing import missing_message
from capsynth.datasets.overlaps import Taken, equal_classes, not_independent, overlaps
from capsynth.errors import CapsynthError

DATASET = Taken("dataset", frozenset({"/p/cat", "/p/dog"}), (0.0, 0.8))


@pytest.mark.parametrize(
    ("places", "share", "meets"),
    [
        ({"/p/cat", "/p/dog"}, (0.3, 1.0), True),
        ({"/p/dog", "/q/owl"}, (0.0, 1.0), True),
        ({"/p/cat", "/p/dog"}, (0.8, 1.0), False),
        ({"/q/cat"}, (0.0, 1.0), False),
    ],
)
def test_an_evaluation_set_of_training_images_is_told(
    places: set[str], share: tuple[float, float], meets: bool
) -> None:
    val = Taken("eval_sets.val", frozenset(places), share)
    lines = overlaps(DATASET, [val], None)
    assert [line.startswith("eval_sets.val takes images of dataset") for line in lines] == (
        [True] if meets else []
    )


def test_what_temperatures_are_fitted_to_is_no_evaluation_set_either() -> None:
    val = Taken("eval_sets.val", frozenset({"/q/cat"}))
    held = Taken("eval_sets.held", frozenset({"/q/cat", "/p/cat"}), (0.5, 1.0))
    lines = overlaps(DATASET, [val], held)
    assert [line.split(" (")[0] for line in lines] == [
        "eval_sets.held takes images of dataset",
        "eval_sets.val takes images of eval_sets.held",
    ]


def test_held_out_images_of_learning_curves_are_nobody_elses() -> None:
    val = Taken("eval_sets.val", frozenset({"/q/cat"}))
    held = Taken("eval_sets.held", frozenset({"/q/cat", "/p/cat"}), (0.5, 1.0))
    lines = overlaps(DATASET, [val], None, held)
    assert [line.split(" (")[0] for line in lines] == [
        "eval_sets.held takes images of dataset",
        "eval_sets.val takes images of eval_sets.held",
    ]
    assert "learning curves are of images that classifiers were trained on" in lines[0]
    apart = Taken("eval_sets.held", frozenset({"/p/cat"}), (0.8, 1.0))
    assert overlaps(DATASET, [val], None, apart) == []


def test_classes_of_one_name_or_of_one_folder_are_told() -> None:
    classes = [ClassInfo("a", "crane"), ClassInfo("b", " Crane"), ClassInfo("c", "owl")]
    lines = list(equal_classes(classes, {"a": "/p/a", "b": "/p/b", "c": "/p/a"}))
    assert [line.split(":")[0] for line in lines] == [
        "the classes a, b are all called 'crane'",
        "the classes a, c are one folder, /p/a",
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two class folders, one of them behind a link, and files that are nobody's class."""
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "photos"
    (root / "cat").mkdir(parents=True)
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    for name in ("README", "README.md", "LICENSE.txt", ".DS_Store", "classes.csv", "wnids.txt~"):
        (root / name).touch()
    (root / ".hidden").mkdir()
    return root


def test_notes_and_hidden_files_beside_class_folders_are_no_trouble(root: Path) -> None:
    assert class_entries(root) == (["cat", "dog"], [], [])
    assert list(class_table({"classes": None, "path": str(root)})) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("owl", "is a link that leads nowhere, to gone/owl"),
        ("loop", "is a link that leads to itself"),
        ("emu", "is a file, no folder"),
        ("owl.tar", "is not unpacked"),
        ("owl.tar.gz", "is not unpacked"),
        ("pipe", "is a pipe or device"),
        ("README", "is a link that leads nowhere, to away"),
    ],
)
def test_what_may_be_a_class_and_cannot_be_read_is_refused(
    root: Path, name: str, reason: str
) -> None:
    path = root / name
    path.unlink(missing_ok=True)
    if name == "pipe":
        os.mkfifo(path)
    elif targets := {"owl": "gone/owl", "loop": "loop", "README": "away"}.get(name):
        path.symlink_to(targets)
    else:
        path.touch()
    with pytest.raises(
        CapsynthError, match=f"{name} {reason}.*list the classes in dataset.classes"
    ):
        class_table({"classes": None, "path": str(root)})
    # Of an evaluation set, or of classes that are listed, the class is missing.
    said = missing_message([("eval_sets.val.path", [str(root)], [path])], [name])
    assert f"{path} (it {reason})" in said


def test_an_archive_beside_a_missing_class_folder_is_named(root: Path) -> None:
    (root / "owl.tar").touch()
    said = missing_message([("dataset.path", [str(root)], [root / "owl"])], ["owl"])
    assert "owl (it is not unpacked: owl.tar is there) of 1 class folders" in said


def test_images_that_belong_to_no_class_are_listed(root: Path) -> None:
    (root / "sheet.png").touch()
    assert class_entries(root) == (["cat", "dog"], [], ["sheet.png"])


def test_subsets_and_mixtures_of_imagenets_evaluation_sets_are_not_independent(
    repository: Path,
) -> None:
    config = complete(yaml.safe_load((repository / "config/imagenet1k.yaml").read_text()))
    assert not_independent(config["eval_sets"]) == [
        "imagenet-v2-mixture",
        "imagenet-val-on-r",
        "imagenet-val-on-a",
    ]


def test_the_evaluation_sets_of_the_default_experiment_are_independent(repository: Path) -> None:
    config = complete(yaml.safe_load((repository / "config.yaml").read_text()))
    assert not_independent(config["eval_sets"]) == []


def test_slices_of_one_folder_that_do_not_overlap_are_independent() -> None:
    def sets(low: float) -> dict[str, dict[str, object]]:
        entry = {"source": "folder", "path": "data"}
        return {"a": {**entry, "share": [0.0, 0.5]}, "b": {**entry, "share": [low, 1.0]}}

    assert not_independent(sets(0.5)) == []
    assert not_independent(sets(0.4)) == ["b"]
