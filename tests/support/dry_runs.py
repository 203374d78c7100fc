"""Snakemake's dry runs, each forked from a process that has imported Snakemake: half the time.

As a script it is that process. It reads lines of JSON, runs ``snakemake`` in a child in the folder
and environment that a line names, and answers with the child's exit code.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Third-party modules that every dry run imports besides. The library is not among them: each
# checkout has its own.
PRELOAD = ("snakemake.cli", "snakemake.report.html_reporter", "snakemake.storage")
PRELOAD += ("jsonschema", "numpy", "pyarrow.parquet", "scipy.special", "packaging", "platformdirs")


class DryRuns:
    """The parent of dry runs, started at the first. A context manager."""

    def __init__(self) -> None:
        self._parent: subprocess.Popen[str] | None = None

    def __enter__(self) -> "DryRuns":
        return self

    def __exit__(self, *_: object) -> None:
        if self._parent and self._parent.stdin:
            self._parent.stdin.close()
            self._parent.wait()

    def run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Return what ``snakemake WORDS...`` says in a folder and an environment.

        Raises:
            ValueError: If it is no dry run, which may leave threads and children to its parent.
        """
        if "-n" not in words:
            raise ValueError(f"no dry run: snakemake {' '.join(words)}")
        if self._parent is None:
            command = [sys.executable, "-P", __file__]
            pipe = subprocess.PIPE
            self._parent = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self._parent.stdin
        assert self._parent.stdout
        snakemake = shutil.which("snakemake", path=environment["PATH"])
        with tempfile.TemporaryDirectory() as name:
            out, err = Path(name, "out"), Path(name, "err")
            request = {
                "argv": [snakemake, *words],
                "folder": str(folder),
                "environment": dict(environment),
                "out": str(out),
                "err": str(err),
            }
            print(json.dumps(request), file=self._parent.stdin, flush=True)
            code = int(self._parent.stdout.readline())
            return subprocess.CompletedProcess(
                request["argv"], code, out.read_text(), err.read_text()
            )


def serve() -> None:
    """Answer requests until there are no more."""
    for name in PRELOAD:
        __import__(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(request: dict[str, Any]) -> None:
    """Be the Snakemake of a request, to the end of this process."""
    from snakemake.cli import main
    from snakemake.workflow import Workflow

    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["folder"])
    Workflow._rundir = os.getcwd()  # it takes the folder in which it is imported
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]
    # Where the command has its own folder.
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    main()  # always ends the process
    raise AssertionError


if __name__ == "__main__":
    serve()
