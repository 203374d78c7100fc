"""A finished tiny experiment in a folder of its own, and what a dry run of it would do."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkouts import copy_models, copy_parts
from dry_runs import DryRuns

JOB = re.compile(r"^(?:local)?(?:rule|checkpoint) (?P<rule>\w+):$")
WILDCARDS = re.compile(r"^ +wildcards: (?P<values>.+)$")


@dataclass(frozen=True)
class Experiment:
    """A checkout with a finished experiment.

    Attributes:
        folder: The checkout.
        config: Its configuration.
        dry_runs: What makes dry runs of it.
    """

    folder: Path
    config: dict[str, Any]
    dry_runs: DryRuns

    @property
    def environment(self) -> dict[str, str]:
        """The environment of Snakemake: with its tools, and without what it left itself."""
        tools = Path(sys.executable).parent
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")},
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
        }

    @property
    def warm(self) -> tuple[str, ...]:
        """What stands before a command whose jobs are to share their imports."""
        return (sys.executable, "workflow/scripts/warm.py", "serve", "--")

    def snakemake(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in the checkout."""
        if "-n" in words:
            return self.dry_runs.run(("--cores", "2", *words), self.folder, self.environment)
        return self.call("snakemake", "--cores", "2", *words)

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )

    def run(self, *targets: str) -> set[str]:
        """Run what is owed; return its jobs, as ``owed`` does."""
        done = self.call(*self.warm, "snakemake", "--cores", "2", *targets)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return self._jobs_in(done)

    def owed(self, *targets: str) -> set[str]:
        """Return the jobs of a dry run, as ``rule`` or ``rule(wildcard values)``."""
        done = self.snakemake("-n", *targets)
        assert done.returncode == 0, done.stdout + done.stderr
        return self._jobs_in(done)

    @staticmethod
    def _jobs_in(done: subprocess.CompletedProcess[str]) -> set[str]:
        jobs: list[str] = []
        for line in (done.stdout + done.stderr).splitlines():
            if match := JOB.match(line):
                jobs.append(match["rule"])
            elif match := WILDCARDS.match(line):
                values = [pair.split("=")[1] for pair in match["values"].split(", ")]
                jobs[-1] = f"{jobs[-1]}({', '.join(v for v in values if v != 'openmoji')})"
        return set(jobs) - {"all"}

    def write_config(self, config: dict[str, Any]) -> None:
        """Replace the configuration."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture(scope="session")
def checkout(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """``checkout()`` copies what a run needs of the repository, models and config aside."""

    def make() -> Path:
        return copy_parts(repository, tmp_path_factory.mktemp("checkout"))

    return make


@pytest.fixture(scope="session")
def new_experiment(dry_runs: DryRuns) -> Callable[[Path, dict[str, Any]], Experiment]:
    """``new_experiment(folder, config)``: a checkout that has not been run."""
    return partial(Experiment, dry_runs=dry_runs)


@pytest.fixture(scope="session")
def tiny_experiment(
    repository: Path,
    checkout: Callable[[], Path],
    tiny_captioner: Path,
    tiny_generator: Path,
    new_experiment: Callable[..., Experiment],
) -> Experiment:
    """The tiny experiment, run to its end."""
    folder = checkout()
    copy_models(folder, tiny_captioner=tiny_captioner, tiny_generator=tiny_generator)
    text = (repository / "tests" / "configs" / "tiny.yaml").read_text()
    experiment = new_experiment(folder, yaml.safe_load(text))
    experiment.write_config(experiment.config)
    experiment.run()
    return experiment


@pytest.fixture
def experiment(tiny_experiment: Experiment) -> Iterator[Experiment]:
    """The finished experiment; whatever a test changes in it is put back."""
    folder = tiny_experiment.folder
    keep = folder.with_name(f"{folder.name}-keep")
    # Copies keep their times: to Snakemake the folder is afterwards as it was before.
    shutil.copytree(folder, keep, symlinks=True)
    yield tiny_experiment
    shutil.rmtree(folder)
    keep.rename(folder)
