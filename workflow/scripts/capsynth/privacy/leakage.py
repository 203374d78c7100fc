"""What synthetic images give away of the real images that their captions describe."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError
from capsynth.features import Features, read_features
from capsynth.privacy.images import (
    NEAR_BITS,
    Nearest,
    difference_hash,
    equal_positions,
    match_pairs,
    nearer_to_sources,
    nearest_by_features,
    nearest_by_hash,
    pixel_digest,
    repeats,
    unit_rows,
)
from capsynth.privacy.results import Leakage
from capsynth.seeding import derive_seed
from capsynth.shards import ShardReader, ShardRecord, read_manifest, usable
from capsynth.statistics import image_design, image_weights, interval

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

REAL = "real"
HASH = "hash"
PIXELS = "pixels"


@dataclass(frozen=True)
class Shards:
    """A set of images.

    Attributes:
        images: Tar and manifest of each shard.
        features: Their features; none where no feature space is looked at.
    """

    images: tuple[tuple[Path, Path], ...]
    features: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class Looks:
    """What is compared of ``n`` images.

    Attributes:
        records: The images.
        digests: Of their pixels.
        hashes: Their difference hashes, shape (n,).
        features: Unit feature vectors, shape (n, dimensions); (n, 0) without a feature space.
        space: The feature space, or None.
    """

    records: Sequence[ShardRecord]
    digests: Sequence[str]
    hashes: npt.NDArray[np.uint64]
    features: Floats
    space: str | None


def look_at(shards: Shards) -> Looks:
    """Read a set of images and its features.

    Raises:
        CapsynthError: If it has no image, or the features are not those of its images.
    """
    records: list[ShardRecord] = []
    digests: list[str] = []
    hashes: list[np.uint64] = []
    for tar, manifest in shards.images:
        with ShardReader(tar) as reader:
            for record in usable(read_manifest(manifest)):
                image = reader.read_image(record)
                records.append(record)
                digests.append(pixel_digest(image))
                hashes.append(difference_hash(image))
    if not records:
        raise CapsynthError(
            f"{shards.images[0][1] if shards.images else 'no shard'}: no image to look at; leave "
            "the variant out of privacy.leakage"
        )
    features: Features | None = read_features(shards.features) if shards.features else None
    shown = [(record.class_id, record.key) for record in records]
    if features is not None and shown != list(
        zip(features.class_ids.tolist(), features.keys.tolist(), strict=True)
    ):
        raise CapsynthError(
            f"{shards.features[0]}: features of other images than {shards.images[0][1]} has; "
            "extract them again"
        )
    return Looks(
        records,
        digests,
        np.array(hashes, dtype=np.uint64),
        np.zeros((len(records), 0)) if features is None else unit_rows(features.values),
        None if features is None else features.space,
    )


def measure_leakage(
    dataset: str,
    real: Shards,
    held_out: Shards,
    variants: Mapping[str, Shards],
    space: str | None,
    draws: int,
) -> list[Leakage]:
    """Return the leakage of variants whose images descend from real ones.

    Args:
        dataset: Name of the dataset.
        real: The captioned images.
        held_out: Real images that were not captioned, of the same distribution.
        variants: Synthetic images by name of the variant; those without a source are left out.
        space: Name of the feature space; None if no set has features.
        draws: Bootstrap replicates.

    Raises:
        CapsynthError: If an image descends from none of ``real``, or feature spaces differ.
    """
    captioned, others = look_at(real), look_at(held_out)
    rows = _among_real(dataset, captioned, space)
    for name, shards in variants.items():
        rows += _of_variant(dataset, name, look_at(shards), captioned, others, space, draws)
    return rows


def _among_real(dataset: str, real: Looks, space: str | None) -> list[Leakage]:
    """Return how close different real images come to each other: what to compare variants with."""
    n = len(real.records)

    def row(where: str, metric: str, value: float) -> Leakage:
        return Leakage(dataset, REAL, where, metric, float(value), None, None, n)

    by_hash = nearest_by_hash(real.hashes, real.hashes, itself=True).value
    rows = [
        row(HASH, "nearest_distance", by_hash.mean()),
        row(HASH, "near_duplicates", (by_hash <= NEAR_BITS).mean()),
        row(PIXELS, "repeats", repeats(real.digests) / n),
    ]
    if space is not None:
        similar = nearest_by_features(real.features, real.features, itself=True).value
        rows += [
            row(space, "nearest_similarity", similar.mean()),
            row(space, "highest_similarity", similar.max()),
        ]
    return rows


def _of_variant(
    dataset: str,
    variant: str,
    images: Looks,
    real: Looks,
    held_out: Looks,
    space: str | None,
    draws: int,
) -> list[Leakage]:
    source = _sources(variant, images, real)
    design = image_design(
        [record.class_id for record in images.records],
        [real.records[position].key for position in source],
    )
    seed = derive_seed("bootstrap", "leakage", dataset)
    n = len(images.records)
    rows: list[Leakage] = []

    def mean(where: str, metric: str, values: Floats) -> None:
        """Images are drawn within their class, those of one source together."""
        blocks = image_weights(design, draws, seed)
        means = np.concatenate([weights @ values / weights.sum(axis=1) for weights in blocks])
        low, high = interval(means)
        rows.append(
            Leakage(
                dataset, variant, where, metric, float(values.mean()), float(low), float(high), n
            )
        )

    def share(where: str, metric: str, count: int) -> None:
        low, high = _exact_interval(count, n)
        rows.append(Leakage(dataset, variant, where, metric, count / n, low, high, n))

    def chance(where: str, metric: str, value: float) -> None:
        rows.append(Leakage(dataset, variant, where, metric, value, None, None, n))

    def nearest(where: str, captioned: Nearest, other: Nearest, sign: float) -> None:
        """Values grow with similarity where ``sign`` is 1, with distance where it is -1."""
        name = "nearest_similarity" if sign > 0 else "nearest_distance"
        to_sources, to_others = (sign * np.asarray(one.value, float) for one in (captioned, other))
        mean(where, name, sign * to_sources)
        mean(where, "own_is_nearest", (captioned.position == source).astype(np.float64))
        chance(where, "own_is_nearest_by_chance", 1 / len(real.records))
        mean(where, "nearer_to_sources", nearer_to_sources(to_sources, to_others))
        known = len(real.records) + len(held_out.records)
        chance(where, "nearer_to_sources_by_chance", len(real.records) / known)

    by_hash = nearest_by_hash(images.hashes, real.hashes)
    nearest(HASH, by_hash, nearest_by_hash(images.hashes, held_out.hashes), -1.0)
    share(HASH, "near_duplicates", int((by_hash.value <= NEAR_BITS).sum()))
    share(
        PIXELS, "exact_duplicates", int((equal_positions(images.digests, real.digests) >= 0).sum())
    )
    share(PIXELS, "repeats", repeats(images.digests))
    if space is None:
        return rows
    _check_space(variant, images, real, held_out)
    own = nearest_by_features(images.features, real.features)
    nearest(space, own, nearest_by_features(images.features, held_out.features), 1.0)
    # Nearer to a real image than any two different real images are to each other.
    limit = nearest_by_features(real.features, real.features, itself=True).value.max()
    share(space, "near_duplicates", int((own.value > limit).sum()))
    real_design = image_design(
        [record.class_id for record in real.records], [record.key for record in real.records]
    )
    for others, group in _groups(images, source, real).items():
        compared = np.bincount(group)[group[source]] > 1
        if not compared.any():
            continue
        pairs = match_pairs(images.features, source, real.features, group)
        low, high = interval(pairs.replicates(real_design, draws, seed))
        for place, (metric, value) in enumerate((("auc", pairs.auc), ("gap", pairs.gap))):
            bounds = float(low[place]), float(high[place])
            name = f"{metric}/{others}"
            rows.append(Leakage(dataset, variant, space, name, value, *bounds, int(compared.sum())))
    return rows


def _sources(variant: str, images: Looks, real: Looks) -> Integers:
    """Return the position of the real image that each synthetic one descends from."""
    # Keys are unique within a class.
    place = {(r.class_id, r.key): position for position, r in enumerate(real.records)}
    missing = [r.key for r in images.records if (r.class_id, r.source_key) not in place]
    if missing:
        raise CapsynthError(
            f"variant {variant!r}: {missing[0]} descends from no real image; leave the variant out "
            "of privacy.leakage"
        )
    return np.array([place[r.class_id, str(r.source_key)] for r in images.records], dtype=np.int64)


def _check_space(variant: str, *sets: Looks) -> None:
    if len({looks.space for looks in sets}) > 1:
        raise CapsynthError(
            f"variant {variant!r}: its features and those of real images are not of one feature "
            "space; extract them again"
        )


def _groups(images: Looks, source: Integers, real: Looks) -> dict[str, Integers]:
    """Return who the other real images are: any, those of the class, those of the same prompts.

    Real images of one class whose synthetic images have the same prompts were the same to the
    generator: what tells them apart has come another way.
    """
    prompts: dict[int, set[str]] = defaultdict(set)
    for position, record in zip(source.tolist(), images.records, strict=True):
        prompts[position].add(record.prompt or "")
    classes = [record.class_id for record in real.records]
    # A real image of which nothing was drawn has a group of its own.
    same = [
        (class_id, *(sorted(prompts[i]) if i in prompts else ("", str(i))))
        for i, class_id in enumerate(classes)
    ]
    return {
        "any": np.zeros(len(classes), dtype=np.int64),
        "class": _numbered(classes),
        "class+prompt": _numbered(same),
    }


def _numbered(names: Sequence[object]) -> Integers:
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _exact_interval(count: int, n: int) -> tuple[float, float]:
    """Return the Clopper-Pearson interval: where nothing was seen, it is not without width."""
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci(confidence_level=0.95, method="exact")
    return float(found.low), float(found.high)
