"""Calibration beyond one number: temperature scaling, reliability diagrams, class-wise ECE.

What is stored of a run are probabilities in single precision. Their logarithms are its logits up
to one constant a sample, which softmax ignores, so nothing is lost but what underflowed: a
probability below 1.2e-38 counts as 1.2e-38, a logit 87.3 below the others. Scaled by a temperature
T it weighs exp(-87.3 / T) and not less: under 1e-6 over 1,000 classes up to T = 4.2.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse

from capsynth.errors import CapsynthError
from capsynth.metrics import ECE_BINS, LEAST_PROBABILITY, SampleScores, bins_of

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

# A fit ends here if every answer is right (colder is better) or worse than chance (hotter is).
TEMPERATURES = (0.05, 20.0)
# Probabilities that are worked on at once: 2 MB, which a processor's cache holds.
PER_BLOCK = 1 << 18


def logits_of(probabilities: Floats) -> Floats:
    """Return logits, in double precision, whose softmax is ``probabilities`` (n, classes)."""
    logits = np.maximum(probabilities, LEAST_PROBABILITY, dtype=np.float64)
    return np.log(logits, out=logits)


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, PER_BLOCK // max(1, columns))
    return (slice(start, start + size) for start in range(0, rows, size))


def scale(probabilities: Floats, temperature: float) -> Floats:
    """Return the probabilities (n, classes) at a temperature: above 1 they are less confident.

    The order of the classes of a sample stays, and with it the prediction. The format of the
    numbers stays as well.
    """
    scaled = np.empty_like(probabilities)
    for rows in _blocks(*probabilities.shape):
        weights = _unnormalised(logits_of(probabilities[rows]), temperature)
        scaled[rows] = weights / weights.sum(axis=1, keepdims=True)
    return scaled


def _unnormalised(logits: Floats, temperature: float) -> Floats:
    """Return what the probabilities at a temperature are proportional to."""
    weights = (logits - logits.max(axis=1, keepdims=True)) / temperature
    return np.exp(weights, out=weights)


def _expected(probabilities: Floats, temperature: float) -> tuple[Floats, Floats]:
    """Return the mean logit that scaled probabilities expect of each sample, and its variance."""
    mean, variance = np.empty((2, len(probabilities)))
    for rows in _blocks(*probabilities.shape):
        logits = logits_of(probabilities[rows])
        weights = _unnormalised(logits, temperature)
        total = weights.sum(axis=1)
        mean[rows] = np.einsum("ij,ij->i", weights, logits) / total
        logits -= mean[rows, None]
        variance[rows] = np.einsum("ij,ij,ij->i", weights, logits, logits) / total
    return mean, variance


def fit_temperature(probabilities: Floats, target: Integers) -> float:
    """Return the temperature with the least negative log-likelihood.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2. The likelihood is
    convex in 1 / T, so its slope has one root: where the mean logit of the targets is the mean
    logit that the scaled probabilities expect.

    Args:
        probabilities: Of held-out samples, shape (n, classes).
        target: Index of their true class, shape (n,).

    Returns:
        A number in ``TEMPERATURES``; at one of its ends if the likelihood still rises there.

    Raises:
        CapsynthError: If there is no sample.
    """
    if len(target) == 0:
        raise CapsynthError("no sample to fit a temperature to; hold out some images")
    of_targets = logits_of(probabilities[np.arange(len(target)), target])

    @functools.cache
    def slope(log_temperature: float) -> float:
        mean, _ = _expected(probabilities, float(np.exp(log_temperature)))
        return float((of_targets - mean).mean())

    coldest, hottest = np.log(TEMPERATURES)
    if slope(coldest) >= 0.0:
        return TEMPERATURES[0]
    if slope(hottest) <= 0.0:
        return TEMPERATURES[1]
    return float(np.exp(optimize.brentq(slope, coldest, hottest, xtol=1e-12)))


def refit_temperature(
    probabilities: Floats, target: Integers, temperature: float, drawn: Iterable[Floats]
) -> Floats:
    """Return the temperature under weights of the samples, in blocks (some draws, n): (draws,).

    One Newton step in 1 / T from the fit to all samples (the one-step bootstrap; Shao and Tu, The
    Jackknife and Bootstrap, 1995, section 5.4), within ``TEMPERATURES``. A fit that ended there
    stays there.
    """
    coldest, hottest = TEMPERATURES
    mean, curvature = _expected(probabilities, temperature)
    slopes = logits_of(probabilities[np.arange(len(target)), target]) - mean
    steps = np.concatenate([(weights @ slopes) / (weights @ curvature) for weights in drawn])
    if temperature in TEMPERATURES:
        return np.full(len(steps), temperature)
    return 1.0 / np.clip(1.0 / temperature + steps, 1.0 / hottest, 1.0 / coldest)


@dataclass(frozen=True, eq=False)
class Reliability:
    """The bins of a reliability diagram, for draws of the samples; arrays of shape (draws, bins).

    Attributes:
        edges: Borders of the bins, shape (bins + 1,).
        share: Share of the samples in each bin.
        accuracy: Share of right answers; not a number in an empty bin.
        confidence: Mean confidence; not a number in an empty bin.
    """

    edges: Floats
    share: Floats
    accuracy: Floats
    confidence: Floats


def reliability(scores: SampleScores, weights: Floats, bins: int = ECE_BINS) -> Reliability:
    """Return a reliability diagram under weights (draws, n), with the bins of ``metrics.ece``.

    The mean of |accuracy - confidence|, weighted by the shares, is the expected calibration error.
    """
    confidence = scores.confidence.astype(np.float64)
    members = np.zeros((3, len(scores), bins))
    place = (np.arange(len(scores)), bins_of(confidence, bins))
    members[0][place] = 1.0
    members[1][place] = scores.correct
    members[2][place] = confidence
    mass, right, confident = weights @ members

    def mean(total: Floats) -> Floats:
        return np.divide(total, mass, out=np.full_like(mass, np.nan), where=mass > 0.0)

    return Reliability(
        edges=np.linspace(0.0, 1.0, bins + 1),
        share=mass / weights.sum(axis=1, keepdims=True),
        accuracy=mean(right),
        confidence=mean(confident),
    )


def classwise_ece(probabilities: Floats, target: Integers) -> Callable[[Floats], Floats]:
    """Return what gives the class-wise calibration error with 15 bins of equal width.

    The mean over all classes, those without samples included, of the calibration error of the
    probability of that class. Kull et al., Beyond Temperature Scaling, NeurIPS 2019, equation 4;
    called static calibration error by Nixon et al., Measuring Calibration in Deep Learning, 2019.
    With many classes nearly all probabilities are close to 0, and so is the mean.

    Args:
        probabilities: Shape (n, classes).
        target: Index of the true class, shape (n,).

    Returns:
        A function from weights (draws, n) to errors (draws,).
    """
    n, classes = probabilities.shape
    # A row has at most 14 probabilities above the first bin: these are few, and the first bin is
    # what they leave of the sum.
    sample, of_class = np.nonzero(probabilities > 1.0 / ECE_BINS)
    found = probabilities[sample, of_class].astype(np.float64)
    columns = of_class * ECE_BINS + bins_of(found)
    gaps = (target[sample] == of_class) - found
    above = sparse.csc_matrix((gaps, (sample, columns)), shape=(n, classes * ECE_BINS)).T
    right = sparse.csc_matrix((np.ones(n), (np.arange(n), target)), shape=(n, classes)).T

    def error(weights: Floats) -> Floats:
        by_sample = np.ascontiguousarray(weights.T)
        by_bin = (above @ by_sample).reshape(classes, ECE_BINS, len(weights))
        # In the format of the probabilities: in single precision it takes half the time, and a sum
        # of 50,000 of them is right to a millionth.
        expected = probabilities.T @ by_sample.astype(probabilities.dtype)
        by_bin[:, 0] += right @ by_sample - expected - by_bin.sum(axis=1)
        return np.abs(by_bin).sum(axis=(0, 1)) / classes / by_sample.sum(axis=0)

    return error
