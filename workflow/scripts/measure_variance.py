"""Measure how much images, seeds and the draw of the real sample vary accuracy."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import write_records
from capsynth.reporting.variance_scores import Variance, measure_variance


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument("--groups", required=True, help="JSON lists of training sets: [[a, b]]")
    parser.add_argument(
        "--sample-group", nargs="+", action="append", default=[], metavar=("OVERLAP", "SET"),
        help="training sets that differ in the draw of the real sample, and how far two overlap",
    )  # fmt: skip
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    overlaps = {tuple(names): float(overlap) for overlap, *names in args.sample_group}
    rows = measure_variance(args.predictions, json.loads(args.groups), args.draws, overlaps)
    write_records(args.output, Variance, rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
