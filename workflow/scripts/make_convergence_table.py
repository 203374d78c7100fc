"""Write the table of late gains and train-test gaps."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.convergence import CurvePoint
from capsynth.reporting.convergence_report import convergence_table
from capsynth.reporting.scores import read_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import write_table
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--convergence", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    points = read_records(args.curves, CurvePoint, "measure_convergence")
    settings = settings_from_json(ReportSettings, args.config_json)
    table = convergence_table(points, read_scores(args.convergence), settings)
    write_table(table, args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
