"""Write the tables of costs as CSV, Markdown, LaTeX and HTML."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.cost_tables import CostSettings, make_cost_tables
from capsynth.reporting.costs import CostRow
from capsynth.reporting.scores import read_scores
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--costs", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of CostSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    rows = read_records(args.costs, CostRow, "measure_costs")
    settings = settings_from_json(CostSettings, args.config_json)
    make_cost_tables(rows, read_scores(args.scores), settings, args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
