"""Print tables for a terminal, and where the report is."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.reporting.tables import terminal_lines


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, nargs="+", required=True, help="Markdown of a table")
    parser.add_argument("--report", type=Path, required=True)
    args = parser.parse_args(argv)
    for path in (*args.table, args.report):
        if not path.exists():
            raise CapsynthError(f"{path} does not exist; run the workflow first")
    for table in args.table:
        print("\n".join(terminal_lines(table.read_text(encoding="utf-8"))), end="\n\n")
    print(f"report: {args.report}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
