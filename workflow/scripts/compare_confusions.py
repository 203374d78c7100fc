"""Compare how often classes are taken for each other after training on different training sets."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import write_records
from capsynth.reporting.confusions import Confusion, compare_confusions


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument("--comparisons", required=True, help="JSON list of pairs of training sets")
    parser.add_argument("--output", type=Path, required=True, help="CSV")
    args = parser.parse_args(argv)
    rows = compare_confusions(args.predictions, json.loads(args.comparisons))
    write_records(args.output, Confusion, rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
