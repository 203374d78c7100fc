"""How many labels of the images of variants are wrong, as rows of label-quality.csv."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capsynth import intervals, statistics
from capsynth import label_quality as quality
from capsynth.errors import CapsynthError
from capsynth.predictions import Predictions, read_predictions
from capsynth.records import known
from capsynth.seeding import derive_seed

EVAL_SET, VARIANT = "eval_set", "variant"
WRONG, WRONG_BY_REAL = "wrong", "wrong_by_real"
DISAGREEMENT, UNSURE = "disagreement", "unsure"
METRICS = (WRONG, WRONG_BY_REAL, DISAGREEMENT, UNSURE)
# The further images of one real image: prompting.PromptRecord.key.
_FURTHER = re.compile(r"(_\d{6})-\d+$")


@dataclass(frozen=True)
class LabelRow:
    """One row of label-quality.csv.

    Attributes:
        kind: ``variant``, or ``eval_set`` for real images that the classifiers did not see.
        name: Name of the variant or of the evaluation set.
        recipe: Recipe of the classifiers.
        class_id: The class, empty for all of them.
        metric: ``wrong``, the share of wrong labels that confident learning estimates;
            ``wrong_by_real``, the same with the thresholds of the evaluation set;
            ``disagreement``, the share of images whose most probable class is another one;
            ``unsure``, the share of images that reach no threshold, which ``wrong`` leaves out.
        value: The share, mean over training seeds; None for a class without a confident image.
        ci_low: Lower bound of its 95 % interval.
        ci_high: Upper bound of it.
        n: Images.
        seeds: Training seeds.
    """

    kind: str
    name: str
    recipe: str
    class_id: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    seeds: int


def measure_labels(
    judgements: Sequence[Path], references: Sequence[Path], draws: int
) -> list[LabelRow]:
    """Return how many labels of variants, and of the real images beside them, are wrong.

    Intervals hold the images, drawn within class and those of one real image together, and the
    training seeds; thresholds are computed anew in every draw.

    Args:
        judgements: Predictions of classifiers that were trained on real images, on the images of
            variants; their evaluation set is the variant.
        references: Predictions of the same classifiers on real images that they have not seen.
        draws: Bootstrap draws.

    Raises:
        CapsynthError: If a judgement has no reference of its classifier, or classifiers answered
            different images.
    """
    groups: dict[tuple[str, str, str], dict[int, Path]] = defaultdict(dict)
    limits: dict[tuple[str, int], statistics.Floats] = {}
    for path in references:
        run = _sorted(read_predictions(path))
        limits[run.recipe, run.seed] = _limits(run, _design(run, EVAL_SET), draws)
        groups[EVAL_SET, run.eval_set, run.recipe][run.seed] = path
    for path in judgements:
        about = read_predictions(path)
        groups[VARIANT, about.eval_set, about.recipe][about.seed] = path
        if (about.recipe, about.seed) not in limits:
            raise CapsynthError(
                f"{path}: there are no answers of its classifier, {about.recipe}, seed "
                f"{about.seed}, to real images; give them under --references"
            )
    rows: list[LabelRow] = []
    for (kind, name, recipe), paths in groups.items():
        rows += _rows(kind, name, recipe, paths, limits, draws)
    return sorted(rows, key=lambda row: (row.kind, row.name, row.recipe, row.class_id, row.metric))


def _sorted(run: Predictions) -> Predictions:
    """Return predictions in the order of class and key, the same for all classifiers."""
    order = np.lexsort((run.keys, run.target))
    return Predictions(
        run.dataset, run.training_set, run.recipe, run.seed, run.eval_set, run.class_ids,
        run.fingerprint, run.keys[order], run.sample_class_ids[order], run.target[order],
        run.prediction[order], run.probabilities[order],
    )  # fmt: skip


def _design(run: Predictions, kind: str) -> statistics.ImageDesign:
    keys = run.keys.tolist()
    sources = [_FURTHER.sub(r"\1", key) for key in keys] if kind == VARIANT else keys
    return statistics.image_design(run.sample_class_ids.tolist(), sources)


def _draws(
    run: Predictions, design: statistics.ImageDesign, draws: int
) -> Iterable[quality.Floats]:
    """Yield the weights of each draw, after equal ones for the estimate itself."""
    yield np.ones(len(run))
    seed = derive_seed("bootstrap", "labels", run.dataset, run.eval_set)
    for block in statistics.image_weights(design, draws, seed):
        yield from block


def _limits(run: Predictions, design: statistics.ImageDesign, draws: int) -> quality.Floats:
    """Return the thresholds of the images and of every draw of them, (1 + draws, classes)."""
    own = run.probabilities[np.arange(len(run)), run.target].astype(np.float64)
    classes = len(run.class_ids)
    return np.stack(
        [
            quality.own_thresholds(own, run.target, classes, weights)
            for weights in _draws(run, design, draws)
        ]
    )


def _shares(
    run: Predictions, design: statistics.ImageDesign, of_real: quality.Floats, draws: int
) -> quality.Floats:
    """Return all metrics of the images and of every draw: (1 + draws, metrics, 1 + classes)."""
    of_own = _limits(run, design, draws)
    least = np.minimum(of_own.min(axis=0), of_real.min(axis=0))
    found = quality.candidates(run.probabilities, least)
    labels, classes = run.target, len(run.class_ids)
    disagrees = run.prediction != labels
    shares = np.empty((1 + draws, len(METRICS), 1 + classes))
    for place, weights in enumerate(_draws(run, design, draws)):
        own = quality.confident_classes(found, of_own[place])
        real = quality.confident_classes(found, of_real[place])
        shares[place] = (
            quality.wrong_shares(own, labels, weights, classes),
            quality.wrong_shares(real, labels, weights, classes),
            quality.plain_shares(disagrees, labels, weights, classes),
            quality.plain_shares(own == quality.NONE, labels, weights, classes),
        )
    return shares


def _rows(
    kind: str,
    name: str,
    recipe: str,
    paths: Mapping[int, Path],
    limits: Mapping[tuple[str, int], quality.Floats],
    draws: int,
) -> list[LabelRow]:
    first: Predictions | None = None
    shares = []
    for seed, path in sorted(paths.items()):
        run = _sorted(read_predictions(path))
        first = first or run
        if not (np.array_equal(run.keys, first.keys) and np.array_equal(run.target, first.target)):
            raise CapsynthError(
                f"{name}, {recipe}: seeds {first.seed} and {seed} answered different images; judge "
                "them all anew"
            )
        shares.append(_shares(run, _design(run, kind), limits[recipe, seed], draws))
    assert first is not None
    design, every = _design(first, kind), np.stack(shares)
    rows = []
    for column, class_id in enumerate(["", *first.class_ids]):
        mine = np.flatnonzero((first.target == column - 1) | (column == 0))
        if len(mine) == 0:
            continue
        df = statistics.image_df(design, mine)
        units = len(np.unique(design.unit[mine]))
        for place, metric in enumerate(METRICS):
            value, low, high = _estimate(every[:, :, place, column], df, units)
            rows.append(
                LabelRow(
                    kind, name, recipe, class_id, metric, known(value), known(low), known(high),
                    len(mine), len(every),
                )
            )  # fmt: skip
    return rows


def _estimate(shares: quality.Floats, df: int, units: int) -> tuple[float, float, float]:
    """Return a mean share and its interval, of shape (seeds, 1 + draws).

    Where no variance is found, of images or of seeds, the interval is the exact one of a share of
    ``units`` images (Clopper and Pearson, Biometrika 26(4), 1934): never of no width.
    """
    if np.isnan(shares[:, 0]).any():
        return float("nan"), float("nan"), float("nan")
    # A draw without a confident image of the class says nothing of it.
    replicates = np.where(np.isnan(shares[:, 1:]), shares[:, :1], shares[:, 1:])
    found = statistics.estimate(shares[:, :1], replicates[:, :, None], np.array([df]))
    value, low, high = float(found.value[0]), float(found.low[0]), float(found.high[0])
    if high - low <= intervals.NO_WIDTH:
        from scipy import special  # slow to import

        wrong = value * units
        low = float(special.betaincinv(wrong, units - wrong + 1, 0.025)) if wrong > 0 else 0.0
        high = float(special.betaincinv(wrong + 1, units - wrong, 0.975)) if value < 1 else 1.0
    return value, max(0.0, low), min(1.0, high)
