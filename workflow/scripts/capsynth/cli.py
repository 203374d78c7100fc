"""What scripts share: logging to stderr, errors as one line, the number of threads."""

import logging
import sys
from collections.abc import Callable

from capsynth.errors import TRY_AGAIN, CapsynthError, Stopped, Superseded, storage_problem
from capsynth.job_log import JobLog
from capsynth.offline import go_offline


def run(main: Callable[[], None]) -> int:
    """Run a script's ``main`` on the command line's arguments and return its exit code.

    Used as ``if __name__ == "__main__": sys.exit(cli.run(main))``; tests call ``main([...])``
    itself and see the exception.

    Returns:
        0, or 1 after a ``CapsynthError`` or an error of the file system (full, ill, read-only),
        which is printed to stderr as one line ``error: ...``;
        75 (``errors.TRY_AGAIN``) if SIGTERM stopped it and all is saved. Any other exception is
        a mistake in the code and keeps its traceback.
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
        except OSError as error:
            problem = storage_problem(error)
            if problem is None:
                raise
            where = f"{error.filename2 or error.filename}: " if error.filename else ""
            print("error:", where + problem, file=sys.stderr)
            job.exit_code = 1
        return job.exit_code


def set_threads(threads: int) -> None:
    """Let torch use ``threads`` threads: those that the scheduler gave to the job.

    Raises:
        CapsynthError: If ``threads`` is not positive.
    """
    if threads < 1:
        raise CapsynthError(f"{threads} threads are too few; give at least 1")
    import torch

    torch.set_num_threads(threads)
