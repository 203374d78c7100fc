"""Collect the results of all attacks in one table, and their curves in another."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.privacy.results import AttackScore, CurvePoint, read_rows, write_rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--scores", type=Path, nargs="+", required=True)
    parser.add_argument("--curves", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--curves-output", type=Path, required=True)
    args = parser.parse_args(argv)
    scores = [row for path in args.scores for row in read_rows(path, AttackScore)]
    points = [row for path in args.curves for row in read_rows(path, CurvePoint)]
    write_rows(args.output, AttackScore, scores)
    write_rows(args.curves_output, CurvePoint, points)


if __name__ == "__main__":
    sys.exit(cli.run(main))
