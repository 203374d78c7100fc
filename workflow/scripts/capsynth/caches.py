"""Caches of libraries, where there is no home to keep them in."""

import os
from pathlib import Path

# Each is read when its library is imported; the folder that goes with it is below one for all.
VARIABLES = {
    "XDG_CACHE_HOME": "",  # fontconfig, huggingface_hub, torch, and Snakemake on a node
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
}


def keep_caches(folder: Path) -> None:
    """Let this process and what it starts keep caches in ``folder`` if its home cannot be written.

    What the user has set stays. With a home everything stays as it is.

    Args:
        folder: A folder that can be written; it is made where it is needed.
    """
    if os.access(os.path.expanduser("~"), os.W_OK):
        return
    for name, place in VARIABLES.items():
        path = folder.absolute() / place
        if name not in os.environ:
            path.mkdir(parents=True, exist_ok=True)
            os.environ[name] = str(path)
