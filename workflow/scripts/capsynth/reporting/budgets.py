"""Budgets: how many images, optimisation steps and epochs stand behind each score.

Two training sets compare at equal budgets only if something is held equal. What it is, every
comparison says: the number of images, that of optimisation steps, both or none.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.files import read_json
from capsynth.integrity import unreadable
from capsynth.records import read_records
from capsynth.reporting.scores import ScoreIndex
from capsynth.reporting.tables import MISSING, Cell, Column, decimals
from capsynth.shards import read_manifest, shard_name, usable
from capsynth.shares import Share, take_share

# Numbers that differ by no more than this share of the greater one count as equal: the last step
# of an epoch is rounded up, and a few images of a variant may be missing.
TOLERANCE = 0.01
UNEQUAL_STEPS = "\N{DAGGER}"
UNEQUAL_IMAGES = "\N{DOUBLE DAGGER}"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Budget:
    """What one training was given: a row of budgets.csv.

    Attributes:
        dataset: Name of the dataset.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        seed: Training seed.
        real_images: Real images that it was trained on.
        synthetic_images: Synthetic images that it was trained on.
        steps: Optimisation steps.
        epochs: Passes over the images, the last one maybe in part.
    """

    dataset: str
    training_set: str
    recipe: str
    seed: int
    real_images: int
    synthetic_images: int
    steps: int
    epochs: float

    @property
    def images(self) -> int:
        """All images."""
        return self.real_images + self.synthetic_images


# Of every dataset, training set and recipe, its trainings.
Budgets = Mapping[tuple[str, str, str], Sequence[Budget]]


@dataclass(frozen=True)
class Training:
    """A training, as its history tells of it.

    Attributes:
        training_set: Name of the training set.
        recipe: Name of the recipe.
        batch_size: Images of a step.
        history: The JSON beside its checkpoint.
    """

    training_set: str
    recipe: str
    batch_size: int
    history: Path


@dataclass(frozen=True)
class Mix:
    """Where the images of a training set come from.

    Attributes:
        real: Whether real images are among them.
        synthetic: Folders of synthetic shards, and the fraction that is taken of each.
    """

    real: bool
    synthetic: Mapping[Path, float | Share]


def measure_budgets(
    dataset: str,
    trainings: Iterable[Training],
    mixes: Mapping[str, Mix],
    class_ids: Sequence[str],
    parts_per_class: int,
) -> list[Budget]:
    """Return the budget of every training, in the order given.

    The number of images and of steps is that of the training's own history. Where real and
    synthetic images are mixed, the synthetic ones are counted in their manifests, and the rest
    is real.

    Args:
        dataset: Name of the dataset.
        trainings: The trainings.
        mixes: What each training set consists of.
        class_ids: Classes of the dataset.
        parts_per_class: Shards of each class in a folder.

    Raises:
        CapsynthError: If a history has no such numbers, or fewer images than its manifests.
    """
    synthetic = {
        name: sum(
            len(take_share(usable(read_manifest(folder / f"{shard}.jsonl")), share))
            for folder, share in mix.synthetic.items()
            for shard in (shard_name(c, part) for c in class_ids for part in range(parts_per_class))
        )
        for name, mix in mixes.items()
        if mix.real and mix.synthetic
    }
    budgets = []
    for training in trainings:
        mix, history = mixes[training.training_set], read_json(training.history)
        try:
            images, steps = int(history["images"]), int(history["steps"])
            seed = int(history["seed"])
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(training.history, error) from error
        drawn = synthetic.get(training.training_set, 0 if mix.real else images)
        if drawn > images:
            raise CapsynthError(
                f"{training.history}: was trained on {images} images, but the manifests of "
                f"{training.training_set} have {drawn} synthetic ones alone; run "
                "train_classifier again"
            )
        epochs = steps / -(-images // training.batch_size)
        budgets.append(
            Budget(dataset, training.training_set, training.recipe, seed, images - drawn, drawn,
                   steps, epochs)
        )  # fmt: skip
    return budgets


def index_budgets(rows: Iterable[Budget]) -> Budgets:
    """Return the budgets by dataset, training set and recipe."""
    index: dict[tuple[str, str, str], list[Budget]] = defaultdict(list)
    for row in rows:
        index[row.dataset, row.training_set, row.recipe].append(row)
    return dict(index)


def _numbers(values: Iterable[float], digits: int = 0) -> str:
    """Return a number, or the range of those that differ between seeds."""
    found = sorted(set(values))
    texts = [f"{x:,.0f}" if digits == 0 or x == round(x) else decimals(x, digits) for x in found]
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


def images_text(rows: Sequence[Budget]) -> str:
    """Return how many images there are, ``400`` or of both kinds ``400 + 400``, real ones first."""
    if not rows:
        return MISSING
    kinds = ([row.real_images for row in rows], [row.synthetic_images for row in rows])
    return " + ".join(_numbers(kind) for kind in kinds if any(kind)) or "0"


def steps_text(rows: Sequence[Budget]) -> str:
    """Return how many steps there are."""
    return _numbers(row.steps for row in rows) if rows else MISSING


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _csv(values: Sequence[float]) -> str:
    """Return the number, or the mean over seeds where they differ."""
    return f"{round(_mean(values), 4):.12g}"


def budget_columns(group: str = "") -> tuple[Column, ...]:
    """Return the columns of images, steps and epochs; ``budget_cells`` fills them."""
    return (
        Column("Images", ("real_images", "synthetic_images"), group),
        Column("Steps", ("steps",), group),
        Column("Epochs", ("epochs",), group),
    )


def budget_cells(rows: Sequence[Budget]) -> tuple[Cell, ...]:
    """Return the cells of images, steps and epochs of a training set."""
    if not rows:
        return (Cell(MISSING, ("", ""), None), *[Cell(MISSING, ("",), None)] * 2)
    real, synthetic = [r.real_images for r in rows], [r.synthetic_images for r in rows]
    steps, epochs = [r.steps for r in rows], [r.epochs for r in rows]
    return (
        Cell(images_text(rows), (_csv(real), _csv(synthetic)), _mean(real) + _mean(synthetic)),
        Cell(steps_text(rows), (_csv(steps),), _mean(steps)),
        Cell(_numbers(epochs, 1), (_csv(epochs),), _mean(epochs)),
    )


def _are_equal(first: Sequence[float], second: Sequence[float]) -> bool:
    values = [*first, *second]
    return max(values) - min(values) <= TOLERANCE * max(values)


@dataclass(frozen=True)
class Sides:
    """The budgets of the two sides of a comparison.

    Attributes:
        first: Trainings of the first training set.
        second: Trainings of the one that is subtracted.
        images_are_asked: Whether the number of images is what the comparison asks about, so that
            unequal images are no reservation.
    """

    first: Sequence[Budget]
    second: Sequence[Budget]
    images_are_asked: bool = False

    @property
    def are_known(self) -> bool:
        """Whether both sides have a training."""
        return bool(self.first and self.second)

    @property
    def equal_steps(self) -> bool:
        """Whether all trainings have as many steps, within 1 %."""
        return _are_equal([b.steps for b in self.first], [b.steps for b in self.second])

    @property
    def equal_images(self) -> bool:
        """Whether all training sets have as many images, within 1 %."""
        return _are_equal([b.images for b in self.first], [b.images for b in self.second])

    @property
    def equal(self) -> str:
        """What is equal: ``images+steps``, ``images``, ``steps``, ``none`` or ``unknown``."""
        if not self.are_known:
            return UNKNOWN
        named = (("images", self.equal_images), ("steps", self.equal_steps))
        return "+".join(name for name, is_equal in named if is_equal) or "none"

    @property
    def marks(self) -> str:
        """The marks of what is not equal; none where nothing is known."""
        if not self.are_known:
            return ""
        steps = "" if self.equal_steps else UNEQUAL_STEPS
        return steps + ("" if self.equal_images or self.images_are_asked else UNEQUAL_IMAGES)

    def said(self) -> list[str]:
        """Return what the marks stand for, with the numbers of this comparison."""
        said = []
        if UNEQUAL_STEPS in self.marks:
            numbers = f"{steps_text(self.first)} and {steps_text(self.second)}"
            said.append(f"{UNEQUAL_STEPS} the two sides differ in optimisation steps: {numbers}")
        if UNEQUAL_IMAGES in self.marks:
            numbers = f"{images_text(self.first)} and {images_text(self.second)}"
            said.append(f"{UNEQUAL_IMAGES} the two sides differ in images: {numbers}")
        return said


def sides_of(
    budgets: Budgets, dataset: str, pair: Sequence[str], recipe: str, images_are_asked: bool = False
) -> Sides:
    """Return the budgets of a comparison's two sides."""
    first, second = (budgets.get((dataset, name, recipe), []) for name in pair)
    return Sides(first, second, images_are_asked)


def shared_seeds(
    index: ScoreIndex, dataset: str, pair: tuple[str, str], recipe: str, eval_set: str
) -> int:
    """Return how many training seeds a comparison pairs."""
    first, second = (
        {run.seed for run in index.runs.get((dataset, name, recipe, eval_set, "top1"), [])}
        for name in pair
    )
    return len(first & second)


def sides_columns(group: str = "") -> tuple[Column, ...]:
    """Return the columns of both sides' images and steps, and of what of them is equal."""
    of_images = ("real_images", "synthetic_images")
    return (
        Column("Images", tuple(f"{name}_{side}" for side in "ab" for name in of_images), group),
        Column("Steps", ("steps_a", "steps_b"), group),
        Column("Equal", ("equal",), group, numeric=False),
    )


def sides_cells(sides: Sides) -> tuple[Cell, ...]:
    """Return the cells of both sides' images and steps, ``400 / 800``, and of what is equal."""
    first, second = budget_cells(sides.first), budget_cells(sides.second)
    joined = []
    for a, b in zip(first[:2], second[:2], strict=True):
        text = a.text if a.text == b.text else f"{a.text} / {b.text}"
        joined.append(Cell(text, (*a.csv_values, *b.csv_values), a.sort))
    return (*joined, Cell(sides.equal, (sides.equal,), sides.equal))


def marked(cell: Cell, sides: Sides) -> Cell:
    """Return the cell of a difference with the marks of what its sides do not have equal."""
    if cell.sort is None or not sides.marks:
        return cell
    return replace(cell, text=f"{cell.text} {sides.marks}")


def marks_note(found: Iterable[Sides]) -> str:
    """Return what the marks of a table mean, those that it has."""
    marks = {mark for sides in found for mark in sides.marks}
    said = []
    if UNEQUAL_STEPS in marks:
        said.append(f"{UNEQUAL_STEPS} the two sides differ in optimisation steps")
    if UNEQUAL_IMAGES in marks:
        said.append(f"{UNEQUAL_IMAGES} the two sides differ in the number of images")
    if not said:
        return ""
    return f"{'; '.join(said)}, by more than 1 %: part of such a difference may be theirs."


def read_budgets(path: Path) -> Budgets:
    """Read budgets.csv.

    Raises:
        CapsynthError: If the file does not exist, has other columns or a value is no number.
    """
    return index_budgets(read_records(path, Budget, "measure_budgets"))
