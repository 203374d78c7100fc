"""Plot the time of each stage."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.costs import CostRow
from capsynth.reporting.stage_times import plot_stage_times


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--costs", type=Path, required=True)
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    plot_stage_times(read_records(args.costs, CostRow, "measure_costs"), args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
