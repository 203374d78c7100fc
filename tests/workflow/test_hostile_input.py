"""Hostile names, bad images and tokens, through Snakemake and the shells of its jobs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from settings import read_no_model

from capsynth.files import read_json_lines
from capsynth.shards import read_manifest

pytestmark = pytest.mark.slow

NAMES = {
    "bat": "$(touch pwned) `touch pwned`; touch pwned & 'a' \"b\" {wildcards.shard} {{x}} %s \\",
    "car": "=cmd|' /C calc'!A0 <script>alert(1)</script> \\input{x} \u202e 👩‍🚀\nline",
}
TOKENS = {"HF_TOKEN": "hf_" + "Qz7" * 11, "WANDB_API_KEY": "wb" + "Lm5" * 13}
IMAGES = 12
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Run:
    """``run(config, *words)`` runs Snakemake in a folder of its own, with tokens around it."""

    def snakemake(config: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        place = ["--directory", str(tmp_path), "--snakefile", str(repository / "Snakefile")]
        given = ["--configfile", str(path), "--replace-workflow-config"]
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "1", "--keep-going", *place, *given,
             *words],
            env={**os.environ, "PATH": tools, **TOKENS},
            capture_output=True,
            text=True,
        )  # fmt: skip

    return snakemake


def config_of(repository: Path) -> dict[str, Any]:
    config = yaml.safe_load((repository / "tests" / "configs" / "tiny.yaml").read_text())
    config["dataset"] = {"name": "photos", "source": "folder", "path": "photos", "classes": NAMES}
    read_no_model(config)
    config["eval_sets"] = {"photos-val": {"source": "folder", "path": "photos"}}
    config["report"] = {"in_distribution": "photos-val"}
    config.pop("privacy", None)
    return config


def draw(folder: Path) -> None:
    for class_id in NAMES:
        (folder / "photos" / class_id).mkdir(parents=True)
        for number in range(IMAGES):
            name = f"{number:02d} $(touch pwned)\n'\".png"
            Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / "photos" / class_id / name)


def test_hostile_names_run_nothing_and_tokens_are_told_nowhere(
    run: Run, repository: Path, tmp_path: Path
) -> None:
    draw(tmp_path)
    config = config_of(repository)
    name = next(n for n, v in config["variants"].items() if v["strategy"] == "class-name")
    prompts = {c: f"results/photos/prompts/{name}/{c}-0.jsonl" for c in NAMES}
    manifests = {c: f"results/photos/real/{c}-0.jsonl" for c in NAMES}
    done = run(config, *prompts.values(), *manifests.values())
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    for class_id, path in prompts.items():
        rows = read_json_lines(tmp_path / path)
        assert rows[0]["prompt"] == f"a photo of a {NAMES[class_id]}"
        records = read_manifest(tmp_path / manifests[class_id])
        assert [r.status for r in records] == ["ok"] * IMAGES
    assert not list(tmp_path.rglob("pwned"))
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_relative_to(tmp_path / "photos"):
            said += path.read_bytes().decode(errors="replace")
    assert "packed 12 of 12 images" in said  # the logs of the jobs are among it
    assert (tmp_path / "results" / "provenance").is_dir()
    assert [name for name, token in TOKENS.items() if token in said] == []


def test_too_many_rejects_stop_the_run_and_another_limit_reruns_no_other_shard(
    run: Run, repository: Path, tmp_path: Path
) -> None:
    draw(tmp_path)
    for number in range(4):
        (tmp_path / "photos" / "car" / f"bad{number}.png").write_text("<html>")
    config = config_of(repository)
    manifests = [f"results/photos/real/{c}-0.jsonl" for c in NAMES]
    done = run(config, *manifests)
    assert done.returncode == 1
    log = (tmp_path / "logs/pack_real/photos/car-0.log").read_text()
    assert "4 of 16 images are set aside, and dataset.max_rejected allows 2: bad0.png: no im" in log
    assert [(tmp_path / path).exists() for path in manifests] == [True, False]
    config["dataset"]["max_rejected"] = 0.25
    done = run(config, *manifests, "--rerun-incomplete")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("rule pack_real:") == 1
    statuses = [record.status for record in read_manifest(tmp_path / manifests[1])]
    assert statuses.count("rejected") == 4
    config["dataset"]["max_rejected"] = 1
    done = run(config, *manifests, "-n")
    assert "Nothing to be done" in done.stdout + done.stderr
