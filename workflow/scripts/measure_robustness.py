"""Measure effective robustness and corruption errors of all runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import write_records
from capsynth.reporting.robustness_scores import LinePoint, RobustnessSettings, measure_robustness
from capsynth.reporting.scores import write_scores
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument("--settings", required=True, help="JSON of RobustnessSettings")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--lines", type=Path, required=True)
    args = parser.parse_args(argv)
    settings = settings_from_json(RobustnessSettings, args.settings)
    rows, points = measure_robustness(args.predictions, settings, args.draws)
    write_scores(args.output, rows)
    write_records(args.lines, LinePoint, points)


if __name__ == "__main__":
    sys.exit(cli.run(main))
