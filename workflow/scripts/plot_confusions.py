"""Plot how the confusions of two training sets differ."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.budgets import read_budgets
from capsynth.reporting.confusions import Confusion, plot_confusions
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--confusions", type=Path, required=True)
    parser.add_argument("--budgets", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument(
        "--comparison", nargs=2, required=True, metavar=("A", "B"), help="A minus B"
    )
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    rows = read_records(args.confusions, Confusion, "compare_confusions")
    budgets = read_budgets(args.budgets)
    plot_confusions(rows, settings, budgets, tuple(args.comparison), args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
