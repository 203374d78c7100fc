"""A SLURM cluster for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster, why_unavailable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder, and skip them where there can be no cluster."""
    reason = why_unavailable()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slurm")
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three nodes with a GPU each."""
    with Cluster() as cluster:
        yield cluster
