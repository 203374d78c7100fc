"""Names for the weights of a model, and the check that they are where they should be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.fetching.locks import Stamp, folder_of, hub_files, missing_files, read_stamp
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.offline import prefetch_command

SUMS = "SHA256SUMS"


def model_mark(model: str) -> str:
    """Return a name of the weights in a folder that changes when they do.

    A folder with a ``SHA256SUMS`` file is named by it; another one by the names and sizes of its
    files, which misses weights that were replaced by others of the same size. What is not there is
    named by its path: a job that reads it fails.
    """
    path = Path(model)
    if (path / SUMS).is_file():
        return file_digest(path / SUMS)[:16]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return fingerprint([[str(f.relative_to(path)), f.stat().st_size] for f in files])
    if path.is_file():
        return fingerprint([path.name, path.stat().st_size])
    return f"{model}@main"


def model_bytes(path: Path) -> int | None:
    """Return the size of a model's files; ``None`` if there are none, or not all yet.

    Of a model of the hub its stamp knows: its folder fills while it is fetched.
    """
    stamp = path.with_name(f"{path.name}.json")
    if stamp.is_file():
        try:
            return sum(file.size for file in hub_files(read_stamp(stamp)).values())
        except (CapsynthError, KeyError):
            return None  # the job that reads it says what is wrong with it
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) or None


def lock_mark(stamp: Stamp) -> str:
    """Return a name of the weights that a stamp speaks of: its commit and its files' checksums."""
    digests = {name: file["sha256"] for name, file in stamp["files"].items()}
    return fingerprint(stamp["revision"], digests)


def require_model(model: str, mark: str, locks: Sequence[Path]) -> str:
    """Return the name of a job's weights; raise at once if some of them are not there.

    Called before anything heavy is imported. Sizes are compared, not checksums.

    Args:
        model: Folder of the model.
        mark: Name of the weights that are local folders, ``none`` if there are none.
        locks: Stamps of the models of the hub, each beside its folder.

    Raises:
        CapsynthError: If a folder or a stamp is missing or incomplete; the message has the command
            that fetches them.
    """
    stamps = [_checked(lock) for lock in locks]
    if not Path(model).is_dir():
        raise CapsynthError(
            f"model {model} is not there: no such folder. If it is a model of the hub, fetch it "
            f"where there is a network: {prefetch_command()}"
        )
    return fingerprint([mark, *map(lock_mark, stamps)]) if stamps else mark


def unread_weights(model: str, why: object) -> CapsynthError:
    """Return the error of a model whose weights are not there as safetensors."""
    return CapsynthError(
        f"model {model}: {why}. Only safetensors are read: other files of weights may run code "
        "when they are. Fetch the model with `snakemake prefetch`, which converts them"
    )


def _checked(lock: Path) -> dict[str, Any]:
    folder = folder_of(lock)
    try:
        stamp = read_stamp(lock)
        missing = missing_files(stamp, folder)
    except CapsynthError as error:
        raise CapsynthError(f"{error}. Fetch it anew: {prefetch_command()}") from None
    if missing:
        raise CapsynthError(
            f"{stamp['id']} is not complete in {folder}: {missing[0]} is missing or cut; fetch it "
            f"where there is a network: {prefetch_command()}"
        )
    return stamp
