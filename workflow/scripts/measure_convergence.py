"""Measure learning curves and train-test gaps of all runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import write_records
from capsynth.reporting.convergence import CurvePoint, Names, measure_convergence
from capsynth.reporting.scores import RunName, write_scores


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--dataset", required=True)
    parser.add_argument(
        "--run",
        nargs=4,
        action="append",
        required=True,
        metavar=("TRAINING_SET", "RECIPE", "SEED", "HISTORY"),
        help="may be repeated",
    )
    parser.add_argument("--curve-set", default="", help="name of the held-out images")
    parser.add_argument(
        "--predictions", type=Path, nargs="*", default=[], help="in distribution; none for no gap"
    )
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    histories = {
        RunName(training_set, recipe, int(seed)): Path(history)
        for training_set, recipe, seed, history in args.run
    }
    names = Names(args.dataset, args.curve_set)
    points, rows = measure_convergence(histories, args.predictions, names)
    write_records(args.curves, CurvePoint, points)
    write_scores(args.output, rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
