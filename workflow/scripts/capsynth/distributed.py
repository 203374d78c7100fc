"""Several processes that train one model: torchrun starts them, torch.distributed joins them."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import distributed

from capsynth.devices import device


@dataclass(frozen=True)
class Processes:
    """This process among those of a job.

    Attributes:
        rank: Number of this process, from 0.
        count: How many there are.
        device: Where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process has come this far."""
        if self.count > 1:
            distributed.barrier()

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``tensor`` over all processes."""
        if self.count > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether ``flag`` holds in any process."""
        if self.count == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)


def process_count(wanted: int) -> int:
    """Return how many processes train, of ``wanted``: 1 unless torchrun has started them.

    The variables of another launcher, left in the shell, count for nothing.
    """
    if wanted == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1
    return int(os.environ["WORLD_SIZE"])


@contextlib.contextmanager
def joined(wanted: int) -> Iterator[Processes]:
    """Join the processes of this job: over NCCL with a GPU each, else over gloo.

    Args:
        wanted: How many there should be.
    """
    gpu = device() == "cuda"
    count = process_count(wanted)
    if count == 1:
        yield Processes(0, 1, torch.device("cuda" if gpu else "cpu"))
        return
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if gpu else "gloo")
    try:
        yield Processes(distributed.get_rank(), count, own)
    finally:
        distributed.destroy_process_group()
