"""Run an experiment at several values of one key; see docs/sweeps.md.

    python workflow/scripts/run_sweep.py config/context-bias.yaml --cores 2

Call it again to go on after a stop: what is finished is not made again.
"""

import argparse
import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.sweeps import (
    config_text,
    join_scores,
    plan_runs,
    read_sweep,
    read_yaml,
    write_if_changed,
)

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with Snakemake's exit code where that fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sweep", type=Path, help="YAML: the key, its values, overrides")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="what is swept")
    parser.add_argument("--cores", type=int, default=max(2, os.cpu_count() or 1))
    parser.add_argument(
        "--dry-run", action="store_true", help="check and write the configurations, run nothing"
    )
    args = parser.parse_args(argv)
    sweep = read_sweep(args.sweep)
    runs = plan_runs(sweep, read_yaml(args.config))
    root = Path("results/sweeps") / args.sweep.stem
    folders = {run.name: root / run.name for run in runs}
    lock = take_lock(root / ".lock")
    for run in runs:
        folder = folders[run.name]
        text = config_text(run, folder, (args.config, args.sweep))
        write_if_changed(folder / "config.yaml", text)
    for number, (name, folder) in enumerate(folders.items(), 1):
        command = ["snakemake", "--directory", str(folder), "--cores", str(args.cores)]
        # The lock of the sweep stands for Snakemake's, which a kill would leave behind.
        command += ["--rerun-incomplete", "--nolock"]
        command += ["--dry-run", "--quiet", "rules"] if args.dry_run else []
        log.info("%s = %s (%d of %d): %s", sweep.key, name, number, len(runs), " ".join(command))
        if exit_code := run_command(command, lock):
            print(
                f"error: {sweep.key} = {name}: Snakemake ended with exit code {exit_code}; its log "
                f"is in {folder}/.snakemake/log. Mend the cause, then call run_sweep again: what is "
                "finished is not made again",
                file=sys.stderr,
            )
            sys.exit(exit_code)
    if not args.dry_run:
        report(sweep.key, folders, root)


def take_lock(path: Path) -> int:
    """Return a descriptor that holds the lock of a sweep until all processes that have it end.

    Raises:
        CapsynthError: If another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CapsynthError(
            f"{path.parent}: another run_sweep, or a Snakemake it started, works there; wait for it"
        ) from None
    return descriptor


def run_command(command: Sequence[str], lock: int) -> int:
    """Run a command that shares the lock; return its exit code, 128 and more after a signal."""
    # Python would leave Snakemake behind, and a signal may be for this process alone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, pass_fds=(lock,))
    except OSError as error:
        raise CapsynthError(f"{command[0]} cannot be run ({error.strerror}); activate .venv") from None
    try:
        exit_code = process.wait()
    except KeyboardInterrupt:
        process.terminate()  # Snakemake stops in good order
        exit_code = process.wait() or 128 + signal.SIGINT
    return exit_code if exit_code >= 0 else 128 - exit_code


def report(key: str, folders: dict[str, Path], root: Path) -> None:
    """Join the scores of the runs, plot them, and print where they are."""
    from capsynth.reporting.sweep_figure import plot_sweep, read_sweep_scores

    scores = root / "scores.csv"
    figures = [root / "accuracy.png", root / "accuracy.svg"]
    join_scores(key, [(name, f / "results/scores.csv") for name, f in folders.items()], scores)
    plot_sweep(read_sweep_scores(scores), None, None, figures)
    for path in (scores, *figures):
        print(path)


if __name__ == "__main__":
    sys.exit(cli.run(main))
