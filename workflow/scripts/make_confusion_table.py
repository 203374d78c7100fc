"""Write the table of changed confusions as CSV, Markdown, LaTeX and HTML."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.budgets import read_budgets
from capsynth.reporting.confusions import Confusion, make_confusion_table
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--confusions", type=Path, required=True)
    parser.add_argument("--budgets", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    rows = read_records(args.confusions, Confusion, "compare_confusions")
    make_confusion_table(rows, settings, read_budgets(args.budgets), args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
