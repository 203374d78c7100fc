"""Weights in files against the architecture that they are for: what does not fit is refused.

The libraries fill what a file lacks with random numbers, warn, and go on; a model that was saved
from a wrapper (``module.``, ``_orig_mod.``) is then random as a whole. Here a weight that is
missing or of another shape is an error, one that nothing reads is a line in the log.
"""

import contextlib
import logging
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capsynth.errors import CapsynthError

if TYPE_CHECKING:  # torch is imported where it is used: jobs check their settings before that
    from torch import Tensor
    from torch.nn import Module

log = logging.getLogger(__name__)

SAFETENSORS = ".safetensors"
# What a wrapper puts into the names of the weights of the model in it.
WRAPPERS: Mapping[str, str] = {
    "module": "DistributedDataParallel or DataParallel",
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FullyShardedDataParallel",
    "_checkpoint_wrapped_module": "activation checkpointing",
}
# The buffers that training learns; all others follow from the configuration.
_STATISTICS = ("running_mean", "running_var")
# Names that a message gives of many.
FEW = 3


def from_pretrained(kind: Any, folder: Path | str, name: str, unused: str = "", **how: Any) -> Any:
    """Return the model of a folder, loaded by its class of transformers or diffusers.

    Args:
        kind: The class.
        folder: Folder of the weights, or a hub id.
        name: What the model is called in messages.
        unused: Pattern of the names of weights that do not reach what is asked of the model: they
            may be missing.
        how: Arguments of ``from_pretrained``.

    Raises:
        CapsynthError: If weights are missing, or of another shape than the architecture has.
        OSError: If there are no weights.
    """
    with _without_reports():
        model, info = kind.from_pretrained(
            folder,
            use_safetensors=True,
            # So that all are told, by name: the libraries give one, or none.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **how,
        )
    shapes = {key: (tuple(found), tuple(wanted)) for key, found, wanted in info["mismatched_keys"]}
    # A diffusers model may load what lies at the root of a pipeline; its files are its folder's.
    require_fit(
        model, name, info["missing_keys"], info["unexpected_keys"], shapes, Path(folder), unused
    )
    return model


def fitting(
    model: "Module", tensors: Mapping[str, "Tensor"], name: str, place: Path
) -> dict[str, "Tensor"]:
    """Return those of the tensors that a model has, for its ``load_state_dict``, not strict.

    Args:
        model: The model.
        tensors: Its weights by name.
        name: What it is called in messages.
        place: The file of the weights, or the folder that holds them.

    Raises:
        CapsynthError: As ``require_fit``.
    """
    own = model.state_dict()
    known = {key: tensor for key, tensor in tensors.items() if key in own}
    shapes = {
        key: (tuple(tensor.shape), tuple(own[key].shape))
        for key, tensor in known.items()
        if tensor.shape != own[key].shape
    }
    unexpected = tensors.keys() - own.keys()
    require_fit(model, name, own.keys() - tensors.keys(), unexpected, shapes, place)
    return known


@contextlib.contextmanager
def loading_checked(name: str, place: Path) -> Iterator[None]:
    """Have a library that loads weights by torch's ``load_state_dict`` refuse those that misfit.

    For timm, which lets any weight be missing as soon as it leaves out the classifier. ``name`` and
    ``place`` as for ``fitting``.
    """
    from torch.nn import Module

    before = Module.load_state_dict

    def load(model: "Module", tensors: Mapping[str, "Tensor"], **how: Any) -> Any:
        return before(model, fitting(model, tensors, name, place), strict=False)

    Module.load_state_dict = load  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        Module.load_state_dict = before  # type: ignore[method-assign]


def require_fit(
    model: "Module",
    name: str,
    missing: Collection[str],
    unexpected: Collection[str],
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    place: Path,
    unused: str = "",
) -> None:
    """Raise CapsynthError if a model lacks weights that its output depends on.

    Args:
        model: The model, loaded as far as it went.
        name: What it is called in messages.
        missing: Names that the files lack.
        unexpected: Names of the files that the architecture lacks.
        shapes: Shapes in the files and of the architecture, of those that differ, by name.
        place: The file of the weights, or the folder that holds them.
        unused: Pattern of names that may be missing.
    """
    lacking = [key for key in needed(model, missing) if not (unused and re.search(unused, key))]
    files = [place] if place.is_file() else sorted(place.glob(f"*{SAFETENSORS}"))
    where = ", ".join(map(str, files[:FEW])) or str(place)
    kind = type(model).__name__
    if lacking:
        total = len(list(model.parameters()))
        raise CapsynthError(
            f"model {name}: the weights in {where} do not fit its architecture {kind}: "
            f"{len(lacking)} of {total} are missing, {_some(lacking)}. "
            f"{_remedy(model, unexpected, files)}"
        )
    if shapes:
        key, (found, wanted) = min(shapes.items())
        raise CapsynthError(
            f"model {name}: the weights in {where} do not fit its architecture {kind}: {key} has "
            f"the shape {found}, not {wanted}"
            + (f", and {len(shapes) - 1} more differ" if len(shapes) > 1 else "")
            + ". Give the config.json that the weights were trained with, or other weights"
        )
    if unexpected:
        log.info("model %s: %d weights of %s are not used: %s", name, len(unexpected), where,
                 _some(sorted(unexpected)))  # fmt: skip


def needed(model: "Module", missing: Collection[str]) -> list[str]:
    """Return those names of missing weights whose values only the files could have given.

    That is no weight that is tied to another one that is there, and no buffer that the architecture
    computes, such as positions and masks.
    """
    names: dict[int, set[str]] = {}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in parameters.items():
        names.setdefault(id(parameter), set()).add(name)
    lost = set(missing)
    return sorted(
        name
        for name in lost
        if (
            names[id(parameters[name])] <= lost
            if name in parameters
            else name.rpartition(".")[2] in _STATISTICS
        )
    )


def names_in(files: Sequence[Path]) -> list[str]:
    """Return the names of all weights in safetensors files."""
    from safetensors import safe_open

    found: list[str] = []
    for file in files:
        with safe_open(file, framework="np") as weights:
            found += weights.keys()
    return found


def _remedy(model: "Module", unexpected: Collection[str], files: Sequence[Path]) -> str:
    """Return what to do about missing weights: what is in their place says what has happened."""
    if not unexpected:
        return "Save the whole model anew, or give one whose weights are all there"
    found = names_in([file for file in files if file.suffix == SAFETENSORS])
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    foreign = set(found or unexpected) - known
    wrappers = [
        word
        for word in WRAPPERS
        if any(word in name.split(".") for name in foreign)
        and not any(word in name.split(".") for name in known)
    ]
    if wrappers:
        parts = " and ".join(f"'{word}.' ({WRAPPERS[word]})" for word in wrappers)
        prefix = _common_prefix(foreign)
        if not set(prefix.split(".")) <= {*wrappers, ""}:
            prefix = ""
        return (
            f"Their names carry {parts}, which the model was wrapped in when it was saved: save "
            f"the model inside, or rename the weights: {_renaming(prefix, wrappers, files)}"
        )
    prefix = _common_prefix(foreign)
    if prefix and known & {name.removeprefix(prefix) for name in foreign}:
        return (
            f"Their names begin with {prefix!r}: save the part of the model that is meant by "
            f"itself, or rename the weights: {_renaming(prefix, (), files)}"
        )
    return (
        f"In their place the files hold {_some(sorted(foreign))}: weights of another architecture, "
        "or an adapter. Give the config.json that belongs to them, or other weights"
    )


def _renaming(prefix: str, words: Sequence[str], files: Sequence[Path]) -> str:
    """Return a command that takes a prefix, or words anywhere, out of the names of weights."""
    words = [f"{word}." for word in words]
    cuts = [f".replace({word!r}, '')" for word in words]
    name = f"k.removeprefix({prefix!r})" if prefix else f"k{''.join(cuts)}"
    paths = shlex.join(map(str, files))
    return (
        'python -c "import sys; from safetensors.torch import load_file, save_file; '
        f"[save_file({{{name}: v for k, v in load_file(f).items()}}, f, {{'format': 'pt'}}) "
        f'for f in sys.argv[1:]]" {paths}'
    )


def _common_prefix(names: Collection[str]) -> str:
    """Return the parts that all names begin with, a dot at the end; empty if there are none."""
    split = [name.split(".")[:-1] for name in names]
    shared: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "".join(f"{part}." for part in shared)


def _some(names: Sequence[str]) -> str:
    few = ", ".join(names[:FEW])
    return f"such as {few}" if len(names) > FEW else few


@contextlib.contextmanager
def _without_reports() -> Iterator[None]:
    """Keep the libraries from listing every weight that does not fit: it is told here."""
    names = ("transformers.modeling_utils", "diffusers.models.modeling_utils")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
