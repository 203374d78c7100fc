"""A checkout with stand-ins for ImageNet: Snakemake plans the real experiment in it."""

import itertools
import shutil
from pathlib import Path

from capsynth.datasets.imagenet import subset

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "config.yaml", "requirements.txt", "config", "envs", "profiles", "workflow")
# The paper's three variants and two more.
FIVE_VARIANTS = ("--configfile", "config/imagenet1k.yaml", "five-variants.yaml")
FIVE_VARIANTS += ("--replace-workflow-config",)


def stand_in(folder: Path, images: bool = True) -> Path:
    """Make a checkout in ``folder``, with one empty file a class for images; return it."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    shutil.copy(ROOT / "benchmarks" / "five-variants.yaml", folder)
    classes = subset("imagenet-1k") if images else ()
    for split, class_id in itertools.product(("train", "val"), classes):
        image = folder / "data" / "imagenet" / split / class_id / "a.JPEG"
        image.parent.mkdir(parents=True)
        image.touch()
    return folder
