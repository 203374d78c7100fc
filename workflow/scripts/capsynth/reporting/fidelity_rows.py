"""Fidelity and diversity of each variant in each feature space, as rows of fidelity.csv.

All are compared with a reference: real images that no variant was made from. The real images that
variants were made from are compared with it too: what they get is the floor, which nothing that
draws the same distribution anew goes below. All sets are cut to as many images as the smallest has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth import fidelity
from capsynth.errors import CapsynthError
from capsynth.features import Features, read_features
from capsynth.fidelity_errors import standard_errors
from capsynth.records import known
from capsynth.seeding import bucket

# Kinds of images: those compared with, those that variants are made from, and variants.
REFERENCE, REAL, VARIANT = "reference", "real", "variant"
KINDS = (REFERENCE, REAL, VARIANT)
VENDI, AGREEMENT = "vendi_score", "prompt_agreement"
# Fréchet distance of a variant to the real images that variants were made from.
CAPTIONED = "frechet_distance_captioned"

Integers = npt.NDArray[np.integer]
Found = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class ImageSet:
    """Files of features of a set of images.

    Attributes:
        extractor: Name of the feature extractor.
        kind: One of ``KINDS``.
        name: Name of the evaluation set, the data set or the variant.
        paths: Files of its features.
    """

    extractor: str
    kind: str
    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Comparison:
    """How sets are compared.

    Attributes:
        max_images: Of more images of a set, or of a class of it, so many are taken.
        draws: How often images are dealt into quarters for a standard error.
        neighbours: How many there are in the ball of an image.
    """

    max_images: int
    draws: int
    neighbours: int


@dataclass(frozen=True)
class FidelityRow:
    """One row of fidelity.csv.

    Attributes:
        extractor: Name of the feature extractor.
        kind: What the images are: ``reference``, ``real`` or ``variant``.
        name: Name of the evaluation set, the data set or the variant.
        class_id: The class, empty for all of them.
        metric: Name of the number.
        value: The number; None where there are too few images for it.
        standard_error: Its standard error (``fidelity_errors``), other images being drawn on both
            sides; None where a quarter of the images is too few.
        compared_with: Real images that are compared with.
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
    compared_with: int
    images: int
    dimensions: int


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Images of a set in one class, or in all of them, as many as are compared."""

    features: Features
    places: Integers

    def __len__(self) -> int:
        return len(self.places)

    @property
    def class_ids(self) -> npt.NDArray[np.str_]:
        return self.features.class_ids[self.places]

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        """The source of each image, or itself if it has none."""
        sources = self.features.source_keys[self.places]
        return np.where(sources == "", self.features.keys[self.places], sources)

    def values(self, places: Integers | slice = slice(None)) -> npt.NDArray[np.float32]:
        return self.features.values[self.places[places]]


def measure_fidelity(sets: Sequence[ImageSet], comparison: Comparison) -> list[FidelityRow]:
    """Return the numbers of every set against the reference, overall and by class, sorted.

    Args:
        sets: For each feature extractor one of the kinds ``reference`` and ``real``, and variants.
        comparison: How they are compared.

    Raises:
        CapsynthError: If a feature extractor has not exactly one reference and one set of real
            images, or a set is of another feature space.
    """
    rows = []
    for extractor in sorted({one.extractor for one in sets}):
        its_sets = [one for one in sets if one.extractor == extractor]
        read = [(one, read_features(one.paths)) for one in its_sets]
        reference = _only(extractor, REFERENCE, read)
        real = _only(extractor, REAL, read)
        for one, images in read:
            if images.space != reference.space:
                raise CapsynthError(
                    f"{one.name}: another feature space than that of the reference; extract both "
                    f"anew with {extractor}"
                )
        for class_id in ("", *sorted({c for _, images in read for c in images.class_ids.tolist()})):
            most = _common_size([images for _, images in read], class_id, comparison)
            against = _chosen(reference, class_id, most)
            captioned = _chosen(real, class_id, most)
            for one, images in read:
                chosen = _chosen(images, class_id, most)
                found = _measure(one.kind, chosen, against, captioned, comparison)
                rows += [
                    FidelityRow(
                        extractor,
                        one.kind,
                        one.name,
                        class_id,
                        metric,
                        known(value),
                        known(error),
                        len(captioned) if metric == CAPTIONED else len(against),
                        len(chosen),
                        images.values.shape[1],
                    )
                    for metric, (value, error) in found.items()
                ]
    return sorted(
        rows, key=lambda row: (row.extractor, row.kind, row.name, row.class_id, row.metric)
    )


def _only(extractor: str, kind: str, read: Sequence[tuple[ImageSet, Features]]) -> Features:
    """Return the features of the only set of a kind."""
    found = [images for one, images in read if one.kind == kind]
    if len(found) != 1:
        raise CapsynthError(
            f"{extractor}: {len(found)} sets of the kind {kind!r}; name exactly one"
        )
    return found[0]


def _common_size(sets: Sequence[Features], class_id: str, comparison: Comparison) -> int:
    """Return how many images of each set are compared.

    They are as many as the smallest set has. A set with too few for a neighbour does not count, or
    one variant that hardly has an image of a class would take the class from all others; it keeps
    what it has.
    """
    sizes = [int(((f.class_ids == class_id) | (class_id == "")).sum()) for f in sets]
    enough = [size for size in sizes if size > comparison.neighbours]
    return min([*enough, comparison.max_images])


def _measure(
    kind: str, chosen: _Chosen, reference: _Chosen, captioned: _Chosen, comparison: Comparison
) -> Found:
    """Return the numbers of one set by name, each with its standard error."""

    def score(a: Integers, b: Integers) -> dict[str, float]:
        return fidelity.compare(reference.values(a), chosen.values(b), comparison.neighbours).scores

    def distance(a: Integers, b: Integers) -> dict[str, float]:
        return {CAPTIONED: fidelity.frechet_distance(captioned.values(a), chosen.values(b))}

    def vendi(a: Integers, b: Integers) -> dict[str, float]:
        return {VENDI: fidelity.vendi_score(chosen.values(b))}

    if kind == REFERENCE:
        # Against itself it has no numbers; how diverse it is stands beside the others.
        return _with_errors(vendi, reference, chosen, comparison.draws)
    found = dict(_with_errors(score, reference, chosen, comparison.draws))
    if kind == VARIANT:
        found |= _with_errors(distance, captioned, chosen, comparison.draws, paired=True)
        agreement = chosen.features.prompt_agreement[chosen.places]
        if np.isfinite(agreement).any():
            found[AGREEMENT] = _agreement(agreement, chosen.class_ids)
    return found


def _with_errors(
    score: fidelity.Scores, first: _Chosen, second: _Chosen, draws: int, paired: bool = False
) -> Found:
    whole = score(np.arange(len(first)), np.arange(len(second)))
    errors = standard_errors(
        lambda a, b: list(score(a, b).values()),
        (first.groups, second.groups),
        (first.class_ids, second.class_ids),
        draws=draws,
        paired=paired,
    )
    return {name: (whole[name], error) for name, error in zip(whole, errors, strict=True)}


def _chosen(features: Features, class_id: str, most: int) -> _Chosen:
    """Return at most so many images of a class, or of all classes in proportion, in order."""
    rows = np.flatnonzero((features.class_ids == class_id) | (class_id == ""))
    if len(rows) <= most:
        return _Chosen(features, rows)
    # A hash of the key and not a draw: adding images leaves most of the choice as it was.
    marks = np.array([bucket(f"fidelity/{features.keys[row]}", 1 << 60) for row in rows])
    ids = features.class_ids[rows]
    shares = np.empty(len(rows))
    for name in np.unique(ids):
        own = np.flatnonzero(ids == name)
        own = own[np.argsort(marks[own], kind="stable")]
        shares[own] = (np.arange(len(own)) + 0.5) / len(own)
    return _Chosen(features, np.sort(rows[np.lexsort((marks, shares))[:most]]))


def _agreement(
    cosines: npt.NDArray[np.floating], class_ids: npt.NDArray[np.str_]
) -> tuple[float, float]:
    """Return the mean cosine and its standard error, images being drawn within their class."""
    known = np.isfinite(cosines)
    values, names = cosines[known].astype(np.float64), class_ids[known]
    parts = [values[names == name] for name in np.unique(names)]
    variance = sum(len(part) * part.var(ddof=1) for part in parts if len(part) > 1)
    return float(values.mean()), float(np.sqrt(variance) / len(values))
