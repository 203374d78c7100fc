"""State of an interrupted training, stored without pickle.

A state is one safetensors file: model, optimizer and any further tensors under a prefix each, and
one JSON value (step, learning-rate schedule, history) in the file's metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from capsynth.files import atomic_path, dump_json


def save_state(path: Path, tensors: Mapping[str, Mapping[str, Tensor]], value: Any) -> None:
    """Write groups of named tensors and one JSON value to ``path``, atomically."""
    flat = {
        f"{group}/{name}": tensor.detach().contiguous().clone()
        for group, named in tensors.items()
        for name, tensor in named.items()
    }
    with atomic_path(path) as temporary:
        save_file(flat, temporary, {"value": dump_json(value)})


def load_state(path: Path) -> tuple[dict[str, dict[str, Tensor]], Any]:
    """Read what ``save_state`` wrote."""
    groups: dict[str, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = file.get_tensor(key)
        value = json.loads(file.metadata()["value"])
    return groups, value


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's per-parameter state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, named in state.items()
        for name, value in named.items()
        if value is not None
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` returned; hyperparameters stay the optimizer's own."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
