"""Make the sample sheets of docs/embedded-experiment.md: splits, and corruptions by severity."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from capsynth import cli
from capsynth.corruptions import CORRUPTIONS, MARGINS, SEVERITIES, corrupt, cut_square
from capsynth.datasets.openmoji.splits import IMAGE_SIDE, SPLITS, draw_real_scene
from capsynth.datasets.openmoji.world import CLASSES
from capsynth.files import atomic_path
from capsynth.seeding import derive_seed

TILE = 2 * IMAGE_SIDE
GAP = 4
LABEL_WIDTH = 112
ROWS_PER_SPLIT = 2
# Further draws of what `val` shows.
LIKE_VAL = ("held-out", "calibration")
LEVELS = 32
# What classifiers of the embedded experiment see, and images are corrupted at: corruption_side.
CORRUPTED_SIDE = 32


def sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]], heads: Sequence[str]) -> Image.Image:
    """Lay out images under column ``heads``; a row's label stands at its left, once if repeated."""
    step = TILE + GAP
    size = (LABEL_WIDTH + step * len(heads), 24 + step * len(rows))
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(14)
    for column, head in enumerate(heads):
        middle = LABEL_WIDTH + column * step + TILE // 2
        draw.text((middle, 12), head, "black", font, anchor="mm")
    for number, (label, images) in enumerate(rows):
        top = 24 + number * step
        if number == 0 or rows[number - 1][0] != label:
            draw.text((4, top + TILE // 2), label, "black", font, anchor="lm")
        for column, image in enumerate(images):
            tile = image.resize((TILE, TILE), Image.Resampling.NEAREST)
            page.paste(tile, (LABEL_WIDTH + column * step, top))
    return page


def splits_sheet(seed: int, context_bias: float) -> Image.Image:
    """Show every class in every split that looks different, ``ROWS_PER_SPLIT`` scenes each."""
    class_ids = [c.class_id for c in CLASSES]
    rows = [
        (split, [draw_real_scene(split, seed, c, index, context_bias)[0] for c in class_ids])
        for split in SPLITS
        if split not in LIKE_VAL
        for index in range(ROWS_PER_SPLIT)
    ]
    return sheet(rows, class_ids)


def corruptions_sheet(seed: int, context_bias: float) -> Image.Image:
    """Show one validation scene a corruption, clean and at every severity."""
    rows = []
    for number, name in enumerate(CORRUPTIONS):
        class_id = CLASSES[number % len(CLASSES)].class_id
        scene, _ = draw_real_scene("val", seed, class_id, 2, context_bias)
        clean = cut_square(scene, CORRUPTED_SIDE, MARGINS["tiny-imagenet-c"])
        images = [clean]
        for severity in SEVERITIES:
            rng = np.random.default_rng(derive_seed("sheet", name, severity, seed))
            images.append(corrupt(clean, name, severity, rng))
        rows.append((name, images))
    return sheet(rows, ["clean", *(f"severity {s}" for s in SEVERITIES)])


def fewer_levels(page: Image.Image) -> Image.Image:
    """Round channels to ``LEVELS`` levels: nobody sees it, and the file halves."""
    pixels = np.asarray(page, np.float64) / 255
    levels = (pixels * (LEVELS - 1)).round() / (LEVELS - 1)
    return Image.fromarray((levels * 255).round().astype(np.uint8), "RGB")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--context-bias", type=float, default=0.5)
    args = parser.parse_args(argv)
    pages = {
        "evaluation-sets.png": splits_sheet(args.seed, args.context_bias),
        "corruptions.png": corruptions_sheet(args.seed, args.context_bias),
    }
    for name, page in pages.items():
        with atomic_path(args.output / name) as temporary:
            fewer_levels(page).save(temporary, "PNG", optimize=True)


if __name__ == "__main__":
    sys.exit(cli.run(main))
