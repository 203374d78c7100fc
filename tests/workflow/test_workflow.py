"""The workflow as a whole: what it imports, what it makes, what it reports."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from capsynth.files import read_json_lines
from capsynth.shards import read_manifest


def snakemake(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    tools = Path(sys.executable).parent
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *words],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
    )


def test_a_dry_run_imports_no_library_of_the_models(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'timm', 'matplotlib'}\n"
        "atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules)), flush=True))\n"
    )
    done = snakemake(repository, "-n", "--quiet", "all", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout


def test_a_mistake_in_the_config_is_one_message_without_a_traceback(
    repository: Path, tmp_path: Path
) -> None:
    text = (repository / "config.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("strategy: caption,", "strategy: captoin,"))
    done = snakemake(repository, "-n", "--configfile", str(wrong), "--replace-workflow-config")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "variants.caption.strategy: 'captoin' is not known; did you mean 'caption'?" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_counts_add_up_from_the_source_to_the_training_set(tiny_experiment: Any) -> None:
    root = tiny_experiment.folder / "results/openmoji"
    for shard in ("car-0", "bat-0"):
        real = read_manifest(root / f"real/{shard}.jsonl")
        captions = read_json_lines(root / f"captions/tiny/{shard}.jsonl")
        prompts = read_json_lines(root / f"prompts/caption/{shard}.jsonl")
        images = read_manifest(root / f"images/caption/{shard}.jsonl")
        assert len(real) == len(captions) == len(prompts) == len(images) == 4
        assert [i.source_key for i in images] == [r.key for r in real]


@pytest.mark.slow
def test_the_finished_experiment_has_its_report(tiny_experiment: Any) -> None:
    report = tiny_experiment.folder / "report.html"
    done = tiny_experiment.snakemake("--report", str(report))
    assert done.returncode == 0, done.stderr
    assert report.stat().st_size > 100_000
    table = (tiny_experiment.folder / "results/report/tables/main.md").read_text()
    assert all(name in table for name in tiny_experiment.config["training_sets"])


@pytest.mark.slow
def test_nothing_is_left_behind_but_results_and_logs(tiny_experiment: Any) -> None:
    leftovers = [
        path
        for path in (tiny_experiment.folder / "results").rglob(".*")
        if path.name.endswith((".partial", ".tmp"))
    ]
    assert leftovers == []


@pytest.mark.slow
def test_a_forked_dry_run_says_what_a_process_of_its_own_says(experiment: Any) -> None:
    (experiment.folder / "results/openmoji/source/bat/bat_000001.png").unlink()
    varies = ("[", "  Date: ", "  Workflow ID: ", "    jobid: ")

    def said(done: subprocess.CompletedProcess[str]) -> list[str]:
        assert done.returncode == 0, done.stderr
        lines = (done.stdout + done.stderr).splitlines()
        # Some lists of files are sets, and have no order.
        words = (sorted(re.split("[ ,]+", line)) for line in lines if not line.startswith(varies))
        return sorted(map(" ".join, words))

    forked = said(experiment.snakemake("-n"))
    assert any("train_classifier" in line for line in forked)
    assert forked == said(experiment.call("snakemake", "--cores", "2", "-n"))
