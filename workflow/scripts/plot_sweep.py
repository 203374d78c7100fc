"""Plot accuracy against the key that a sweep varied."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.sweep_figure import plot_sweep, read_sweep_scores


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="scores.csv of run_sweep")
    parser.add_argument("--training-sets", nargs="+", help="lines, in order (default: all)")
    parser.add_argument("--eval-sets", nargs="+", help="panels, in order (default: all)")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    plot_sweep(read_sweep_scores(args.scores), args.training_sets, args.eval_sets, args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
