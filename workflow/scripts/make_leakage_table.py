"""Write the table of the leakage as CSV, Markdown, LaTeX and HTML."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.privacy.results import Leakage
from capsynth.records import read_records
from capsynth.reporting.privacy import make_leakage_table


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leakage", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    make_leakage_table(read_records(args.leakage, Leakage, "measure_leakage"), args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
