"""What errors under corruptions compare with: AlexNet's, and those at another size of images."""

from collections.abc import Mapping
from typing import Any

from capsynth.config_checks import CORRUPTION_NAMES

# Side of the published images, pixels.
PUBLISHED_SIDE = 224
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


def resized_sets(
    recipes: Mapping[str, Mapping[str, Any]], eval_sets: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return a line on each corruption set that some recipe's classifiers see at another size.

    Their images are resized after they were corrupted: noise gets weaker where they are reduced.
    Sets whose images are corrupted as they are have no known size and no line.

    Args:
        recipes: The recipes, as the configuration is filled in.
        eval_sets: The evaluation sets, likewise.
    """
    sizes = {name: r["eval_image_size"] or r["image_size"] for name, r in recipes.items()}
    lines = []
    for name, entry in eval_sets.items():
        if not entry["severities"]:
            continue
        is_stored = entry["layout"] == "corruption-folders"
        side = PUBLISHED_SIDE if is_stored else entry["corruption_side"]
        others = [f"{recipe} {size}" for recipe, size in sizes.items() if size != side]
        if side and others:
            remedy = (
                f"no published number compares with others than those at {PUBLISHED_SIDE}"
                if is_stored
                else "set corruption_side to what is seen, in a set for each size"
            )
            lines.append(
                f"eval_sets.{name} is corrupted at {side} pixels and resized for recipes that see "
                f"another number ({', '.join(others)}); {remedy}"
            )
    return lines
