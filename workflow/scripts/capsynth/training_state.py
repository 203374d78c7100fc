"""State of an interrupted training, stored without pickle.

A state is one safetensors file: model, optimizer and any further tensors under a prefix each, and
one JSON value (step, learning-rate schedule, history) in the file's metadata.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from capsynth.errors import CapsynthError
from capsynth.files import atomic_path, dump_json
from capsynth.integrity import unreadable


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
    """Read what ``save_state`` wrote.

    Raises:
        CapsynthError: If it is something else.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
            value = json.loads(file.metadata()["value"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error
    return groups, value


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as named tensors: that of each parameter, and of each group.

    Raises:
        CapsynthError: If the optimizer keeps something that is neither a tensor nor a number.
    """
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value if isinstance(value, Tensor) else _as_tensor(value, optimizer)
        for index, named in state["state"].items()
        for name, value in named.items()
        if value is not None
    }
    for index, group in enumerate(state["param_groups"]):
        for name, value in group.items():
            if isinstance(value, Tensor):
                tensors[f"group{index}.{name}"] = value
    return tensors


def _as_tensor(value: Any, optimizer: torch.optim.Optimizer) -> Tensor:
    if not isinstance(value, int | float):
        raise CapsynthError(
            f"the state of optimizer {type(optimizer).__name__} cannot be saved: it keeps a "
            f"{type(value).__name__}; choose another optimizer"
        )
    return torch.tensor(value)


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` returned; hyperparameters stay the optimizer's own."""
    state: dict[int, dict[str, Tensor]] = {}
    groups: list[tuple[int, str, Tensor]] = []
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        if index.startswith("group"):
            groups.append((int(index.removeprefix("group")), name, tensor))
        else:
            state.setdefault(int(index), {})[name] = tensor
    own = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": own})
    # In the memory layout of the parameters, as in a training that was not interrupted: sums over
    # another order of the same numbers are rounded differently.
    for parameter, named in optimizer.state.items():
        for name, value in named.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                named[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    for number, name, tensor in groups:
        optimizer.param_groups[number][name] = tensor


def optimizer_scalars(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the numbers of an optimizer's state that are no tensors, as a JSON value.

    Some optimizers count their steps in a Python number, for each parameter or for each group: a
    number that came back as a tensor would be rounded differently.
    """
    state = optimizer.state_dict()
    return {
        "state": {str(index): _numbers(named) for index, named in state["state"].items()},
        "groups": [_numbers(group) for group in state["param_groups"]],
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {k: v for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


def load_optimizer_scalars(optimizer: torch.optim.Optimizer, scalars: Mapping[str, Any]) -> None:
    """Put back what ``optimizer_scalars`` returned, after ``load_optimizer_tensors``."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, named in scalars["state"].items():
        optimizer.state[parameters[int(index)]].update(named)
    for group, named in zip(optimizer.param_groups, scalars["groups"], strict=True):
        group.update(named)
