"""Robustness: effective robustness above a logit-linear fit, and corruption errors.

Accuracy out of distribution rises with accuracy in distribution, nearly on a line where both axes
are logits. Effective robustness is what a classifier has above that line (Taori et al., Measuring
Robustness to Natural Distribution Shifts in Image Classification, NeurIPS 2020). The line comes
from published classifiers or from this experiment's own, trained on real images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from capsynth.corruptions import IMAGENET_C
from capsynth.errors import CapsynthError
from capsynth.intervals import LEVEL

Floats = npt.NDArray[np.floating]
Booleans = npt.NDArray[np.bool_]


def logit(share: Floats | float, n: int) -> Floats:
    """Return the logits of shares of ``n`` samples.

    Shares of 0 and 1 have none; all are kept half a sample inside (Macmillan and Kaplan, Detection
    Theory Analysis of Group Data, Psychological Bulletin 98(1), 1985).
    """
    return special.logit(np.clip(share, 0.5 / n, 1.0 - 0.5 / n))


# Fewer controls give a line whose intervals say nothing: with n of them t has n - 2 degrees of
# freedom, and its value is 12.7 with three, 4.3 with four, 3.2 with five and 2.8 with six.
LEAST_CONTROLS = 6


@dataclass(frozen=True, eq=False)
class LogitLine:
    """logit(out of distribution) = intercept + slope * logit(in distribution).

    Attributes:
        slope: One number, or one a replicate.
        intercept: The same.
        classifiers: How many it is fitted to.
        lowest: Least accuracy in distribution of the fitted classifiers, a share.
        highest: Greatest accuracy in distribution of the fitted classifiers, a share.
    """

    slope: Floats | float
    intercept: Floats | float
    classifiers: int
    lowest: float
    highest: float

    def expected(self, in_distribution: Floats) -> Floats:
        """Return the accuracy out of distribution expected at logits in distribution."""
        return special.expit(self.intercept + self.slope * in_distribution)

    def extrapolates(self, accuracy: Floats | float) -> Booleans:
        """Return whether accuracies in distribution lie outside those of the fitted classifiers."""
        return (np.asarray(accuracy) < self.lowest) | (np.asarray(accuracy) > self.highest)


# Least squares on the 82 to 87 classifiers of "Standard training" in the ImageNet testbed
# (modestyachts/imagenet-testbed at 0170eec, MIT: robustness_top1s.csv, types of
# plotting/model_types.py), by pairs of its columns. A classifier with an accuracy of 0 is left
# out (the ResNet-50 that ImageNet-A was chosen against).
_PUBLISHED = (
    ("val", "imagenetv2-matched-frequency-format-val", 0.923298, -0.498202, 87, 0.56522, 0.84726),
    ("val", "imagenet-sketch", 1.071198, -2.372210, 87, 0.56522, 0.84726),
    ("val-on-imagenet-r-classes", "imagenet-r", 0.637226, -2.110400, 82, 0.76910, 0.96500),
    ("val-on-imagenet-a-classes", "imagenet-a", 1.997260, -7.673299, 86, 0.76150, 0.96900),
    ("val-on-objectnet-classes", "objectnet-1.0-beta", 0.980332, -1.926028, 87, 0.56608, 0.88304),
)
PUBLISHED_LINES: dict[tuple[str, str], LogitLine] = {
    (inside, outside): LogitLine(slope, intercept, classifiers, lowest, highest)
    for inside, outside, slope, intercept, classifiers, lowest, highest in _PUBLISHED
}


def fit_line(in_distribution: Floats, out_of_distribution: Floats) -> LogitLine:
    """Return the least-squares line through logits of shape (..., classifiers).

    Raises:
        CapsynthError: If fewer than three classifiers are given or all are equal in distribution.
    """
    x, y = in_distribution, out_of_distribution
    if x.shape[-1] < 3 or (np.ptp(x, axis=-1) == 0.0).any():
        raise CapsynthError(
            f"{x.shape[-1]} classifiers give no line and its scatter; train on real images at "
            "three or more fractions, or with several recipes"
        )
    dx = x - x.mean(axis=-1, keepdims=True)
    slope = (dx * y).sum(axis=-1) / (dx * dx).sum(axis=-1)
    intercept = y.mean(axis=-1) - slope * x.mean(axis=-1)
    lowest, highest = special.expit([x.min(), x.max()]).tolist()
    return LogitLine(slope, intercept, x.shape[-1], lowest, highest)


def replicate_line(
    in_distribution: Floats,
    out_of_distribution: Floats,
    in_replicates: Floats,
    out_replicates: Floats,
    rng: np.random.Generator,
) -> LogitLine:
    """Return replicates of the line through an experiment's own controls.

    Every replicate takes the controls' accuracies under one draw of images and adds normal noise
    as large as their scatter about the line (parametric bootstrap; Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, section 6.5): controls are few and chosen, so that they
    cannot be drawn themselves. The scatter holds a little of the images' noise too, which makes
    the band somewhat too wide.

    Args:
        in_distribution: Logits of the controls, shape (controls,).
        out_of_distribution: The same out of distribution.
        in_replicates: Under draws of images, shape (draws, controls).
        out_replicates: The same out of distribution.
        rng: Draws the noise.
    """
    line = fit_line(in_distribution, out_of_distribution)
    residuals = out_of_distribution - (line.intercept + line.slope * in_distribution)
    scatter = np.sqrt((residuals**2).sum() / (line.classifiers - 2))
    noise = scatter * rng.standard_normal(out_replicates.shape)
    replicates = fit_line(in_replicates, out_replicates + noise)
    return replace(replicates, lowest=line.lowest, highest=line.highest)


def band(
    line: LogitLine, replicates: LogitLine, grid: Floats, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Return the pointwise band of a line at logits ``grid`` (points,): accuracies.

    The line ± t times the standard deviation of its replicates, as logits, with two degrees of
    freedom less than it has classifiers: without noise of images, the band of linear regression.
    """
    slopes, intercepts = np.asarray(replicates.slope), np.asarray(replicates.intercept)
    error = (intercepts[:, None] + slopes[:, None] * grid).std(axis=0, ddof=1)
    half = special.stdtrit(line.classifiers - 2, 0.5 + level / 2.0) * error
    middle = line.intercept + line.slope * grid
    return special.expit(middle - half), special.expit(middle + half)


def effective_robustness(
    in_distribution: Floats, out_of_distribution: Floats, line: LogitLine
) -> Floats:
    """Return accuracy out of distribution, a share, above what the line expects.

    For an interval, give it the accuracies of every seed, and of every seed and draw with the
    replicates of the line, and both results to ``statistics.estimate``; the degrees of freedom
    are the line's, classifiers less two, or the images' if these are fewer.

    Args:
        in_distribution: Logits of accuracies in distribution, any shape.
        out_of_distribution: Accuracies out of distribution as shares.
        line: One line, or replicates of the same shape.
    """
    return out_of_distribution - line.expected(in_distribution)


# Mean errors over the five severities of the published ImageNet-C files of torchvision's AlexNet
# (Hendrycks and Dietterich, ICLR 2019; the numbers as in google-research/augmix:imagenet.py, the
# means of those by severity in issue 10 of hendrycks/robustness), in the order of IMAGENET_C.
_ALEXNET_ERRORS = (
    0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816, 0.826572,
    0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500,
)  # fmt: skip
ALEXNET_ERROR = dict(zip(IMAGENET_C, _ALEXNET_ERRORS, strict=True))
# Its error on ImageNet's validation images: 43.5 % in the paper, 43.478 % in the testbed's CSV.
ALEXNET_CLEAN_ERROR = 0.43478


def _baselines(errors: Floats, corruptions: Sequence[str]) -> Floats:
    """Return AlexNet's errors of the 15 corruptions, in the order given."""
    if set(corruptions) != set(IMAGENET_C) or errors.shape[-2:] != (len(IMAGENET_C), 5):
        raise CapsynthError(
            f"mCE is defined for the 15 corruptions of ImageNet-C at 5 severities, not for "
            f"{errors.shape[-2:]} errors of {', '.join(corruptions)}; report the mean error"
        )
    return np.array([ALEXNET_ERROR[name] for name in corruptions])


def mean_corruption_error(errors: Floats, corruptions: Sequence[str]) -> Floats:
    """Return the mCE, AlexNet's being 1: mean over corruptions of the error over AlexNet's.

    Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4. It compares with published numbers only on the published
    files of ImageNet-C.

    Args:
        errors: Shares of wrong answers, shape (..., corruptions, severities).
        corruptions: Their names, as in ``corruptions.IMAGENET_C``, in any order.

    Raises:
        CapsynthError: If these are not the 15 corruptions at 5 severities.
    """
    return (errors.mean(axis=-1) / _baselines(errors, corruptions)).mean(axis=-1)


def relative_corruption_error(errors: Floats, clean: Floats, corruptions: Sequence[str]) -> Floats:
    """Return the relative mCE: what corruptions add to the clean error, over what AlexNet adds.

    The same source, arguments and errors as ``mean_corruption_error``.

    Args:
        errors: Shape (..., corruptions, severities).
        clean: Error on the same images uncorrupted, shape (...).
        corruptions: Names of the corruptions.
    """
    added = errors.mean(axis=-1) - np.asarray(clean)[..., None]
    return (added / (_baselines(errors, corruptions) - ALEXNET_CLEAN_ERROR)).mean(axis=-1)
