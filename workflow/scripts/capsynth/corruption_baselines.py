"""Whether the errors under corruptions of an evaluation set may be set against AlexNet's."""

from collections.abc import Mapping
from typing import Any

from capsynth.config_checks import CORRUPTION_NAMES

# Corruptions at severities of the published set.
_ALL = frozenset((name, s) for name in CORRUPTION_NAMES["imagecorruptions"] for s in range(1, 6))


def mce_obstacle(dataset: Mapping[str, Any], eval_set: Mapping[str, Any]) -> str:
    """Return why a corruption set has no mCE, in words; empty if it has one.

    AlexNet's errors, which mCE is normalised by, are published of one set of files: ImageNet-C,
    its 1,000 classes, 15 corruptions and 5 severities (Hendrycks and Dietterich, ICLR 2019). On
    corruptions that are made here AlexNet would err otherwise; among fewer classes it would err
    less. A part of the images of each class is a sample of the same.

    Args:
        dataset: The data set, as the configuration is filled in.
        eval_set: The evaluation set, likewise.
    """
    kinds = {(name, s) for name in eval_set["corruptions"] for s in eval_set["severities"]}
    whole = (None, "imagenet-1k")
    reasons = []
    if eval_set["layout"] != "corruption-folders":
        reasons.append("its corruptions are made here and are not the published files")
    if dataset["classes"] != "imagenet-1k" or eval_set["classes"] not in whole:
        reasons.append("it has not ImageNet's 1,000 classes")
    if kinds != _ALL:
        reasons.append("it has not the 15 corruptions at 5 severities")
    return "; ".join(reasons)
