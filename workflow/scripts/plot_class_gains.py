"""Plot what one training set gains over another in each class."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.budgets import read_budgets
from capsynth.reporting.figures import plot_class_gains
from capsynth.reporting.scores import read_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--budgets", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument(
        "--comparison", nargs=2, required=True, metavar=("A", "B"), help="A minus B"
    )
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    scores, budgets = read_scores(args.scores), read_budgets(args.budgets)
    plot_class_gains(scores, settings, budgets, tuple(args.comparison), args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
