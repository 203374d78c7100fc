"""Checkpoints that hold tensors and nothing else become safetensors; others are not read."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from capsynth.errors import CapsynthError
from capsynth.fetching.converting import convert_weights


class Trap:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def test_tensors_are_kept_and_equal_checkpoints_give_equal_bytes(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    state = {"b": shared, "a": shared.half(), "tied": shared, "turned": shared.T}
    outputs = []
    for name, order in (("one", state), ("two", dict(reversed(state.items())))):
        torch.save(order, tmp_path / f"{name}.bin")
        outputs.append(tmp_path / f"{name}.safetensors")
        convert_weights(tmp_path / f"{name}.bin", outputs[-1])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    loaded = load_file(outputs[0])
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_a_checkpoint_that_would_call_something_is_not_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "trap": Trap(tmp_path / "sprung")}, tmp_path / "x.bin")
    with pytest.raises(CapsynthError, match=r"x.bin is no checkpoint of tensors alone"):
        convert_weights(tmp_path / "x.bin", tmp_path / "x.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.bin"]


@pytest.mark.parametrize(
    ("value", "said"),
    [([torch.ones(1)], "holds no mapping"), ({"step": 3}, "step is a int, no tensor")],
)
def test_what_is_no_set_of_tensors_is_refused(tmp_path: Path, value: object, said: str) -> None:
    torch.save(value, tmp_path / "x.bin")
    with pytest.raises(CapsynthError, match=said):
        convert_weights(tmp_path / "x.bin", tmp_path / "x.safetensors")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"<html>not found</html>")
    with pytest.raises(CapsynthError, match="no checkpoint"):
        convert_weights(tmp_path / "x.bin", tmp_path / "x.safetensors")
