"""The device that models run on."""

import os

from capsynth.errors import CapsynthError
from capsynth.names import check_name

# cpu or cuda; without it, the GPU if there is one.
DEVICE_VARIABLE = "CAPSYNTH_DEVICE"
DEVICES = ("cpu", "cuda")


def device() -> str:
    """Return the device that models run on: the GPU if there is one, else the CPU.

    Raises:
        CapsynthError: If the job was given a GPU, or told to use one, that torch does not see: on
            the CPU it would take a hundred times as long.
    """
    import torch

    wanted = os.environ.get(DEVICE_VARIABLE, "")
    if wanted:
        check_name(DEVICE_VARIABLE, wanted, DEVICES)
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    given = os.environ.get("SLURM_JOB_GPUS", "")
    if wanted or given:
        who = f"SLURM gave this job GPU {given}" if given else f"{DEVICE_VARIABLE} is cuda"
        build = torch.version.cuda or "no CUDA at all"
        raise CapsynthError(
            f"{who}, and torch {torch.__version__} (built for {build}) sees none: compare the "
            f"driver's CUDA version in nvidia-smi, or set {DEVICE_VARIABLE}=cpu to run without"
        )
    return "cpu"
