"""Measure how many labels of synthetic images are wrong."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import write_records
from capsynth.reporting.label_rows import LabelRow, measure_labels


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--judgements", type=Path, nargs="+", required=True)
    parser.add_argument("--references", type=Path, nargs="+", required=True)
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--output", type=Path, required=True, help="CSV")
    args = parser.parse_args(argv)
    rows = measure_labels(args.judgements, args.references, args.draws)
    write_records(args.output, LabelRow, rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
