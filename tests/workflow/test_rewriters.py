"""Captioners and rewriters share a folder: which rule makes what, and from what."""

import os
import re
import subprocess
import sys
from pathlib import Path

REWRITER = """
rewriters:
  re.worded: { captioner: embedded, model: models/captioner }
  idle: { captioner: embedded, model: models/captioner }
variants:
  retold: { strategy: caption, captioner: re.worded, generator: embedded }
training_sets:
  retold: { variants: [retold] }
"""


def dry_run(repository: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "1", *words],
        cwd=repository,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_a_rewriters_captions_are_made_from_its_captioners(
    repository: Path, tmp_path: Path
) -> None:
    config = tmp_path / "rewriters.yaml"
    config.write_text(REWRITER)
    name = "results/openmoji/prompts/retold/bat-0.jsonl"
    said = dry_run(repository, "--configfile", str(config), "--forceall", "--", name)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", said, flags=re.MULTILINE))
    assert jobs["caption_images"] == jobs["rewrite_captions"] == jobs["write_prompts"] == "1"
    assert "results/openmoji/captions/re.worded/bat-0.jsonl" in said
    assert "results/openmoji/captions/idle" not in said


def test_the_costs_hold_the_rewriter_and_the_captioner_behind_it(
    repository: Path, tmp_path: Path
) -> None:
    config = tmp_path / "rewriters.yaml"
    config.write_text(REWRITER)
    name = "results/costs.csv"
    said = dry_run(repository, "--configfile", str(config), "--forceall", "--", name)
    for rule, captions in (("rewrite_captions", "re.worded"), ("caption_images", "embedded")):
        assert f"results/benchmarks/{rule}/openmoji/{captions}/bat-0.tsv" in said
