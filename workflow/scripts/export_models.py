"""Put the trained embedded models into their folders, in half precision, with checksums."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.pretraining.making import assemble_generator, write_sums


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the pretraining")
    parser.add_argument("--output", type=Path, required=True, help="folder of the models")
    args = parser.parse_args(argv)
    assemble_generator(args.work / "denoiser", args.work / "decoder", args.output / "generator")
    shutil.copytree(args.work / "captioner", args.output / "captioner", dirs_exist_ok=True)
    for model in ("generator", "captioner"):
        write_sums(args.output / model)


if __name__ == "__main__":
    sys.exit(cli.run(main))
