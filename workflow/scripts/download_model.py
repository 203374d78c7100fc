"""Fetch a model or data set of the Hugging Face hub."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.fetching.hub import Request, fetch_repository
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--request", required=True, help="JSON of hub.Request")
    parser.add_argument("--lock", type=Path, required=True, help="the lock file, if there is one")
    parser.add_argument("--output", type=Path, required=True, help="JSON stamp beside the folder")
    args = parser.parse_args(argv)
    fetch_repository(settings_from_json(Request, args.request), args.output, args.lock)


if __name__ == "__main__":
    sys.exit(cli.run(main))
