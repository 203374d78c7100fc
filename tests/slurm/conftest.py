"""A SLURM cluster for the tests of this folder, and Snakemake on it."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster, why_unavailable

PARTS = ("Snakefile", "workflow", "profiles", "envs", "requirements.txt")
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
def snakemake() -> Snakemake:
    """``snakemake(cluster, folder, *words, **environment)`` runs Snakemake on a cluster."""

    def run(
        cluster: Cluster, folder: Path, *words: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, FAST_SNAKEMAKE, *words],
            cwd=folder,
            env={**cluster.environment(), "HF_HUB_OFFLINE": "1", **environment},
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
        folder.mkdir(parents=True, exist_ok=True)
        for name in PARTS:
            source = repository / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / name, ignore=ignore)
            else:
                shutil.copy(source, folder / name)
        shutil.copytree(tiny_captioner, folder / "models" / "tiny-captioner")
        shutil.copytree(tiny_generator, folder / "models" / "tiny-generator")
        shutil.copy(repository / "tests" / "configs" / "tiny.yaml", folder / "config.yaml")
        return folder

    return make
