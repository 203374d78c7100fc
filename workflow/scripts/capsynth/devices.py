"""The device that models run on."""

import os

from capsynth.errors import CapsynthError
from capsynth.names import check_name

# cpu or cuda; without it, the GPU if there is one.
DEVICE_VARIABLE = "CAPSYNTH_DEVICE"
DEVICES = ("cpu", "cuda")
# Which GPUs SLURM gave: a step of srun, which is what Snakemake's plugin runs rules in; a batch
# script. The first two are numbers of GPUs, the last says how many there are.
GIVEN_VARIABLES = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
COUNT_VARIABLE = "SLURM_GPUS_ON_NODE"


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
    given = _given()
    if wanted or given:
        who = f"SLURM gave this job {given}" if given else f"{DEVICE_VARIABLE} is cuda"
        build = torch.version.cuda or "no CUDA at all"
        raise CapsynthError(
            f"{who}, and torch {torch.__version__} (built for {build}) sees none: compare the "
            f"driver's CUDA version in nvidia-smi, or set {DEVICE_VARIABLE}=cpu to run without"
        )
    return "cpu"


def _given() -> str:
    """Return the GPUs that SLURM gave this job, in words; nothing if it gave none."""
    for name in GIVEN_VARIABLES:
        if numbers := os.environ.get(name, ""):
            return f"GPU {numbers}"
    count = os.environ.get(COUNT_VARIABLE, "0")
    return f"{count} GPUs" if count.isdigit() and int(count) > 0 else ""
