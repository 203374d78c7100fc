"""A Snakemake that is killed while the last jobs of its run are under way."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from slurm_cluster import Cluster
from waiting import wait_until

FAST_SNAKEMAKE = Path(__file__).parents[1] / "support" / "fast_polling.py"
SHARD = "results/openmoji/real/car-0.jsonl"
SOURCE = "results/openmoji/source/car.json"


def test_what_orphans_of_the_last_wave_finish_is_made_again_and_a_later_change_is_noticed(
    cluster: Cluster, snakemake: Any, new_checkout: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = new_checkout(tmp_path / "checkout")
    assert snakemake(cluster, folder, "--cores", "1", SOURCE).returncode == 0
    before = {job.id for job in cluster.jobs()}
    command = ("--profile", "profiles/slurm", SHARD)
    with (tmp_path / "said").open("wb") as said:
        killed = subprocess.Popen(
            [sys.executable, FAST_SNAKEMAKE, *command],
            cwd=folder,
            env=cluster.environment(),
            stdout=said,
            stderr=said,
        )

    def submitted() -> list[int]:
        assert killed.poll() is None, (tmp_path / "said").read_text()
        return [job.id for job in cluster.jobs() if job.id not in before]

    wait_until(submitted, "the last job")
    (job,) = submitted()
    killed.kill()
    killed.wait()
    cluster.wait_for(job, "COMPLETED")
    assert (folder / SHARD).exists()
    assert snakemake(cluster, folder, "--unlock", "--cores", "1").returncode == 0

    owed = snakemake(cluster, folder, *command, "-n").stdout
    assert "files were finished after their Snakemake was killed" in owed
    assert "rule pack_real" in owed
    again = snakemake(cluster, folder, *command)
    assert again.returncode == 0, again.stdout
    assert "Nothing to be done" in snakemake(cluster, folder, *command, "-n").stdout
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["dataset"]["image_side"] = 24
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert "rule pack_real" in snakemake(cluster, folder, *command, "-n").stdout
