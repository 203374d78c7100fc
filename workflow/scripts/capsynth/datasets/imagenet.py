"""ImageNet's classes: WordNet identifiers in the order of their indices, and subsets of them.

The order is that of timm's ``imagenet_synsets.txt``: sorted WordNet identifiers, which is the order
of every ImageNet classifier. The subsets for ImageNet-A and -R are timm's too.
"""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from capsynth.errors import CapsynthError

# fast.ai's Imagenette, by ImageNet index (github.com/fastai/imagenette).
IMAGENETTE = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
# The 100 classes of the paper's release (LeavesLei/Caption_in_Prompt, load_data.py, 72947bc), by
# ImageNet index.
# fmt: off
IMAGENET_100 = (
    15, 45, 54, 57, 64, 74, 90, 99, 119, 120, 122, 131, 137, 151, 155, 157, 158, 166, 167, 169,
    176, 180, 209, 211, 222, 228, 234, 236, 242, 246, 267, 268, 272, 275, 277, 281, 299, 305, 313,
    317, 331, 342, 368, 374, 407, 421, 431, 449, 452, 455, 479, 494, 498, 503, 508, 544, 560, 570,
    592, 593, 599, 606, 608, 619, 620, 653, 659, 662, 665, 667, 674, 682, 703, 708, 717, 724, 748,
    758, 765, 766, 772, 775, 796, 798, 830, 854, 857, 858, 872, 876, 882, 904, 908, 936, 938, 953,
    959, 960, 993, 994,
)
# fmt: on
SUBSETS = ("imagenette", "imagenet-100", "imagenet-1k", "imagenet-a", "imagenet-r")


def package_file(package: str, *parts: str) -> Path:
    """Return a file of an installed package without importing the package.

    Raises:
        CapsynthError: If the package is not installed or has no such file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CapsynthError(f"package {package!r} is missing; pip install -r requirements.txt")
    path = Path(spec.submodule_search_locations[0], *parts)
    if not path.is_file():
        raise CapsynthError(
            f"package {package!r} has no {'/'.join(parts)}; install the version of requirements.txt"
        )
    return path


@functools.cache
def wordnet_ids() -> tuple[str, ...]:
    """Return the WordNet identifiers of ImageNet-1K in the order of the class indices."""
    return tuple(_timm_lines("imagenet_synsets.txt"))


@functools.cache
def subset(name: str) -> tuple[str, ...]:
    """Return the WordNet identifiers of a subset of ImageNet-1K, in the order of their indices.

    Raises:
        CapsynthError: If the name is not one of ``SUBSETS``.
    """
    if name == "imagenet-1k":
        return wordnet_ids()
    if name == "imagenette":
        return _by_index(IMAGENETTE)
    if name == "imagenet-100":
        return _by_index(IMAGENET_100)
    if name in ("imagenet-a", "imagenet-r"):
        lines = _timm_lines(f"{name.replace('-', '_')}_indices.txt")
        return _by_index([int(line) for line in lines])
    raise CapsynthError(f"subset {name!r} is not known; known: {', '.join(SUBSETS)}")


def _by_index(indices: Sequence[int]) -> tuple[str, ...]:
    names = wordnet_ids()
    return tuple(names[index] for index in indices)


def _timm_lines(name: str) -> list[str]:
    return package_file("timm", "data", "_info", name).read_text(encoding="utf-8").split()
