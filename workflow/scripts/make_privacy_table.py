"""Write the table of the attacks as CSV, Markdown, LaTeX and HTML."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.privacy.results import AttackScore
from capsynth.records import read_records
from capsynth.reporting.privacy import make_privacy_table
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    scores = read_records(args.scores, AttackScore, "collect_privacy")
    make_privacy_table(scores, settings, args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
