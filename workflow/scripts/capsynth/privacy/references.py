"""Membership inference with reference models: LiRA and RMIA.

A reference model is trained like the attacked one on a random half of the images, so that for
every image some have seen it ("in") and others have not ("out"). What they say of an image tells
an easy image, on which every model is sure, from one that the attacked model has learned by heart.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError
from capsynth.seeding import bucket, derive_seed
from capsynth.shards import ShardRecord

Floats = npt.NDArray[np.floating]
Booleans = npt.NDArray[np.bool_]
# Class and key of a real image: keys are unique within a class.
Source = tuple[str, str]

# What RMIA's authors set in their auditing tool (privacytrustlab/ml_privacy_meter).
GAMMA = 1.0
OFFLINE_A = 0.3


@dataclass(frozen=True, eq=False)
class Answers:
    """What the attacked model and the reference models say of ``n`` samples.

    Attributes:
        target: Of the attacked model, shape (n,).
        references: Of the reference models, shape (models, n).
        seen: Whether each reference model was trained on each sample, shape (models, n).
    """

    target: Floats
    references: Floats
    seen: Booleans

    def __post_init__(self) -> None:
        shape = (len(self.references), len(self.target))
        # ~seen is what was not seen only of booleans.
        if not self.references.shape == self.seen.shape == shape or self.seen.dtype != np.bool_:
            raise CapsynthError(
                f"{len(self.target)} samples, answers of reference models {self.references.shape} "
                f"and membership {self.seen.shape} of {self.seen.dtype} do not belong together; "
                "score the samples again"
            )


def in_reference_half(key: str, model: int) -> bool:
    """Return whether a reference model would be trained on an image, by the hash of its key.

    Models come in pairs, 0 and 1, 2 and 3, ...: the hash of the pair and the key gives the image to
    one of the two. So every image is in half of the models exactly.

    Args:
        key: Key of the real image: of the sample itself, or of the one it descends from.
        model: Number of the reference model.
    """
    pair, side = divmod(model, 2)
    return bucket(f"reference/{pair}/{key}", 2) == side


def reference_half(sources: Iterable[Source], model: int) -> set[Source]:
    """Return the real images of a training set that a reference model is trained on.

    Those of ``in_reference_half``, which puts the few images of a small class, or those of one name
    in all classes, on one side at times: there they are dealt out, see ``two_sides``.

    Args:
        sources: ``reference_source`` of all that the training set holds, repeats allowed.
        model: Number of the reference model.
    """
    pair, side = divmod(model, 2)
    sides = two_sides(sources, f"reference/{pair}")
    return {source for source, its_side in sides.items() if its_side == side}


def two_sides(sources: Iterable[Source], salt: str) -> dict[Source, int]:
    """Return a side, 0 or 1, of each image: neither is empty if there are two images.

    The hash of salt and key decides, so images that come and go move no other. The images of a
    class that it leaves on one side are dealt out in turn, in an order of hashes: a class of two
    images has one on each side, and of classes with one image every other is on a side.
    """
    classes: dict[str, set[str]] = defaultdict(set)
    for class_id, key in sources:
        classes[class_id].add(key)
    sides: dict[Source, int] = {}
    dealt = bucket(salt, 2)
    for class_id, keys in sorted(classes.items()):
        hashed = {key: bucket(f"{salt}/{key}", 2) for key in keys}
        if len(set(hashed.values())) == 1:
            in_turn = sorted((derive_seed(salt, class_id, key), key) for key in keys)
            hashed = {key: (dealt + place) % 2 for place, (_, key) in enumerate(in_turn)}
            dealt += len(keys)
        sides |= {(class_id, key): side for key, side in hashed.items()}
    return sides


def reference_seed(model: int) -> int:
    """Return the training seed of a reference model."""
    return derive_seed("reference", model) % 2**31


def reference_source(record: ShardRecord) -> Source:
    """Return what decides in which halves a sample is: its real image, or itself.

    So a real image and what was drawn from its caption are always in the same half.
    """
    return record.class_id, record.source_key or record.key


def lira_online(scaled: Answers, fixed_variance: bool = True) -> Floats:
    """Return the log-likelihood ratio of "in" over "out" of each sample, shape (n,).

    LiRA (Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022,
    algorithm 1): each sample has a Gaussian fitted to the scaled confidences of models that saw it,
    and one to those of models that did not. (The authors' release takes medians for means.)

    Args:
        scaled: Scaled confidences, see ``attacks.scaled_confidence``.
        fixed_variance: One variance for all samples and both sides, around each sample's own
            means: for few models, which say little about a variance. Else one for each sample
            and side, of at least two models.

    Raises:
        CapsynthError: If a sample has too few models on a side.
    """
    models = scaled.references
    mean_in, deviation_in = _gaussian(models, scaled.seen, "in", 1 if fixed_variance else 2)
    mean_out, deviation_out = _gaussian(models, ~scaled.seen, "out", 1 if fixed_variance else 2)
    if fixed_variance:
        around = models - np.where(scaled.seen, mean_in, mean_out)
        deviation_in = deviation_out = _at_least_tiny(np.sqrt(np.mean(around**2)))
    z_in = (scaled.target - mean_in) / deviation_in
    z_out = (scaled.target - mean_out) / deviation_out
    return (z_out**2 - z_in**2) / 2.0 + np.log(deviation_out / deviation_in)


def lira_offline(scaled: Answers, fixed_variance: bool = True) -> Floats:
    """Return how many standard deviations each sample lies above models that did not see it: (n,).

    LiRA offline (Carlini et al. 2022): the one-sided test 1 - P(Z > φ) with Z of the
    "out" Gaussian. Its quantile is returned, which ranks alike and does not round to 1.

    Args:
        scaled: Scaled confidences; only those of models that did not see a sample are used.
        fixed_variance: As for ``lira_online``.

    Raises:
        CapsynthError: If a sample has too few models that did not see it.
    """
    out = ~scaled.seen
    mean, deviation = _gaussian(scaled.references, out, "out", 1 if fixed_variance else 2)
    if fixed_variance:
        around = np.where(out, scaled.references - mean, 0.0)
        deviation = _at_least_tiny(np.sqrt((around**2).sum() / out.sum()))
    return (scaled.target - mean) / deviation


def _gaussian(values: Floats, chosen: Booleans, side: str, least: int) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the chosen models' values of each sample: (n,) each."""
    mean = _mean(values, chosen, side, least)
    return mean, _at_least_tiny(np.sqrt(_mean((values - mean) ** 2, chosen, side, least)))


def _mean(values: Floats, chosen: Booleans, side: str, least: int = 1) -> Floats:
    models = chosen.sum(axis=0)
    if len(models) and models.min() < least:
        raise CapsynthError(
            f"a sample has {models.min()} reference models of side {side!r} and needs {least}; "
            "train more reference models, in pairs"
        )
    return np.where(chosen, values, 0.0).sum(axis=0) / models


def _at_least_tiny(deviation: npt.ArrayLike) -> Floats:
    """Return standard deviations that may be divided by: models may agree to the last digit."""
    return np.maximum(np.asarray(deviation, dtype=np.float64), 1e-30)


def rmia_online(samples: Answers, population: Answers, gamma: float = GAMMA) -> Floats:
    """Return the share of the population that each sample beats, shape (n,).

    RMIA (Zarifzadeh et al., Low-Cost High-Power Membership Inference Attacks, ICML 2024): the share
    of z with (P(x|θ) / P(x)) / (P(z|θ) / P(z)) ≥ gamma, where P(x|θ) is the attacked model's
    probability of the true class and P(x) its mean over reference models, half of them "in".

    Args:
        samples: Probabilities of the true class.
        population: The same of the samples z, which the attacked model did not see and that are
            not attacked; reference models may have seen half of them, or none.
        gamma: How far a sample has to beat another, at least 1.

    Raises:
        CapsynthError: If a sample has no reference model on a side.
    """
    mean_in = _mean(samples.references, samples.seen, "in")
    mean_out = _mean(samples.references, ~samples.seen, "out")
    return _share_beaten(
        samples.target,
        (mean_in + mean_out) / 2.0,
        population.target,
        population.references.mean(axis=0),
        gamma,
    )


def rmia_offline(
    samples: Answers, population: Answers, gamma: float = GAMMA, a: float = OFFLINE_A
) -> Floats:
    """Return the share of the population that each sample beats, without "in" models: (n,).

    As ``rmia_online``, with P(x) = ((1 + a) P_out(x) + 1 - a) / 2 for the samples and the
    population: a model that saw an image is taken to be surer of it by a line between
    P_out and 1.

    Args:
        samples: Probabilities of the true class; "in" models are not used.
        population: The same of the samples z.
        gamma: How far a sample has to beat another, at least 1.
        a: How little a model gains by seeing an image: 0 for all that it lacked, 1 for nothing.

    Raises:
        CapsynthError: If a sample has no reference model that did not see it.
    """
    of_samples, of_population = (
        ((1.0 + a) * _mean(answers.references, ~answers.seen, "out") + 1.0 - a) / 2.0
        for answers in (samples, population)
    )
    return _share_beaten(samples.target, of_samples, population.target, of_population, gamma)


def _share_beaten(x: Floats, mean_x: Floats, z: Floats, mean_z: Floats, gamma: float) -> Floats:
    if len(z) == 0:
        raise CapsynthError("RMIA has no population to compare with; hold out some non-members")
    ratio_x = x / np.maximum(mean_x, 1e-30)
    ratio_z = np.sort(z / np.maximum(mean_z, 1e-30))
    return np.searchsorted(ratio_z, ratio_x / gamma, side="right") / len(z)
