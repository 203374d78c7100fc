"""What scripts share: logging to stderr, errors as one line, the number of threads."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from capsynth.errors import TRY_AGAIN, CapsynthError, Stopped, Superseded
from capsynth.failures import explain
from capsynth.integrity import check_file
from capsynth.job_log import JobLog
from capsynth.offline import go_offline


def run(main: Callable[[], None]) -> int:
    """Run a script's ``main`` on the command line's arguments and return its exit code.

    Used as ``if __name__ == "__main__": sys.exit(cli.run(main))``; tests call ``main([...])``
    itself and see the exception.

    Returns:
        0, or 1 after a ``CapsynthError``, which is printed to stderr as one line ``error: ...``;
        75 (``errors.TRY_AGAIN``) if SIGTERM stopped it and all is saved. What the machine ran out
        of is such a line as well (``failures``); any other exception is a mistake in the code and
        keeps its traceback.
        In a job of a run, stderr also tells where and how long it ran (``job_log``).
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    # Scripts import what reads these variables later, inside of functions.
    go_offline()
    with JobLog() as job:
        try:
            for word in sys.argv[1:]:
                if word.startswith("@"):
                    check_arguments(Path(word[1:]))
            main()
        except Stopped as stop:
            print("stopped by SIGTERM; started again it goes on from here:", stop, file=sys.stderr)
            job.exit_code = TRY_AGAIN
        except Superseded as error:
            print("error:", error, file=sys.stderr)
            # An error would have Snakemake delete the outputs that the other start has made.
            job.exit_code = 0 if error.complete else 1
        except CapsynthError as error:
            print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
            job.exit_code = 1
        except Exception as error:
            reason = explain(error, Path(sys.argv[0]).stem)
            if reason is None:
                raise
            print("error:", reason, file=sys.stderr)
            job.exit_code = 1
        return job.exit_code


def check_arguments(path: Path) -> None:
    """Check a file of arguments before argparse reads it.

    Raises:
        Damaged: If it is not what Snakemake wrote.
    """
    if path.is_file():
        check_file(path)


def set_threads(threads: int) -> None:
    """Let torch use ``threads`` threads: those that the scheduler gave to the job.

    Raises:
        CapsynthError: If ``threads`` is not positive.
    """
    if threads < 1:
        raise CapsynthError(f"{threads} threads are too few; give at least 1")
    import torch

    torch.set_num_threads(threads)
