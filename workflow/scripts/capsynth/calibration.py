"""Calibration beyond one number: temperature scaling, reliability diagrams, class-wise ECE.

What is stored of a run are probabilities in single precision. Their logarithms are its logits up
to one constant a sample, which softmax ignores, so nothing is lost but what underflowed: a
probability below 1.2e-38 counts as 1.2e-38, a logit 87.3 below the others. Scaled by a temperature
T it weighs exp(-87.3 / T) and not less: under 1e-6 over 1,000 classes up to T = 4.2.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse, special

from capsynth.errors import CapsynthError
from capsynth.metrics import ECE_BINS, LEAST_PROBABILITY, SampleScores, bins_of

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

# A fit ends here if every answer is right (colder is better) or worse than chance (hotter is).
TEMPERATURES = (0.05, 20.0)


def logits_of(probabilities: Floats) -> Floats:
    """Return logits, in double precision, whose softmax is ``probabilities`` (n, classes)."""
    return np.log(np.maximum(probabilities.astype(np.float64), LEAST_PROBABILITY))


def scale(probabilities: Floats, temperature: float) -> Floats:
    """Return the probabilities (n, classes) at a temperature: above 1 they are less confident.

    The order of the classes of a sample stays, and with it the prediction.
    """
    return special.softmax(logits_of(probabilities) / temperature, axis=1)


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
    logits = logits_of(probabilities)
    logits -= logits.max(axis=1, keepdims=True)
    of_targets = logits[np.arange(len(target)), target].mean()

    def slope(log_temperature: float) -> float:
        expected = (special.softmax(logits / np.exp(log_temperature), axis=1) * logits).sum(axis=1)
        return float(of_targets - expected.mean())

    coldest, hottest = np.log(TEMPERATURES)
    if slope(coldest) >= 0.0:
        return TEMPERATURES[0]
    if slope(hottest) <= 0.0:
        return TEMPERATURES[1]
    return float(np.exp(optimize.brentq(slope, coldest, hottest, xtol=1e-12)))


def refit_temperature(
    probabilities: Floats, target: Integers, temperature: float, weights: Floats
) -> Floats:
    """Return the temperature under weights (draws, n) of the samples: shape (draws,).

    One Newton step in 1 / T from the fit to all samples (the one-step bootstrap; Shao and Tu, The
    Jackknife and Bootstrap, 1995, section 5.4), within ``TEMPERATURES``. A fit that ended there
    stays there.
    """
    coldest, hottest = TEMPERATURES
    if temperature in TEMPERATURES:
        return np.full(len(weights), temperature)
    logits = logits_of(probabilities)
    expected = special.softmax(logits / temperature, axis=1)
    means = (expected * logits).sum(axis=1)
    slopes = logits[np.arange(len(target)), target] - means
    curvature = (expected * (logits - means[:, None]) ** 2).sum(axis=1)
    step = (weights @ slopes) / (weights @ curvature)
    return 1.0 / np.clip(1.0 / temperature + step, 1.0 / hottest, 1.0 / coldest)


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
    members = np.zeros((len(scores), bins))
    members[np.arange(len(scores)), bins_of(confidence, bins)] = 1.0
    mass = weights @ members

    def mean(values: Floats) -> Floats:
        total = weights @ (members * values[:, None])
        return np.divide(total, mass, out=np.full_like(mass, np.nan), where=mass > 0.0)

    return Reliability(
        edges=np.linspace(0.0, 1.0, bins + 1),
        share=mass / weights.sum(axis=1, keepdims=True),
        accuracy=mean(scores.correct.astype(np.float64)),
        confidence=mean(confidence),
    )


def classwise_ece(probabilities: Floats, target: Integers, weights: Floats) -> Floats:
    """Return the class-wise calibration error with 15 bins of equal width: shape (draws,).

    The mean over all classes, those without samples included, of the calibration error of the
    probability of that class. Kull et al., Beyond Temperature Scaling, NeurIPS 2019, equation 4;
    called static calibration error by Nixon et al., Measuring Calibration in Deep Learning, 2019.
    With many classes nearly all probabilities are close to 0, and so is the mean.

    Args:
        probabilities: Shape (n, classes).
        target: Index of the true class, shape (n,).
        weights: Shape (draws, n).
    """
    n, classes = probabilities.shape
    gaps = -probabilities.astype(np.float64)
    gaps[np.arange(n), target] += 1.0
    # A row has at most 14 probabilities above the first bin: these are few, and the first bin is
    # what they leave of the sum.
    sample, of_class = np.nonzero(probabilities > 1.0 / ECE_BINS)
    bins = bins_of(probabilities[sample, of_class].astype(np.float64))
    columns = of_class * ECE_BINS + bins
    above = sparse.csr_matrix(
        (gaps[sample, of_class], (sample, columns)), shape=(n, classes * ECE_BINS)
    )
    by_bin = (above.T @ weights.T).T.reshape(len(weights), classes, ECE_BINS)
    by_bin[:, :, 0] += weights @ gaps - by_bin.sum(axis=2)
    return np.abs(by_bin).sum(axis=(1, 2)) / classes / weights.sum(axis=1)
