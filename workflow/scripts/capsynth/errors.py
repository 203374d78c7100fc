"""How a stage ends before its time."""

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

# EX_TEMPFAIL of sysexits.h: not a mistake, try again. A site's RequeueExit may name it.
TRY_AGAIN = 75


class CapsynthError(Exception):
    """Something the user can mend; the message says what is wrong and how to mend it."""


# What a file system says that is full, closed or ill, and what to do: no mistake of the code.
_STORAGE_PROBLEMS = {
    errno.ENOSPC: "free some, of files too (df -h, df -i)",
    errno.EDQUOT: "free some, of files too (quota -s), or ask for more",
    errno.EROFS: "let it be mounted for writing",
    errno.EIO: "look at the disk, or at the connection to its server (dmesg)",
    errno.ESTALE: "its server has lost it: look at the connection (dmesg)",
    errno.EACCES: "see whose the file and its folder are (ls -ld)",
    errno.EPERM: "see whose the file and its folder are (ls -ld, lsattr)",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "let the system have more open files (sysctl fs.file-max)",
    **dict.fromkeys(
        (errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN, errno.EREMOTEIO, errno.ETIMEDOUT),
        "look at the connection to its server (dmesg)",
    ),
}
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


class StorageFailed(CapsynthError):
    """The file system cannot take what a stage writes."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} cannot be written: {problem}")


def storage_problem(error: BaseException) -> str | None:
    """Return what is wrong with the file system and what to do, if ``error`` comes of that."""
    number = error.errno if isinstance(error, OSError) else None
    # safetensors raises its own kind; pyarrow has one error follow the other when it closes a file.
    if match := _RUST_ERROR.search(str(error)):
        number = int(match[1])
    elif isinstance(error, OSError) and number is None and error.__context__ is not None:
        return storage_problem(error.__context__)
    if number not in _STORAGE_PROBLEMS:
        return None
    remedy = _STORAGE_PROBLEMS[number]
    return f"{os.strerror(number)}; {remedy}, and start again: what is finished is kept"


class Stopped(Exception):
    """A stage was asked to stop, and has saved what it had."""


class Superseded(CapsynthError):
    """A later start has taken over the outputs, and this one must not touch them.

    Attributes:
        complete: Whether the outputs are there.
    """

    def __init__(self, outputs: Sequence[Path]) -> None:
        self.complete = all(output.exists() for output in outputs)
        super().__init__(
            f"{outputs[0]}: a later start has taken over with other settings, inputs or code, or "
            "the run has ended; what this one made is not used"
        )
