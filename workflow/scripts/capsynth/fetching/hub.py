"""Fetching models and data sets of the Hugging Face hub at a commit that is then pinned."""

import glob
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.fetching.converting import convert_weights
from capsynth.fetching.locks import folder_of, hub_files, is_as_stamped, locked, write_stamp
from capsynth.fetching.unpacking import replace_folder
from capsynth.fingerprints import file_digest
from capsynth.models import near_places
from capsynth.offline import go_online

log = logging.getLogger(__name__)

MODEL, DATASET = "model", "dataset"
INDEX = "model_index.json"  # of a pipeline of diffusers: names its components, one folder each
SAFETENSORS = ".safetensors"
# Configurations, tokenizers and licences. No pickles (.bin, .pt, .ckpt) and no code.
_MODEL_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm")
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
_CODE_SUFFIXES = (".py", ".ipynb", ".sh", ".so", ".exe", ".dll")
_LICENCES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "README.md", "NOTICE")
_WEIGHTS_INDEX = re.compile(r"\.(bin|index\.[^.]+)(\.index)?\.json$")
# Pickles that are rewritten where there is nothing else, and the names that libraries look for.
_CONVERTED = {
    "pytorch_model.bin": "model.safetensors",
    "diffusion_pytorch_model.bin": "diffusion_pytorch_model.safetensors",
}
_REMEDY = (
    "; pickles are never loaded as they are. The hub's converter may have offered safetensors as a "
    "pull request: look under the model's discussions, and set revision: refs/pr/NUMBER"
)
_REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Request:
    """What is wanted of the hub.

    Attributes:
        id: Id of the repository, ``owner/name``.
        kind: ``model`` or ``dataset``.
        revision: Commit, tag or branch; None for what the lock file says, else the main branch.
        files: Weight files that are wanted of a repository of many, () for what its layout says.
    """

    id: str
    kind: str
    revision: str | None = None
    files: tuple[str, ...] = ()


def slug_of(hub_id: str, revision: str | None) -> str:
    """Return the folder name of a repository: ``owner--name``, with ``@revision`` if one is set."""
    name = hub_id if revision is None else f"{hub_id}@{revision}"
    return name.replace("/", "--")


def is_hub_id(text: str) -> bool:
    """Return whether ``text`` has the form of a hub id: a name, or an owner and a name."""
    return re.fullmatch(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*", text) is not None


def require_hub_id(what: str, name: str, root: Path, folder: Path) -> None:
    """Raise CapsynthError if a name that no folder has is none of the hub, or means a folder.

    ``models/captoiner`` has the form of a hub id; beside a folder ``models`` it is a path with a
    typing error, unless something was fetched under that name already.

    Args:
        what: What is named, for messages.
        name: The name.
        root: The folder that paths are seen from.
        folder: Where the repository is fetched into; its stamp lies beside it.
    """
    beside = len(Path(name).parts) > 1 and (root / Path(name).parts[0]).is_dir()
    if is_hub_id(name) and (not beside or folder.with_name(f"{folder.name}.json").exists()):
        return
    reason = "a folder here is called as its owner" if is_hub_id(name) else "owner/name it is not"
    raise CapsynthError(
        f"{what} {name!r} is no folder seen from {os.path.relpath(root)}, and not taken for an id "
        f"of the hub, as {reason}{near_places(name, root)}"
    )


def choose_files(
    names: Iterable[str], components: Sequence[str] | None = None, wanted: Sequence[str] = ()
) -> list[str]:
    """Return the files of a model repository that loading it needs, sorted.

    Where there are no safetensors, ``pytorch_model.bin`` or ``diffusion_pytorch_model.bin`` is
    taken, to be converted. Of weights in several precisions only the plain ones are taken
    (``model.safetensors``, not ``model.fp16.safetensors``), of a pipeline only the folders of its
    components, of any other model only what lies at the root.

    Args:
        names: All files of the repository.
        components: Folders of a pipeline's components; None if it is no pipeline.
        wanted: Weight files that are wanted, () for all.

    Raises:
        CapsynthError: If there are no weights that can be taken, of some component or at all; the
            message does not name the model.
    """
    folders: dict[str, list[str]] = {}
    for name in sorted(names):
        parent, _, file = name.rpartition("/")
        folders.setdefault(parent, []).append(file)
    chosen = [name for name in (INDEX, *_LICENCES) if name in folders.get("", ())]
    for folder in ("",) if components is None else components:
        files = folders.get(folder, [])
        weights = _choose_weights([f for f in files if f.endswith(SAFETENSORS)], wanted)
        weights = weights or [f for f in files if f in _CONVERTED and not wanted]
        pickles = [f for f in files if f.endswith(_PICKLE_SUFFIXES)]
        if not weights and (pickles or components is None):
            where = f"its folder {folder}" if folder else "it"
            held = f", only {', '.join(pickles[:3])}" if pickles else ""
            raise CapsynthError(f"{where} holds no weights as safetensors{held}{_REMEDY}")
        others = [
            f
            for f in files
            if f.endswith(_MODEL_SUFFIXES) and not _WEIGHTS_INDEX.search(f) and f != INDEX
        ]
        chosen += [f"{folder}/{f}" if folder else f for f in (*weights, *others)]
    absent = sorted(set(wanted) - set(chosen))
    if absent:
        raise CapsynthError(f"it has no file {absent[0]!r}")
    return sorted(set(chosen))


def _choose_weights(files: Sequence[str], wanted: Sequence[str]) -> list[str]:
    if wanted:
        return [file for file in files if file in wanted]

    def base(file: str) -> str:
        return re.sub(r"-\d{5}-of-\d{5}$", "", file.removesuffix(SAFETENSORS))

    plain = {base(file) for file in files if "." not in base(file)}
    return [f for f in files if "." not in base(f) or base(f).partition(".")[0] not in plain]


def choose_data_files(names: Iterable[str]) -> list[str]:
    """Return the files of a data set repository: all but code and pickles, sorted."""
    refused = (*_CODE_SUFFIXES, *_PICKLE_SUFFIXES)
    return sorted(name for name in names if not name.endswith(refused) and name != ".gitattributes")


def fetch_repository(request: Request, stamp: Path, lock: Path) -> None:
    """Fetch a repository of the hub into the folder beside ``stamp``, and write the stamp last.

    Files are checked against the checksums of the hub, and against those of the lock file where it
    has an entry at the same commit. A token is taken from the environment (``HF_TOKEN``) by
    huggingface_hub itself, and neither logged nor written.

    Raises:
        CapsynthError: If the repository, its revision or its safetensors are not there, access is
            refused, or a file is not what it should be.
    """
    folder, before = folder_of(stamp), locked(lock, stamp)
    if before is not None and before["id"] != request.id:
        before = None
    revision = request.revision
    if before is not None and revision in (None, before["revision"]):
        revision = before["revision"]
        if list(request.files) == before["wanted"] and is_as_stamped(before, folder):
            log.info("%s is there already, as %s says", folder, lock)
            write_stamp(stamp, before)
            return
        log.info("%s: commit %s, as %s says", request.id, revision, lock)
    go_online()
    for client in ("httpx", "httpx2"):
        # It logs each address, and those of large files are signed.
        logging.getLogger(client).setLevel(logging.WARNING)
    from huggingface_hub.errors import HFValidationError

    try:
        values, work = _download(request, revision, folder)
    except CapsynthError as error:
        raise CapsynthError(f"{request.kind} {request.id}: {error}") from None
    except Exception as error:
        # Errors of a connection are those of huggingface_hub's HTTP client, httpx or httpx2.
        foreign = type(error).__module__.partition(".")[0].startswith("httpx")
        if not (foreign or isinstance(error, OSError | HFValidationError)):
            raise
        raise CapsynthError(_explain(request, revision, error)) from None
    if before is not None and before["revision"] == values["revision"]:
        _compare(request, before, values, lock)
    shutil.rmtree(work / ".cache", ignore_errors=True)  # huggingface_hub's own notes
    replace_folder(work, folder)
    for other in folder.parent.glob(f".{glob.escape(folder.name)}.*.fetching"):
        shutil.rmtree(other)  # of another commit, given up on
    write_stamp(stamp, values)
    log.info("%s: %d files at commit %s", request.id, len(values["files"]), values["revision"])


def _download(request: Request, revision: str | None, folder: Path) -> tuple[dict[str, Any], Path]:
    """Return the stamp of a repository, and the folder that its files were fetched into."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    # Never a token of a login that is stored on the disk.
    token = os.environ.get("HF_TOKEN") or False
    api = HfApi(token=token)
    info = api.repo_info(request.id, repo_type=request.kind, revision=revision)
    commit = info.sha
    if commit is None or not _REVISION.fullmatch(commit):
        raise CapsynthError("the hub names no commit")
    tree = {
        entry.path: entry
        for entry in api.list_repo_tree(
            request.id, recursive=True, revision=commit, repo_type=request.kind
        )
        if isinstance(entry, RepoFile)
    }
    for path in tree:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise CapsynthError(f"its file {path!r} leads out of it")
    # huggingface_hub goes on in this folder after a kill, if it is of the same commit.
    work = folder.with_name(f".{folder.name}.{commit[:12]}.fetching")
    if request.kind == DATASET:
        names = choose_data_files(tree)
    else:
        components = None
        if INDEX in tree:
            index = hf_hub_download(request.id, INDEX, revision=commit, local_dir=work, token=token)
            components = _components(json.loads(Path(index).read_text(encoding="utf-8")))
        names = choose_files(tree, components, request.files)
    log.info("%s: %d of %d files at commit %s", request.id, len(names), len(tree), commit)
    snapshot_download(
        request.id,
        repo_type=request.kind,
        revision=commit,
        local_dir=work,
        token=token,
        allow_patterns=[re.sub(r"([*?[])", r"[\1]", name) for name in names],
    )
    files: dict[str, dict[str, Any]] = {}
    for file in sorted(work.rglob("*")):
        inner = file.relative_to(work)
        if file.is_file() and inner.parts[0] != ".cache" and inner.as_posix() not in names:
            file.unlink()  # of an earlier start that wanted more
    for name in names:
        file = work / name
        digest = file_digest(file)
        lfs = tree[name].lfs
        right = digest == lfs.sha256 if lfs is not None else _git_id(file) == tree[name].blob_id
        if not right:
            file.unlink()
            raise CapsynthError(f"{name} is not what the hub announced; start again")
        files[name] = {"size": file.stat().st_size, "sha256": digest}
    converted = {}
    for name in [name for name in files if PurePosixPath(name).name in _CONVERTED]:
        new = str(PurePosixPath(name).with_name(_CONVERTED[PurePosixPath(name).name]))
        log.info("%s: converting %s to %s", request.id, name, new)
        convert_weights(work / name, work / new)
        (work / name).unlink()
        converted[new] = {"from": name, **files.pop(name)}
        files[new] = {"size": (work / new).stat().st_size, "sha256": file_digest(work / new)}
    stamp = {
        "id": request.id,
        "kind": request.kind,
        "revision": commit,
        "wanted": list(request.files),
        "files": files,
        "converted": converted,
        "bytes": sum(values["size"] for values in files.values()),
        "license": getattr(getattr(info, "card_data", None), "license", None),
    }
    return stamp, work


def _components(index: Mapping[str, Any]) -> list[str]:
    """Return the folders that a ``model_index.json`` names; ``[null, null]`` is an absent part."""
    return [
        name
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[1] is not None
    ]


def _git_id(path: Path) -> str:
    """Return the id that git gives to a file's content: what the hub calls its blob id."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _compare(
    request: Request, before: Mapping[str, Any], values: Mapping[str, Any], lock: Path
) -> None:
    old, new = hub_files(before), hub_files(values)
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            raise CapsynthError(
                f"{request.kind} {request.id}: {name} has the sha256 {new[name].sha256}, but "
                f"{lock} says {old[name].sha256} at the same commit"
            )


def _explain(request: Request, revision: str | None, error: Exception) -> str:
    """Return what went wrong at the hub and what to do; never with a token in it."""
    what = f"{request.kind} {request.id}" + (f" at {revision}" if revision else "")
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    if kind in ("RepositoryNotFoundError", "GatedRepoError") or status in (401, 403):
        return (
            f"{what} is not on the hub, or is private or gated: look at "
            f"https://huggingface.co/{'datasets/' if request.kind == DATASET else ''}{request.id}, "
            "accept its terms there and set HF_TOKEN. A folder of your own must exist before it "
            "is named"
        )
    if kind == "RevisionNotFoundError":
        return f"{what}: there is no such revision; give a commit, tag or branch that exists"
    reason = f"the hub answers {status}" if status else f"{kind}: {error}"
    return (
        f"{what} cannot be fetched: {' '.join(reason.split())[:300]}; run this where there is a "
        "network, what has arrived is kept"
    )


def describe(name: str, stamp: Mapping[str, Any]) -> str:
    """Return one line on what a stamp of a repository says."""
    size = f"{len(stamp['files'])} files, {stamp['bytes']} bytes"
    terms = f", license {stamp['license']}" if stamp.get("license") else ""
    return f"{name}: commit {stamp['revision'][:12]}, {size}{terms}"
