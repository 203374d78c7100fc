"""Compare the images of variants with real ones, in feature spaces."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.records import write_records
from capsynth.reporting.fidelity_rows import (
    KINDS,
    Comparison,
    FidelityRow,
    ImageSet,
    measure_fidelity,
)


def image_set(words: Sequence[str]) -> ImageSet:
    """Return a set of images from the words that name it.

    Raises:
        CapsynthError: If there are too few, or its kind is not known.
    """
    if len(words) < 4 or words[1] not in KINDS:
        raise CapsynthError(
            f"--images {' '.join(words[:3])}: give an extractor, one of {', '.join(KINDS)}, a name "
            "and files of features"
        )
    return ImageSet(words[0], words[1], words[2], tuple(map(Path, words[3:])))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument(
        "--images", nargs="+", action="append", required=True,
        help="extractor, kind, name, files of features; once a set",
    )  # fmt: skip
    parser.add_argument("--max-images", type=int, default=10000, help="of a set or a class of it")
    parser.add_argument("--draws", type=int, default=5, help="deals behind a standard error")
    parser.add_argument("--neighbours", type=int, default=5)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    sets = [image_set(words) for words in args.images]
    rows = measure_fidelity(sets, Comparison(args.max_images, args.draws, args.neighbours))
    write_records(args.output, FidelityRow, rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
