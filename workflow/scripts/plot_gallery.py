"""Show real images, their captions and the images drawn for them, and ambiguous classes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.gallery import (
    GalleryGain,
    GalleryInputs,
    ShardFiles,
    make_gallery,
    make_strip,
)
from capsynth.reporting.scores import read_scores


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    shard = ("TAR", "MANIFEST")
    parser.add_argument("--real", type=Path, nargs=2, action="append", required=True, metavar=shard)
    parser.add_argument("--captions", type=Path, nargs="+", action="extend", required=True)
    parser.add_argument(
        "--variant", nargs=3, action="append", required=True, metavar=("NAME", *shard)
    )
    parser.add_argument("--columns", nargs="+", required=True, help="variants, in order")
    parser.add_argument("--images-per-class", type=int, default=6)
    parser.add_argument("--scores", type=Path, help="scores.csv, for --gain")
    parser.add_argument(
        "--gain",
        nargs=4,
        metavar=("A", "B", "EVAL_SET", "RECIPE"),
        help="sort classes by A minus B",
    )
    parser.add_argument("--ambiguous", nargs="*", default=[], help="classes of the strip")
    parser.add_argument("--strip-images", type=int, default=12, help="images a row of the strip")
    parser.add_argument("--strip", type=Path, help="PNG of the ambiguous classes")
    parser.add_argument("--output", type=Path, required=True, help="HTML page")
    args = parser.parse_args(argv)
    variants: dict[str, tuple[ShardFiles, ...]] = {}
    for name, tar, manifest in args.variant:
        variants[name] = (*variants.get(name, ()), ShardFiles(Path(tar), Path(manifest)))
    real = tuple(ShardFiles(tar, manifest) for tar, manifest in args.real)
    inputs = GalleryInputs(real, tuple(args.captions), variants, tuple(args.columns))
    gain = GalleryGain(*args.gain) if args.gain else None
    scores = read_scores(args.scores) if args.scores else []
    make_gallery(inputs, args.images_per_class, args.output, gain, scores)
    if args.strip is not None:
        make_strip(inputs, args.ambiguous, args.strip_images, args.strip)


if __name__ == "__main__":
    sys.exit(cli.run(main))
