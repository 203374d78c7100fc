"""Sum up what jobs cost, from their benchmarks, logs and results."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import write_records
from capsynth.reporting.costs import CostRow, measure_costs, read_jobs


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=Path, required=True, help="JSON Lines of costs.MeasuredJob")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    write_records(args.output, CostRow, measure_costs(read_jobs(args.jobs)))


if __name__ == "__main__":
    sys.exit(cli.run(main))
