"""Write the table of probes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.probes import probe_table
from capsynth.reporting.scores import read_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import write_table
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    write_table(probe_table(read_scores(args.probes), settings), args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
