"""Train a classifier on one training set with one recipe and seed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.distributed import process_count
from capsynth.privacy.references import reference_seed
from capsynth.recipes import Recipe
from capsynth.resuming import code_mark
from capsynth.settings import settings_from_json
from capsynth.shards import shard_name
from capsynth.shares import parse_share
from capsynth.training import ShardSource, Training, train_classifier
from capsynth.training_accuracy import NOTHING, MeasuredImages


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True, help="JSON of recipes.Recipe")
    parser.add_argument("--class-ids", nargs="+", required=True)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="of a training on all images")
    which.add_argument("--half", type=int, help="number of a reference model; says its seed too")
    parser.add_argument("--folders", nargs="+", type=Path, required=True, help="of shards")
    parser.add_argument(
        "--fractions", nargs="+", type=parse_share, required=True, help="one a folder"
    )
    parser.add_argument("--parts-per-class", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="of all processes")
    parser.add_argument(
        "--held-out", nargs=2, type=Path, metavar=("TAR", "MANIFEST"), help="for a learning curve"
    )
    parser.add_argument("--points", type=int, default=0, help="of the learning curve")
    parser.add_argument(
        "--train-images", type=int, default=0, help="most own images that accuracy is measured on"
    )
    parser.add_argument("--code", type=Path, help="digests of the code: other code resumes nothing")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--history", type=Path, required=True)
    args = parser.parse_args(argv)
    recipe = settings_from_json(Recipe, args.recipe)
    cli.set_threads(max(1, args.threads // process_count(recipe.gpus)))
    names = [shard_name(c, part) for c in args.class_ids for part in range(args.parts_per_class)]
    shards = [
        ShardSource(folder / f"{name}.tar", folder / f"{name}.jsonl", fraction)
        for folder, fraction in zip(args.folders, args.fractions, strict=True)
        for name in names
    ]
    measured = MeasuredImages(
        tuple(args.held_out) if args.held_out else None, args.points, args.train_images
    )
    if args.half is not None and measured != NOTHING:
        parser.error("--half: accuracy of a reference model is not measured; take the flags off")
    training = Training(
        recipe,
        shards,
        args.class_ids,
        args.seed if args.half is None else reference_seed(args.half),
        args.half,
        measured,
    )
    train_classifier(training, args.checkpoint, args.history, code_mark(args.code))


if __name__ == "__main__":
    sys.exit(cli.run(main))
