"""Plot accuracy on held-out real images by optimisation step."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.convergence import CurvePoint
from capsynth.reporting.convergence_report import plot_learning_curves
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    points = read_records(args.curves, CurvePoint, "measure_convergence")
    plot_learning_curves(points, settings_from_json(ReportSettings, args.config_json), args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
