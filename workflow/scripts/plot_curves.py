"""Plot accuracy against the share of real images or the number of synthetic ones."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.files import read_json
from capsynth.reporting.measured_figures import CurvePoint, plot_curves
from capsynth.reporting.scores import read_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument(
        "--points", required=True, help="JSON of [line, training set, share of the real images]"
    )
    parser.add_argument(
        "--histories",
        type=Path,
        nargs="*",
        default=[],
        help="of one run of each point: their numbers of images take the place of the shares",
    )
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    points = [CurvePoint(*point) for point in json.loads(args.points)]
    x_label = "share of the real images (%)"
    if args.histories:
        x_label = "synthetic images"
        points = [
            CurvePoint(point.line, point.training_set, float(read_json(history)["images"]))
            for point, history in zip(points, args.histories, strict=True)
        ]
    settings = settings_from_json(ReportSettings, args.config_json)
    scores = read_scores(args.scores)
    plot_curves(scores, settings, points, x_label, bool(args.histories), args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
