"""Write the tables of effective robustness and of errors under corruptions."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.measured_tables import corruption_table, robustness_table
from capsynth.reporting.robustness_scores import LinePoint, RobustnessSettings
from capsynth.reporting.scores import read_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import write_table
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--robustness", type=Path, required=True)
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--settings", required=True, help="JSON of RobustnessSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    measured = settings_from_json(RobustnessSettings, args.settings)
    scores, rows = read_scores(args.scores), read_scores(args.robustness)
    lines = read_records(args.lines, LinePoint, "measure_robustness")
    if settings.shifted:
        table = robustness_table(scores, rows, lines, settings, measured)
        write_table(table, args.output_dir)
    corruptions = corruption_table(scores, rows, settings, measured)
    if corruptions.rows:
        write_table(corruptions, args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
