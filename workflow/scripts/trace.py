"""Tell what a score, or any file of the results, was made of, and by which runs and jobs.

    python workflow/scripts/trace.py --training-set caption --recipe cpu-tiny --seed 0 \
        --eval-set openmoji-val --key bat_000003 --extract images
    python workflow/scripts/trace.py results/openmoji/images/caption/bat-0.tar --key bat_000003

See docs/provenance.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.tracing import Trace, extract, find_result, result_of


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", type=Path, nargs="?", help="a file of results/")
    parser.add_argument("--dataset", help="needed if several have the result")
    names = ("training_set", "recipe", "eval_set")
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}")
    parser.add_argument("--seed", type=int, help="of the training")
    parser.add_argument("--metric", default="top1")
    parser.add_argument("--key", help="an image of the evaluation set or of a training shard")
    parser.add_argument("--extract", type=Path, metavar="FOLDER", help="write the key's images")
    args = parser.parse_args(argv)
    if args.path is not None:
        result = result_of(args.path)
    elif args.seed is None or None in [getattr(args, name) for name in names]:
        parser.error("give a path, or --training-set, --recipe, --seed and --eval-set")
    else:
        result = find_result(args.dataset, args.training_set, args.recipe, args.seed, args.eval_set)
    trace = Trace()
    if result is not None:
        trace.result(result, args.metric, args.key)
    else:
        trace.file("file", args.path)
        shard = args.path.with_suffix(".jsonl")
        if args.key is not None and not trace.sample(_dataset(shard), shard, args.key):
            raise CapsynthError(f"{shard} has no image {args.key!r}")
    print("\n".join(trace.lines))
    if args.extract is not None:
        for path in extract(trace.images, args.extract):
            print(f"written       {path}")


def _dataset(shard: Path) -> str:
    """Return the data set of a shard of real or synthetic images.

    Raises:
        CapsynthError: If the path is none of a shard.
    """
    match shard.parts:
        case ("results", dataset, "real", _) | ("results", dataset, "images", _, _):
            return dataset
    raise CapsynthError(
        f"{shard} is no shard: --key goes with results/DATASET/real/SHARD.tar and "
        "results/DATASET/images/VARIANT/SHARD.tar"
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
