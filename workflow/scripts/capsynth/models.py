"""Names for the weights of a model: what makes two models the same."""

from pathlib import Path

from capsynth.fingerprints import file_digest, fingerprint

SUMS = "SHA256SUMS"


def model_mark(model: str, revision: str | None) -> str:
    """Return a name of a model's weights that changes when they do.

    A local folder with a ``SHA256SUMS`` file is named by it; another local folder by the names and
    sizes of its files, which misses weights that were replaced by others of the same size; a
    model of a hub by its id and revision.
    """
    folder = Path(model)
    if (folder / SUMS).is_file():
        return file_digest(folder / SUMS)[:16]
    if folder.is_dir():
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return fingerprint([[str(p.relative_to(folder)), p.stat().st_size] for p in files])
    return f"{model}@{revision or 'main'}"
