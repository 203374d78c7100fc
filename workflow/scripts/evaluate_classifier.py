"""Evaluate one classifier on one evaluation set, or on other images of its classes."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.evaluation import RunName, evaluate_classifier
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--name", required=True, help="JSON of evaluation.RunName")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tar", type=Path, nargs="+", required=True)
    parser.add_argument("--manifest", type=Path, nargs="+", required=True, help="one a tar")
    parser.add_argument("--class-ids", nargs="+", help="that may be answered; default: all")
    parser.add_argument("--answer-groups", help="JSON: of classes, all answers that are right")
    parser.add_argument("--corrupted", action="store_true", help="images are shown uncut")
    parser.add_argument("--unknown", action="store_true", help="the images are of none of them")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    cli.set_threads(args.threads)
    evaluate_classifier(
        settings_from_json(RunName, args.name),
        args.checkpoint,
        list(zip(args.tar, args.manifest, strict=True)),
        args.class_ids,
        args.batch_size,
        args.workers,
        args.output,
        args.corrupted,
        json.loads(args.answer_groups) if args.answer_groups else None,
        args.unknown,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
