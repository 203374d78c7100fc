"""Write the table of variances."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.tables import write_table
from capsynth.reporting.variance_scores import Variance, variance_table


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variance", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    rows = read_records(args.variance, Variance, "measure_variance")
    write_table(variance_table(rows), args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
