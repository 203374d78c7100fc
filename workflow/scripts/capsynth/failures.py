"""What the machine ran out of, in a line with a remedy."""

import errno
import os
import re
from pathlib import Path

# By script: what makes it need less memory. Smaller batches are never taken unasked: products of
# matrices of another shape round differently, so other bytes would come out.
LESS_MEMORY = {
    "caption_images": "a smaller batch_size of the captioner",
    "rewrite_captions": "a smaller batch_size of the rewriter",
    "generate_images": "a smaller batch_size of the generator, attention_slicing or vae_slicing",
    "extract_features": "a smaller batch_size of the feature extractor",
    "train_classifier": "amp or more GPUs; a smaller batch_size of the recipe is another recipe",
}
KEPT = "what is finished is kept, and the next run goes on from there"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def explain(error: BaseException, script: str) -> str | None:
    """Return what failed and what to do about it; None of a mistake in the code.

    Args:
        error: What ended the job.
        script: Name of its script.
    """
    if memory := _memory(error):
        less = LESS_MEMORY.get(script, "fewer threads")
        return (
            f"{memory} is out: set {less}, or give the job more (--set-resources RULE:mem_mb=MB, "
            f"or a larger GPU); {KEPT}"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return _file_problem(error)
    # What is written in Rust, safetensors among it, says it so.
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        code = int(number[1])
        return _file_problem(OSError(code, os.strerror(code)))
    return None


def _memory(error: BaseException) -> str | None:
    """Return which memory was too small; None if that is not what happened."""
    if isinstance(error, MemoryError):
        return "memory"
    # torch.OutOfMemoryError, without an import of torch; on the CPU torch raises RuntimeErrors.
    if type(error).__name__ == "OutOfMemoryError":
        return "the GPU's memory"
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
        return "memory"
    return None


def _file_problem(error: OSError) -> str | None:
    where = str(error.filename2 or error.filename or "a file")
    if error.errno in _FULL:
        return f"{where}: {error.strerror}: {_what_is_full(where, error)}; {KEPT}"
    if error.errno == errno.EROFS:
        return f"{where}: {error.strerror}: run in a folder that can be written"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where}: {error.strerror}; whose is it? (ls -ld {Path(where).parent})"
    if error.errno in (errno.EIO, errno.ESTALE):
        return f"{where}: {error.strerror}: its disk or server fails; {KEPT}"
    if error.errno == errno.EMFILE:
        return f"{where}: too many open files; raise the limit (ulimit -n)"
    return None


def _what_is_full(where: str, error: OSError) -> str:
    folder = Path(where).absolute().parent  # of an error without a name the working directory
    while not folder.exists():
        folder = folder.parent
    found = os.statvfs(folder)
    # Some file systems have no fixed number of inodes, and say 0.
    if error.errno == errno.ENOSPC and found.f_files and not found.f_favail:
        return "its disk takes no more files (df -i); delete some or move results to another one"
    free = found.f_bavail * found.f_frsize
    return f"its disk or quota is full ({free / 1e6:.0f} MB are free); free some"
