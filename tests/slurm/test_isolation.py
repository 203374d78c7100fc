"""Jobs of a cluster need no network, no home, and no folder but their own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from isolation import environment, isolated, why_unavailable

from capsynth import provenance

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_unavailable() != "", reason=why_unavailable()),
]

SUPPORT = Path(__file__).parents[1] / "support"
# A job of each stage, and few more.
TARGETS = (
    "results/openmoji/predictions/real/tiny/seed0/openmoji-val.parquet",
    "results/openmoji/images/caption/bat-0.tar",
)
# The cluster is started in the namespaces too, so what it starts is in them.
RUN = """\
import json, subprocess, sys
from pathlib import Path
from slurm_cluster import Cluster
folder, *command = sys.argv[1:]
with Cluster(Path(folder)) as cluster:
    code = subprocess.run(command, env=cluster.environment()).returncode
    Path("slurm-jobs.json").write_text(json.dumps(sorted(cluster.job_ids())))
sys.exit(code)
"""
ON_SLURM = [
    *("--executor", "slurm", "--jobs", "6", "--latency-wait", "20"),
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
    *("--default-resources", "slurm_partition=cpu", "mem_mb=2000", "runtime=10"),
]


def test_an_isolated_cluster_makes_the_bytes_of_a_run_that_is_not(
    new_checkout: Callable[[Path], Path], tmp_path: Path
) -> None:
    local, fresh = new_checkout(tmp_path / "local"), new_checkout(tmp_path / "isolated")
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    serve = [sys.executable, "workflow/scripts/warm.py", "serve", "--", "snakemake", "--cores", "2"]
    subprocess.run([*serve, *TARGETS], cwd=local, env={**os.environ, "PATH": tools}, check=True)

    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as folder:
        # SLURM's own files lie in a folder of their own; jobs know nothing of it.
        snakemake = [sys.executable, str(SUPPORT / "fast_polling.py"), *TARGETS, *ON_SLURM]
        command = [sys.executable, "-c", RUN, folder, *snakemake]
        words = isolated(command, fresh, readable=[SUPPORT], writable=[Path(folder)], loopback=True)
        about = environment("/nonexistent/home", PYTHONPATH=str(SUPPORT))
        done = subprocess.run(words, env=about, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]

    for name in TARGETS:
        assert (fresh / name).read_bytes() == (local / name).read_bytes()
    slurm_jobs = json.loads((fresh / "slurm-jobs.json").read_text())
    records = fresh / provenance.FOLDER
    (run,) = provenance.run_names(records)
    record = provenance.read_run(run, records)
    assert (record["executor"], record["outcome"]) == ("slurm", "success")
    jobs = provenance.read_jobs(run, records)
    assert len(jobs) == sum(record["jobs"]["done"].values()) == len(slurm_jobs)
    assert sorted(int(str(job.slurm_job_id)) for job in jobs) == slurm_jobs
    assert all(job.exit_code == 0 and job.peak_memory_mb for job in jobs)
    logs = "".join(path.read_text() for path in (fresh / "logs").rglob("*.log"))
    assert "/nonexistent/home" not in logs
