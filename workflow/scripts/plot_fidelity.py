"""Plot precision against recall, and density against coverage, of each variant."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.fidelity_rows import FidelityRow
from capsynth.reporting.fidelity_tables import FidelitySettings, plot_fidelity
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fidelity", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of FidelitySettings")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    rows = read_records(args.fidelity, FidelityRow, "measure_fidelity")
    plot_fidelity(rows, settings_from_json(FidelitySettings, args.config_json), args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))
