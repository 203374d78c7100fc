"""Plot the time of each stage from Snakemake's benchmark files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.stage_times import plot_stage_times, read_stage_times, write_stage_times


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--benchmarks", type=Path, nargs="+", required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    times = read_stage_times(args.benchmarks)
    write_stage_times(args.csv, times)
    plot_stage_times(times, args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
