"""Probe the features of one classifier with the images of one evaluation set."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.evaluation import RunName
from capsynth.probe_runs import probe_classifier
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="JSON of evaluation.RunName")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tar", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument(
        "--linear", type=Path, required=True, help="predictions of the linear probe"
    )
    parser.add_argument("--knn", type=Path, required=True, help="those of nearest neighbours")
    args = parser.parse_args(argv)
    cli.set_threads(args.threads)
    outputs = {"linear": args.linear, "knn": args.knn}
    name = settings_from_json(RunName, args.name)
    probe_classifier(name, args.checkpoint, args.tar, args.manifest, outputs)


if __name__ == "__main__":
    sys.exit(cli.run(main))
