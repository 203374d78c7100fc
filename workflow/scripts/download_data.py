"""Fetch and unpack a registered download."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.fetching.downloads import fetch_data


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--name", required=True, help="a name of capsynth.fetching.downloads.DOWNLOADS"
    )
    parser.add_argument("--lock", type=Path, required=True, help="the lock file, if there is one")
    parser.add_argument("--output", type=Path, required=True, help="JSON stamp beside the folder")
    args = parser.parse_args(argv)
    fetch_data(args.name, args.output, args.lock)


if __name__ == "__main__":
    sys.exit(cli.run(main))
