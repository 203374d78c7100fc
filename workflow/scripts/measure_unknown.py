"""Measure how well all runs tell images of their classes from images of none."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.scores import write_scores
from capsynth.reporting.unknown_scores import measure_unknown


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument(
        "--inside", type=Path, nargs="+", required=True, help="predictions in distribution"
    )
    parser.add_argument(
        "--unknown", type=Path, nargs="+", required=True, help="predictions on unknown sets"
    )
    parser.add_argument(
        "--comparison", nargs=2, action="append", default=[], help="training sets a b: a less b"
    )
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    rows = measure_unknown(args.inside, args.unknown, args.comparison, args.draws)
    write_scores(args.output, rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
