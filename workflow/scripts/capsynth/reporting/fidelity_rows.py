"""Fidelity and diversity of each variant in each feature space, as rows of fidelity.csv."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth import fidelity
from capsynth.errors import CapsynthError
from capsynth.features import Features, read_features
from capsynth.records import known
from capsynth.seeding import bucket

# Kinds of images. Those of an evaluation set are real too: they are what real images get.
REAL, EVAL_SET, VARIANT = "real", "eval_set", "variant"
KINDS = (REAL, EVAL_SET, VARIANT)
# Numbers of ``fidelity.compare`` that compare images with the real ones, under these names.
COMPARED = ("frechet_distance", "precision", "recall", "density", "coverage")
VENDI, AGREEMENT = "vendi_score", "prompt_agreement"

Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class ImageSet:
    """Files of features of a set of images.

    Attributes:
        extractor: Name of the feature extractor.
        kind: One of ``KINDS``.
        name: Name of the data set, the evaluation set or the variant.
        paths: Files of its features.
    """

    extractor: str
    kind: str
    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class FidelityRow:
    """One row of fidelity.csv.

    Attributes:
        extractor: Name of the feature extractor.
        kind: What the images are: ``real``, ``eval_set`` or ``variant``.
        name: Name of the data set, the evaluation set or the variant.
        class_id: The class, empty for all of them.
        metric: Name of the number.
        value: The number; None where there are too few images for it.
        standard_error: Its standard error (``fidelity.standard_errors``), other images being drawn.
        real: Real images that are compared with.
        images: Images that are compared.
        dimensions: Of the feature space.
    """

    extractor: str
    kind: str
    name: str
    class_id: str
    metric: str
    value: float | None
    standard_error: float | None
    real: int
    images: int
    dimensions: int


def measure_fidelity(
    sets: Sequence[ImageSet], max_images: int, draws: int, neighbours: int
) -> list[FidelityRow]:
    """Return the numbers of every set against the real images, overall and by class, sorted.

    Args:
        sets: One of the kind ``real`` for each feature extractor, and those compared with it.
        max_images: Of more images of a set, or of a class of it, so many are taken, chosen by a
            hash of their keys.
        draws: Random halves behind each standard error.
        neighbours: How many there are in the ball of an image.

    Raises:
        CapsynthError: If a feature extractor has not exactly one set of real images.
    """
    rows = []
    for extractor in sorted({one.extractor for one in sets}):
        its_sets = [one for one in sets if one.extractor == extractor]
        real = [read_features(one.paths) for one in its_sets if one.kind == REAL]
        if len(real) != 1:
            raise CapsynthError(f"{extractor}: {len(real)} sets of real images; name exactly one")
        for one in its_sets:
            images = real[0] if one.kind == REAL else read_features(one.paths)
            if images.space != real[0].space:
                raise CapsynthError(
                    f"{one.name}: another feature space than that of the real images; extract both "
                    f"anew with {extractor}"
                )
            classes = {*real[0].class_ids.tolist(), *images.class_ids.tolist()}
            for class_id in ("", *classes):
                rows += _measure(one, class_id, real[0], images, max_images, draws, neighbours)
    return sorted(
        rows, key=lambda row: (row.extractor, row.kind, row.name, row.class_id, row.metric)
    )


def _measure(
    one: ImageSet,
    class_id: str,
    real: Features,
    images: Features,
    max_images: int,
    draws: int,
    neighbours: int,
) -> list[FidelityRow]:
    """Return the numbers of one set in one class, or in all of them."""
    a, b = _chosen(real, class_id, max_images), _chosen(images, class_id, max_images)
    if one.kind == REAL:
        # Real images against themselves say nothing; how diverse they are stands beside the others.
        b = b[:0]
    features = (real.values[a], real.class_ids[a], images.values[b], images.class_ids[b])
    scores = fidelity.compare(features[0], features[2], neighbours).scores
    errors = fidelity.standard_errors(*features, draws=draws, k=neighbours)
    of = "vendi_real" if one.kind == REAL else "vendi_synthetic"
    found = {VENDI: (scores[of], errors[of])}
    if one.kind != REAL:
        found |= {name: (scores[name], errors[name]) for name in COMPARED}
    if one.kind == VARIANT and np.isfinite(images.prompt_agreement[b]).any():
        found[AGREEMENT] = _agreement(images.prompt_agreement[b], images.class_ids[b])
    return [
        FidelityRow(
            one.extractor,
            one.kind,
            one.name,
            class_id,
            metric,
            known(value),
            known(error),
            len(a),
            len(a) if one.kind == REAL else len(b),
            real.values.shape[1],
        )
        for metric, (value, error) in found.items()
    ]


def _chosen(features: Features, class_id: str, most: int) -> Integers:
    """Return the places of at most so many images of a class, or of all, in their order."""
    rows = np.flatnonzero((features.class_ids == class_id) | (class_id == ""))
    if len(rows) <= most:
        return rows
    # A hash of the key and not a draw: adding images leaves most of the choice as it was.
    marks = [bucket(f"fidelity/{features.keys[row]}", 1 << 60) for row in rows]
    return np.sort(rows[np.argsort(marks, kind="stable")[:most]])


def _agreement(
    cosines: npt.NDArray[np.floating], class_ids: fidelity.Strings
) -> tuple[float, float]:
    """Return the mean cosine and its standard error, images being drawn within their class."""
    known = np.isfinite(cosines)
    values, names = cosines[known].astype(np.float64), class_ids[known]
    parts = [values[names == name] for name in np.unique(names)]
    variance = sum(len(part) * part.var(ddof=1) for part in parts if len(part) > 1)
    return float(values.mean()), float(np.sqrt(variance) / len(values))
