"""Names for the weights of a model, and the check that they are where they should be.

A model is its content: the names and checksums of its files. Where its folder lies is noted for
the jobs beside that, and is no part of what identifies a result.
"""

import dataclasses
import difflib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from capsynth.digests import cached_digest, forget_taken, note_doubt, note_taken
from capsynth.errors import CapsynthError
from capsynth.fetching.locks import Stamp, folder_of, hub_files, missing_files, read_stamp
from capsynth.files import dump_json, read_json, write_if_changed
from capsynth.fingerprints import fingerprint
from capsynth.offline import prefetch_command

Settings = TypeVar("Settings", bound=Any)

SUMS = "SHA256SUMS"
# Stands in settings for a model whose place is noted under the name of its weights.
LOCAL = "local"
NO_WEIGHTS = "none"
# What no loader reads: pictures and words about a model, pickles, code.
_UNREAD_SUFFIXES = (
    *(".md", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".pdf"),
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".onnx"),
    *(".py", ".ipynb", ".sh"),
)
_UNREAD_NAMES = (SUMS, "LICENSE", "LICENSE.txt", "NOTICE")
_FEW = 3


def model_files(model: Path) -> dict[str, Path]:
    """Return the files of a model that loaders may read, by their names in its folder.

    A model that is one file has one of no name: it may be called otherwise tomorrow.
    """
    if model.is_file():
        return {"": model}
    files: dict[str, Path] = {}
    seen: set[str] = set()
    # Parts may be links to folders: one text encoder for several pipelines.
    for root, folders, names in os.walk(model, followlinks=True):
        seen.add(os.path.realpath(root))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(root, name)) not in seen
        )
        for name in names:
            file = Path(root, name)
            unread = name in _UNREAD_NAMES or file.suffix.lower() in _UNREAD_SUFFIXES
            if not (unread or name.startswith(".")) and file.is_file():
                files[file.relative_to(model).as_posix()] = file
    return dict(sorted(files.items()))


def model_digests(model: Path, cache: Path | None = None) -> dict[str, str]:
    """Return the SHA-256 of a model's files by name; ``cache`` as of ``cached_digest``."""
    return {name: cached_digest(file, cache) for name, file in model_files(model).items()}


def model_mark(model: str, cache: Path | None = None) -> str:
    """Return a name of the content of a local model, wherever it lies."""
    return fingerprint(model_digests(Path(model), cache))


def note_weights(places: Mapping[str, Path], notes: Path) -> str:
    """Return the name of local weights, and note for the jobs what they are and where they lie.

    Args:
        places: Folder or file of each, by its role.
        notes: Folder of the notes, ``{name}.json`` each, and of the cache of checksums.

    Raises:
        CapsynthError: If a place does not exist.
    """
    if not places:
        return NO_WEIGHTS
    for place in places.values():
        if not place.exists():
            raise CapsynthError(f"model {place} is not there{near_places(str(place), Path())}")
    cache = _cache(notes)
    files = {role: model_digests(place, cache) for role, place in places.items()}
    mark = fingerprint(files)
    text = dump_json({"files": files, "places": {r: str(p) for r, p in places.items()}})
    write_if_changed(notes / f"{mark}.json", text)
    return mark


def near_places(name: str, root: Path) -> str:
    """Return the end of a message: what lies where a path ends that leads nowhere.

    Args:
        name: The path.
        root: The folder that it is seen from.
    """
    parts = Path(name).parts
    there = max(n for n in range(len(parts)) if (root / Path(*parts[:n])).is_dir())
    folder = Path(*parts[:there])
    names = sorted(p.name for p in (root / folder).iterdir() if not p.name.startswith("."))
    near = difflib.get_close_matches(parts[there], names, n=_FEW, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(str(folder / name) for name in near)}?"
    held = ", ".join(names[: 3 * _FEW]) or "nothing"
    return f"; {folder} holds {held}{' and more' if len(names) > 3 * _FEW else ''}"


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


def take_models(
    settings: Settings, mark: str, locks: Sequence[Path], notes: Path | None
) -> tuple[Settings, str]:
    """Return the settings with the places of its models, and the name of all their weights.

    Called before anything heavy is imported. Every file that will be read is compared with what was
    planned, or fetched: its checksum, as far as it is not known from before.

    Args:
        settings: A dataclass with ``model``, ``lora`` where there are any, and ``random_weights``
            where they may stand in the place of a model: then nothing is looked for.
        mark: Name of the weights that are local, ``none`` if there are none.
        locks: Stamps of the models of the hub, each beside its folder.
        notes: Folder of ``note_weights``; without it ``model`` is a path, and files are not
            compared.

    Raises:
        CapsynthError: If something is missing, cut short, damaged, or not what it was; the message
            names the file, and the command that fetches it.
    """
    forget_taken()
    if getattr(settings, "random_weights", None) is not None:
        return settings, NO_WEIGHTS  # drawn, not read
    if notes is not None and mark != NO_WEIGHTS:
        settings = _located(settings, mark, notes)
    return settings, require_model(str(getattr(settings, "model", None)), mark, locks, notes)


def _located(settings: Settings, mark: str, notes: Path) -> Settings:
    try:
        note = read_json(notes / f"{mark}.json")
        places, files = dict(note["places"]), dict(note["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CapsynthError(
            f"{notes / mark}.json, where the weights of this job lie, cannot be read ({error!r}); "
            "start Snakemake again"
        ) from None
    for role, place in places.items():
        _require_files(Path(place), files[role], notes, "when this run was planned")
    changes: dict[str, Any] = {}
    if "model" in places:
        changes["model"] = places["model"]
    loras = getattr(settings, "lora", ())
    if loras:
        named = enumerate(loras)
        changes["lora"] = tuple(
            {**lora, "path": places.get(lora_role(number), lora["path"])} for number, lora in named
        )
    return dataclasses.replace(settings, **changes)


def lora_role(number: int) -> str:
    """Return what LoRA weights are called among the local weights of a generator."""
    return f"lora {number}"


def without_places(settings: Any) -> dict[str, Any]:
    """Return settings as they identify results: without where weights lie, which are named apart.

    Args:
        settings: A dataclass with ``model``, and ``lora`` where there are any.
    """
    values = dataclasses.asdict(settings)
    del values["model"]
    if "lora" in values:
        values["lora"] = [lora["scale"] for lora in values["lora"]]
    return values


def _cache(notes: Path) -> Path:
    return notes / "digests"


def _require_files(model: Path, digests: Mapping[str, str], notes: Path, since: str) -> None:
    """Raise CapsynthError if the files of a model are not those of some checksums."""
    there = model_files(model)
    for name, digest in digests.items():
        file = model / name if name else model
        if name not in there:
            raise CapsynthError(f"{file} is missing; it was there {since}. Put it back")
        note_taken(file)
        if cached_digest(file, _cache(notes)) != digest:
            raise CapsynthError(
                f"{file} is not what it was {since}: other weights, or a damaged file. Start "
                "Snakemake again if it is meant; what depends on it will be made anew"
            )
    if more := sorted(there.keys() - digests.keys()):
        raise CapsynthError(
            f"{there[more[0]]} is new since {since.removeprefix('when ')}; start Snakemake again"
        )
    doubt_by_sums(model, digests)
    for file in there.values():
        require_readable(file)


def doubt_by_sums(model: Path, digests: Mapping[str, str]) -> None:
    """Note a doubt if a folder's own ``SHA256SUMS`` says something else of its files.

    Weights that do not fit are told with more reason than that they are others.
    """
    sums = model / SUMS
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        told, _, name = line.partition(" ")
        name = name.lstrip(" *").removeprefix("./")
        if len(told) == 64 and name in digests and digests[name] != told.lower():
            note_doubt(
                f"{model / name} is not what {sums} says: it is damaged, or was replaced. Restore "
                f"it; if it is meant to be so, write {SUMS} anew, or delete it"
            )


def require_readable(file: Path) -> None:
    """Raise CapsynthError if a file is not the JSON or safetensors that its name says."""
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="np"):
                pass
        elif file.suffix == ".json":
            json.loads(file.read_bytes())
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CapsynthError(
            f"{file} is damaged or cut short ({error}); copy or fetch it again"
        ) from None


def require_model(model: str, mark: str, locks: Sequence[Path], notes: Path | None = None) -> str:
    """Return the name of a job's weights; raise at once if some of them are not there.

    Args:
        model: Folder of the model.
        mark: Name of the weights that are local folders, ``none`` if there are none.
        locks: Stamps of the models of the hub, each beside its folder.
        notes: As of ``take_models``.

    Raises:
        CapsynthError: If a folder or a stamp is missing or incomplete, or a file is not what was
            fetched; the message has the command that fetches them.
    """
    stamps = [_checked(lock, notes) for lock in locks]
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


def _checked(lock: Path, notes: Path | None) -> dict[str, Any]:
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
    if notes is not None:
        _require_fetched(stamp, folder, notes)
    return stamp


def _require_fetched(stamp: Stamp, folder: Path, notes: Path) -> None:
    for name, known in hub_files(stamp).items():
        file = folder / name
        note_taken(file)
        if cached_digest(file, _cache(notes)) != known.sha256:
            raise CapsynthError(
                f"{file} is not what was fetched: it is damaged, or was replaced. Delete it and "
                f"fetch it where there is a network: {prefetch_command()}"
            )
