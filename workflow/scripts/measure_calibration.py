"""Measure the calibration of all runs, before and after temperature scaling."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import write_records
from capsynth.reporting.calibration_scores import ReliabilityBin, measure_calibration
from capsynth.reporting.scores import write_scores


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--calibration", type=Path, nargs="*", default=[], help="predictions to fit temperatures to"
    )
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--reliability", type=Path, required=True)
    args = parser.parse_args(argv)
    rows, bins = measure_calibration(args.predictions, args.calibration, args.draws)
    write_scores(args.output, rows)
    write_records(args.reliability, ReliabilityBin, bins)


if __name__ == "__main__":
    sys.exit(cli.run(main))
