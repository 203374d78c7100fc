"""Weights that are published as pickles only, rewritten as safetensors where they are fetched."""

import pickle
from collections.abc import Mapping
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.files import atomic_path


def convert_weights(pickled: Path, output: Path) -> None:
    """Write the tensors of a PyTorch checkpoint as safetensors.

    The checkpoint is read with ``weights_only``: an unpickler that builds tensors and containers,
    and calls nothing else. Tensors that share memory are written one by one.

    Args:
        pickled: A file of ``torch.save``: a mapping from names to tensors.
        output: The safetensors file; equal checkpoints give equal bytes.

    Raises:
        CapsynthError: If the file is no checkpoint, or holds anything but tensors.
    """
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(pickled, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CapsynthError(
            f"{pickled.name} is no checkpoint of tensors alone and is not read: {first}"
        ) from None
    if not isinstance(state, Mapping) or not state:
        raise CapsynthError(f"{pickled.name} holds no mapping from names to tensors")
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            raise CapsynthError(f"{pickled.name}: {name} is a {type(tensor).__name__}, no tensor")
    tensors = {name: state[name].contiguous().clone() for name in sorted(state)}
    with atomic_path(output) as temporary:
        # transformers refuses files that do not name their format.
        save_file(tensors, temporary, {"format": "pt"})
