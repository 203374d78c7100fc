"""A run needs no network, no home and nothing outside of working directory and environment."""

import filecmp
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults import VARYING_ENDS
from isolation import environment, isolated, why_unavailable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_unavailable() != "", reason=why_unavailable()),
]

NO_HOME = "/nonexistent/home"
# Times, and what is named after them; costs are summed up and drawn from them.
OF_THE_RUN = (
    *("benchmarks/", "provenance/", "costs.csv", ".arguments/costs-"),
    *("report/stage-times.", "report/tables/cost"),
    ".weights/digests/",  # named by where the models lie
)
PROBE = """\
import os, socket, sys
secret, port = sys.argv[1:]
def works(action, *words):
    try:
        action(*words).close()
    except OSError:
        return False
    return True
places = ("/usr/x", "/etc/x", "/root/x", "/tmp/capsynth-probe", "/var/tmp/x")
for place in (*places, sys.prefix + "/x"):
    if works(open, place, "w"):
        os.remove(place)
        print("writes", place)
if works(open, secret): print("reads", secret)
if works(socket.create_connection, ("127.0.0.1", int(port)), 5): print("connects")
if works(open, "mine", "w"): print("works")
"""


def results_of(folder: Path) -> set[str]:
    root = folder / "results"
    names = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    varying = tuple(VARYING_ENDS)
    return {n for n in names if not n.startswith(OF_THE_RUN) and not n.endswith(varying)}


def run(command: list[str], home: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment(home), capture_output=True, text=True)


@pytest.fixture
def fresh(checkout: Callable[[], Path], tiny_experiment: Any) -> Path:
    """A checkout with the tiny experiment that has not been run."""
    folder = checkout()
    shutil.copytree(tiny_experiment.folder / "models", folder / "models")
    (folder / "config.yaml").write_text(yaml.safe_dump(tiny_experiment.config, sort_keys=False))
    return folder


def test_isolation_hides_the_home_the_network_and_all_other_folders(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "probe.py").write_text(PROBE)
    secret = tmp_path / "secret"
    secret.touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [sys.executable, "probe.py", str(secret), str(server.getsockname()[1])]
        outside = subprocess.run(words, cwd=tmp_path / "work", capture_output=True, text=True)
        inside = run(isolated(words, tmp_path / "work"), None)
        looped = run(isolated(words, tmp_path / "work", loopback=True), None)
    assert {
        "connects",
        "works",
        f"reads {secret}",
        "writes /tmp/capsynth-probe",
        "writes /usr/x",
    } <= set(outside.stdout.splitlines())
    assert (inside.stdout, inside.stderr) == ("works\n", "")
    assert (looped.stdout, looped.stderr) == ("works\n", "")


def test_the_experiment_runs_isolated_and_makes_the_same_bytes(
    fresh: Path, tiny_experiment: Any
) -> None:
    serve = ["python", "workflow/scripts/warm.py", "serve", "--", "snakemake", "--cores", "2"]
    done = run(isolated(serve, fresh), NO_HOME)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    expected = tiny_experiment.folder
    names = results_of(expected)
    assert {"scores.csv", "openmoji/images/caption/bat-0.tar"} <= names
    assert results_of(fresh) == names
    same = filecmp.cmpfiles(expected / "results", fresh / "results", names, shallow=False)
    assert same == (sorted(names, key=same[0].index), [], [])
    logs = "".join(path.read_text() for path in (fresh / "logs").rglob("*.log"))
    for complaint in (NO_HOME, "temporary cache directory", "runs without the warm server"):
        assert complaint not in logs
    # Nothing but what is ignored by git.
    assert {path.name for path in fresh.iterdir()} - {path.name for path in expected.iterdir()} <= {
        ".snakemake"
    }


def test_jobs_that_import_for_themselves_run_isolated(fresh: Path) -> None:
    target = "results/openmoji/images/caption/bat-0.tar"
    done = run(isolated(["snakemake", "--cores", "2", target], fresh), None)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert (fresh / target).exists()


def test_a_declared_folder_elsewhere_is_read_and_an_undeclared_one_is_not_there(
    fresh: Path, tmp_path: Path, draw_folder: Callable[..., Path]
) -> None:
    photos = tmp_path / "photos"
    for class_id in ("car", "bat"):
        draw_folder(photos / class_id, 3)
    config = yaml.safe_load((fresh / "config.yaml").read_text())
    own = ("name", "source", "classes", "parts_per_class")
    config["dataset"] = {key: config["dataset"][key] for key in own}
    config["dataset"] |= {"name": "photos", "source": "folder", "path": str(photos)}
    config["eval_sets"] = {"val": {"source": "folder", "path": str(photos)}}
    config["report"]["in_distribution"] = "val"
    (fresh / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = ["snakemake", "--cores", "1", "results/photos/real/bat-0.tar"]
    hidden = run(isolated(command, fresh), NO_HOME)
    assert hidden.returncode != 0
    assert str(photos) in hidden.stdout + hidden.stderr
    before = sorted(os.listdir(photos / "bat"))
    done = run(isolated(command, fresh, readable=[photos]), NO_HOME)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert len((fresh / "results/photos/real/bat-0.jsonl").read_text().splitlines()) == 3
    assert sorted(os.listdir(photos / "bat")) == before
