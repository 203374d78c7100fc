"""One supervisor a folder, on whatever host, and none beside a Snakemake of somebody else's."""

import contextlib
import fcntl
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import psutil

from capsynth.errors import CapsynthError
from capsynth.files import flush_descriptor
from capsynth.supervision import Holder, is_alive, is_snakemake, log_host

LOCK = Path("results/.supervise.lock")
LOGS = Path(".snakemake/log")
_SNAKEMAKE_LOCKS = Path(".snakemake/locks")
_HEAD_BYTES = 4096
_DYING_S = 3.0  # how long a Snakemake whose supervisor was killed just now may still be seen


class FolderLock:
    """The lock of a folder: an flock, and a record of who holds it.

    The flock goes with its process however that ends. Not every shared file system passes it on
    to other hosts; there the record counts as long as its holder gives signs of life.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self.left: Holder | None = None

    def take(self) -> None:
        """Take the lock; ``left`` is then the record of a supervisor that did not end properly.

        Raises:
            CapsynthError: If another supervisor has it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        pids: Sequence[int] = ()  # of this host only a process that holds the flock is alive
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CapsynthError(self._refusal(self._read())) from None
        except OSError:  # this file system has no locks: the record alone decides
            pids = psutil.pids()
        record = self._read()
        silence_s = _file_clock_s(self._path.parent) - self._path.stat().st_mtime
        if record and is_alive(record, platform.node(), pids, silence_s):
            raise CapsynthError(self._refusal(record))
        self.left = record
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        self._write(json.dumps(asdict(Holder(platform.node(), os.getpid(), now))))

    def beat(self) -> None:
        """Give a sign of life."""
        with contextlib.suppress(OSError):  # a file system that is away for a moment
            os.utime(self._descriptor)

    def release(self) -> None:
        """Give the lock back."""
        self._write("")
        os.close(self._descriptor)

    def _read(self) -> Holder | None:
        try:
            return Holder(**json.loads(os.pread(self._descriptor, _HEAD_BYTES, 0)))
        except (ValueError, TypeError):
            return None

    def _write(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)
        flush_descriptor(self._descriptor, self._path)

    def _refusal(self, holder: Holder | None) -> str:
        folder = self._path.parent.parent.resolve()
        if holder is None:
            return f"{folder}: another supervisor is just starting here; look at logs/supervise.log"
        there = "" if holder.host == platform.node() else f"on {holder.host}: "
        return (
            f"{folder}: a supervisor works here already: host {holder.host}, process {holder.pid}, "
            f"since {holder.since}. Watch it with `tail -f logs/supervise.log`, or stop it and its "
            f"jobs ({there}`kill -INT {holder.pid}`) and call again"
        )


def _file_clock_s(folder: Path) -> float:
    """Return the time of the file system of ``folder``: hosts may disagree on theirs."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock.") as file:
        return os.fstat(file.fileno()).st_mtime


def locks_left(folder: Path) -> bool:
    """Return whether Snakemake's own lock lies in the folder."""
    locks = folder / _SNAKEMAKE_LOCKS
    return locks.is_dir() and any(locks.iterdir())


def snakemake_logs(folder: Path) -> list[Path]:
    """Return the logs of all Snakemakes that worked in the folder; their names sort by time."""
    return sorted((folder / LOGS).glob("*.snakemake.log"))


def find_snakemakes(folder: Path) -> list[int]:
    """Return the processes of this host that are a Snakemake which makes files in ``folder``."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        arguments, where = process.info["cmdline"] or [], process.info["cwd"]
        if where and is_snakemake(arguments):
            with contextlib.suppress(OSError):
                if os.path.samefile(where, folder):
                    found.append(process.pid)
    return found


def refuse_company(
    folder: Path, dead: Holder | None, take_over: bool, remedy: str = "call again with --take-over"
) -> None:
    """Refuse to work beside a Snakemake that may be alive.

    Args:
        folder: The folder.
        dead: A supervisor that is dead, and with it its Snakemake.
        take_over: Whether the user says that no Snakemake of another host is alive.
        remedy: What the user does to say so.

    Raises:
        CapsynthError: If one is, or may be.
    """
    patience = time.monotonic() + _DYING_S
    while others := find_snakemakes(folder):
        if time.monotonic() > patience:
            raise CapsynthError(
                f"{folder.resolve()}: Snakemake works in this folder already (process "
                f"{', '.join(map(str, others))}); wait for it, or stop it with `kill -INT "
                f"{others[0]}`, which cancels its jobs, and call again"
            )
        time.sleep(0.1)
    logs = snakemake_logs(folder)
    if take_over or not logs or not locks_left(folder):
        return
    with logs[-1].open(encoding="utf-8", errors="replace") as file:
        host = log_host(file.read(_HEAD_BYTES))
    if host and host not in {platform.node(), dead.host if dead else None}:
        raise CapsynthError(
            f"{folder.resolve()} is locked by a Snakemake of host {host}, which cannot be seen "
            f"from here ({platform.node()}). Look there with `pgrep -af snakemake`; if it is not "
            f"alive, {remedy}"
        )
