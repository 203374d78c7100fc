"""On a cluster too, a job whose code was edited while it ran is owed, whoever looked meanwhile."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slurm_cluster import Cluster
from waiting import UNTIL_TOLD, wait_until

FAST_SNAKEMAKE = Path(__file__).parents[1] / "support" / "fast_polling.py"
TARGET = "results/openmoji/real/car-0.jsonl"


def test_a_submitted_job_whose_code_was_edited_while_it_ran_is_owed(
    cluster: Cluster, snakemake: Any, new_checkout: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = new_checkout(tmp_path / "checkout")
    script = folder / "workflow/scripts/pack_real.py"
    script.write_text(UNTIL_TOLD + script.read_text())
    module = folder / "workflow/scripts/capsynth/packing.py"
    before = module.read_text()
    command = [sys.executable, FAST_SNAKEMAKE, "--profile", "profiles/slurm", "--", TARGET]
    with subprocess.Popen(command, cwd=folder, env=cluster.environment()) as run:

        def works() -> bool:
            assert run.poll() is None
            return (folder / "working").exists()

        try:
            wait_until(works, "a job at work")
            module.write_text(before + "\nNEW = 1\n")
            looked = snakemake(cluster, folder, "status", "--cores", "1", "--quiet", "all")
        finally:
            (folder / "go").touch()
        assert run.wait() == 0
    assert looked.returncode == 0, looked.stdout

    def is_owed() -> bool:
        done = snakemake(cluster, folder, "--profile", "profiles/slurm", "-n", "--", TARGET)
        assert done.returncode == 0, done.stdout
        return "rule pack_real" in done.stdout

    assert is_owed()
    module.write_text(before)
    assert is_owed()  # nobody knows which of both it has read
