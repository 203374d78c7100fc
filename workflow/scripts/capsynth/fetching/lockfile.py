"""The last step of prefetch: everything that was fetched is whole, and the lock file says so."""

import logging
from collections.abc import Sequence
from pathlib import Path

from capsynth.fetching import downloads, hub
from capsynth.fetching.locks import (
    DATA,
    Stamp,
    folder_of,
    is_whole,
    read_lock,
    read_stamp,
    write_lock,
)

log = logging.getLogger(__name__)


def lock_all(stamps: Sequence[Path], lock: Path) -> list[str]:
    """Fetch again what is missing of the folders of ``stamps``, and put the stamps into ``lock``.

    A stamp whose folder was deleted or damaged gets back the very content that it describes.

    Returns:
        What to tell the user, a line an entry.

    Raises:
        CapsynthError: If something cannot be fetched again as it was.
    """
    if not stamps:
        return ["nothing to fetch: every model and data set of this configuration is local"]
    # First of all: what is fetched again is then held to it.
    write_lock(lock, stamps)
    lines = []
    for stamp in sorted(stamps):
        values, folder = read_stamp(stamp), folder_of(stamp)
        whole = is_whole(values, folder)
        if not whole:
            log.warning("%s is not whole; fetching it again as %s says", folder, stamp)
            _fetch_again(values, stamp, lock)
        describe = downloads.describe if stamp.parent.name == DATA else hub.describe
        line = describe(f"{stamp.parent.name}/{folder.name}", values)
        lines.append(line if whole else f"{line}: was not whole, fetched again as it was")
    entries = sum(map(len, read_lock(lock).values()))
    return [*lines, f"{lock}: {entries} entries; copy it to fetch exactly these anywhere"]


def _fetch_again(values: Stamp, stamp: Path, lock: Path) -> None:
    if stamp.parent.name == DATA:
        downloads.fetch_data(folder_of(stamp).name, stamp, lock)
        return
    wanted = tuple(values["wanted"])
    request = hub.Request(values["id"], values["kind"], values["revision"], wanted)
    hub.fetch_repository(request, stamp, lock)
