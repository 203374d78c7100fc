"""Write the tables of label quality as CSV, Markdown, LaTeX and HTML."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.label_rows import LabelRow
from capsynth.reporting.label_tables import make_label_tables
from capsynth.reporting.prompt_tables import PromptTableSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of PromptTableSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    rows = read_records(args.labels, LabelRow, "measure_label_quality")
    settings = settings_from_json(PromptTableSettings, args.config_json)
    make_label_tables(rows, settings, args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
