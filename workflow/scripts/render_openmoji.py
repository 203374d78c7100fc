"""Draw a split of the embedded data set: one folder of images per class."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.datasets.openmoji.folders import render_folders


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", required=True, help="train, val, v2, sketch, r, a or unknown")
    parser.add_argument("--class-ids", nargs="+", required=True)
    parser.add_argument("--images-per-class", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--context-bias",
        type=float,
        required=True,
        help="share of images on a background that is typical of their class, 0 to 1",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the class folders")
    parser.add_argument("--stamp", type=Path, required=True, help="JSON that is written last")
    args = parser.parse_args(argv)
    render_folders(
        args.output,
        args.stamp,
        args.split,
        args.class_ids,
        args.images_per_class,
        args.seed,
        args.context_bias,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
