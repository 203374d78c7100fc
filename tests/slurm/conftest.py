"""A SLURM cluster for the tests of this folder, and Snakemake on it."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkouts import copy_models, copy_parts
from dry_runs import DryRuns
from slurm_cluster import Cluster, why_unavailable

FAST_SNAKEMAKE = Path(__file__).parents[1] / "support" / "fast_polling.py"

Snakemake = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder, and skip them where there can be no cluster."""
    reason = why_unavailable()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slurm")
            item.add_marker("slow")
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three nodes with a GPU each."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def snakemake(dry_runs: DryRuns) -> Snakemake:
    """``snakemake(cluster, folder, *words, **environment)`` runs Snakemake on a cluster."""

    def run(
        cluster: Cluster, folder: Path, *words: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        variables = {**cluster.environment(), "HF_HUB_OFFLINE": "1", **environment}
        if "-n" in words:
            done = dry_runs.run(words, folder, variables)
            done.stdout += done.stderr
            return done
        return subprocess.run(
            [sys.executable, FAST_SNAKEMAKE, *words],
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


@pytest.fixture(scope="session")
def new_checkout(
    repository: Path, tiny_captioner: Path, tiny_generator: Path
) -> Callable[[Path], Path]:
    """``new_checkout(folder)`` makes a folder with the workflow and the tiny experiment."""

    def make(folder: Path) -> Path:
        copy_parts(repository, folder)
        copy_models(folder, tiny_captioner=tiny_captioner, tiny_generator=tiny_generator)
        shutil.copy(repository / "tests" / "configs" / "tiny.yaml", folder / "config.yaml")
        return folder

    return make
