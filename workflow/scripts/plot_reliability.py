"""Plot the reliability diagrams of one evaluation set."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.calibration_scores import ReliabilityBin
from capsynth.reporting.measured_figures import plot_reliability
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reliability", type=Path, required=True)
    parser.add_argument("--eval-set", required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    bins = read_records(args.reliability, ReliabilityBin, "measure_calibration")
    settings = settings_from_json(ReportSettings, args.config_json)
    plot_reliability(bins, settings, args.eval_set, args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
