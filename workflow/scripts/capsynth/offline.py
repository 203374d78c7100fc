"""Hub access is off everywhere but in ``snakemake prefetch``: jobs read models from folders."""

import os

# Read by huggingface_hub, transformers and datasets when they are imported.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

# Set by the workflow: the command that fetches what the present run needs.
COMMAND_VARIABLE = "CAPSYNTH_PREFETCH"


def go_offline() -> None:
    """Turn hub access off for this process and what it starts, unless the user has a say in it."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)


def go_online() -> None:
    """Turn hub access on for this process; to be called before huggingface_hub is imported."""
    for name in OFFLINE:
        os.environ[name] = "0"
    # What is fetched is the hub's business, what else runs here is not.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def prefetch_command() -> str:
    """Return the command that fetches models and data sets, as it is typed."""
    default = "snakemake prefetch --cores 1 --configfile YOUR_CONFIG --replace-workflow-config"
    return os.environ.get(COMMAND_VARIABLE, default)
