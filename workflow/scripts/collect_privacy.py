"""Collect the results of all attacks in one table, and their curves in another."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.privacy.results import AttackScore, CurvePoint
from capsynth.records import read_records, write_records


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--scores", type=Path, nargs="+", required=True)
    parser.add_argument("--curves", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--curves-output", type=Path, required=True)
    args = parser.parse_args(argv)
    for kind, parts, output in (
        (AttackScore, args.scores, args.output),
        (CurvePoint, args.curves, args.curves_output),
    ):
        rows = [row for path in parts for row in read_records(path, kind, "attack_membership")]
        write_records(output, kind, sorted(rows))


if __name__ == "__main__":
    sys.exit(cli.run(main))
