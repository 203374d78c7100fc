"""Train one of the embedded models; the training state beside the output resumes it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from capsynth import cli
from capsynth.files import write_json
from capsynth.pretraining import making
from capsynth.pretraining.loop import Schedule
from capsynth.settings import settings_from_json

MAKERS: dict[str, Callable[[Path, Schedule, Path, Path], making.History]] = {
    "autoencoder": making.make_autoencoder,
    "decoder": making.make_decoder,
    "denoiser": making.make_denoiser,
    "captioner": making.make_captioner,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MAKERS)
    parser.add_argument("--web", type=Path, required=True)
    parser.add_argument("--schedule", required=True, help="JSON of pretraining.loop.Schedule")
    parser.add_argument("--state", type=Path, required=True, help="training state, for resuming")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    parser.add_argument("--history", type=Path, required=True)
    args = parser.parse_args(argv)
    cli.set_threads(args.threads)
    schedule = settings_from_json(Schedule, args.schedule)
    write_json(args.history, MAKERS[args.model](args.web, schedule, args.state, args.output))


if __name__ == "__main__":
    sys.exit(cli.run(main))
