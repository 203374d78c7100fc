"""Run Snakemake on SLURM under a watch that starts it again when it hangs or dies.

    python workflow/scripts/supervise.py -- snakemake --profile slurm
    python workflow/scripts/supervise.py --cancel

See docs/slurm.md. Ctrl-C stops Snakemake and all its jobs; called again it goes on.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli

LOG = Path("logs/supervise.log")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with Snakemake's exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        usage="%(prog)s [options] -- snakemake ...   or   %(prog)s --cancel",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--cancel", action="store_true", help="cancel the jobs of this folder, wait, and end"
    )
    parser.add_argument(
        "--restarts", type=int, default=5, help="restarts in a row without a finished job"
    )
    parser.add_argument("--restarts-in-all", type=int, default=50, help="restarts at all")
    parser.add_argument(
        "--pause-s", type=float, default=30, help="before the first restart; doubles in a row"
    )
    parser.add_argument("--poll-s", type=float, default=30, help="between two looks at the queue")
    parser.add_argument(
        "--idle-s",
        type=float,
        default=600,
        help="without jobs and without work after which Snakemake counts as hung; more than 240, "
        "as the SLURM plugin may look at the queue every 180 s only",
    )
    parser.add_argument(
        "--grace-s", type=float, default=30, help="between SIGINT, SIGTERM and SIGKILL"
    )
    parser.add_argument(
        "--gone-s", type=float, default=600, help="in which cancelled jobs must leave the queue"
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="remove the lock that a Snakemake left on a host that cannot be looked at from here",
    )
    # Split by hand: the command may have a `--` of its own.
    split = arguments.index("--") if "--" in arguments else len(arguments)
    args, command = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    from capsynth.supervision import Budget, moves_folder, only_looks

    if not command and not args.cancel:
        parser.error("there is no command; give Snakemake's after `--`")
    if only_looks(command):
        parser.error("this command makes nothing: it needs no supervisor; call snakemake itself")
    if moves_folder(command):
        parser.error("--directory is not supported; call this in that folder, with --snakefile")
    from capsynth.supervisor import Patience, Supervisor

    LOG.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(LOG)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger("capsynth").addHandler(file)
    supervisor = Supervisor(
        Path.cwd(),
        command or ["snakemake"],
        Patience(args.poll_s, args.idle_s, args.grace_s, args.gone_s),
        Budget(args.restarts, args.restarts_in_all, args.pause_s),
        args.take_over,
    )
    sys.exit(supervisor.cancel() if args.cancel else supervisor.run())


if __name__ == "__main__":
    sys.exit(cli.run(main))
