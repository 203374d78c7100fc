"""After a Snakemake was killed: results that its jobs finished without it are not trusted."""

import base64
import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
TAR = "results/openmoji/images/class-name/bat-0.tar"
MADE = (TAR.replace(".tar", ".jsonl"), TAR)
LAST = "results/report/gallery.html"

# Read by every Python before its script: what a stage has written is seen two seconds after it has
# ended, as on a network file system whose clients look for new names now and then.
LATE = """
import atexit, os, subprocess, sys

FLAGS = {
    "caption_images.py": ["--output"],
    "write_prompts.py": ["--output"],
    "generate_images.py": ["--tar", "--manifest"],
}

def hide():
    for flag in FLAGS.get(os.path.basename(sys.argv[0]), []):
        path = sys.argv[sys.argv.index(flag) + 1]
        os.rename(path, path + ".unseen")
        subprocess.Popen(
            ["sh", "-c", 'sleep 2; mv "$0.unseen" "$0"', path], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        with open(os.environ["HIDDEN"], "a") as log:
            log.write(path + chr(10))

atexit.register(hide)
"""


def forget_record(experiment: Any, output: str) -> None:
    """Delete what Snakemake noted of an output, as if nobody had been there to note it."""
    name = base64.b64encode(output.encode()).decode()
    (experiment.folder / ".snakemake/metadata" / name).unlink()


def kill_traces(experiment: Any, *outputs: str) -> Path:
    """Leave what a killed Snakemake leaves: the list of what it was about to make."""
    marker = Path(experiment.folder / "results/.running")
    marker.write_text(json.dumps(outputs))
    return marker


def test_after_a_kill_in_the_last_wave_what_orphans_finished_is_made_again(
    experiment: Any,
) -> None:
    # All files are there: without a look at the list nothing would be done, nor noticed later.
    for output in MADE:
        forget_record(experiment, output)
    assert experiment.owed(TAR) == set()
    marker = kill_traces(experiment, *MADE)
    assert experiment.owed(TAR) == {"generate_images(class-name, bat-0)"}
    before = [(experiment.folder / path).read_bytes() for path in MADE]
    done = experiment.snakemake(TAR)
    assert done.returncode == 0, done.stderr
    assert [(experiment.folder / path).read_bytes() for path in MADE] == before
    assert not marker.exists()
    assert experiment.owed(TAR) == set()
    # A later change of a setting is noticed: there is a record of the one before.
    config = copy.deepcopy(experiment.config)
    config["generators"]["tiny"]["guidance_scale"] = 3.5
    experiment.write_config(config)
    assert "generate_images(class-name, bat-0)" in experiment.owed(TAR)


def test_a_run_of_other_targets_forgets_nothing_that_orphans_finish(experiment: Any) -> None:
    prompts = "results/openmoji/prompts/class-name/bat-0.jsonl"
    late = [experiment.folder / path for path in MADE]
    kept = {path: path.read_bytes() for path in late}
    for path in late:  # the orphan is still at work
        path.unlink()
    marker = kill_traces(experiment, *MADE)
    done = experiment.snakemake("--forcerun", "write_prompts", "--", prompts)
    assert done.returncode == 0, done.stderr
    assert json.loads(marker.read_text()) == sorted(MADE)
    for path, data in kept.items():
        path.write_bytes(data)
    for output in MADE:
        forget_record(experiment, output)
    assert "generate_images(class-name, bat-0)" in experiment.owed(TAR)


def test_a_record_older_than_its_result_is_not_trusted_either(experiment: Any) -> None:
    later = (experiment.folder / TAR).stat().st_mtime + 100
    os.utime(experiment.folder / TAR, (later, later))
    assert experiment.owed(TAR) == set()
    kill_traces(experiment, *MADE)
    assert experiment.owed(TAR) == {"generate_images(class-name, bat-0)"}


def test_beside_a_run_under_way_nothing_is_marked(experiment: Any) -> None:
    for output in MADE:
        forget_record(experiment, output)
    kill_traces(experiment, *MADE)
    lock = experiment.folder / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(f"{LAST}\n")
    assert experiment.owed(TAR) == set()
    assert not any((experiment.folder / ".snakemake/incomplete").iterdir())


def test_without_a_kill_results_without_records_are_taken_as_they_are(experiment: Any) -> None:
    forget_record(experiment, TAR)
    (experiment.folder / LAST).unlink()
    done = experiment.snakemake(LAST)
    assert done.returncode == 0, done.stderr


def test_a_run_that_fails_keeps_what_is_finished_and_one_that_succeeds_drops_it(
    experiment: Any,
) -> None:
    folder = experiment.folder / "results/openmoji/images/class-name"
    (experiment.folder / TAR).unlink()
    failing = experiment.folder / "results/openmoji/prompts/class-name/car-0.jsonl"
    text = failing.read_text()
    failing.write_text("no JSON\n")
    # What a killed job, and a killed Snakemake, leave of a file that they were writing.
    left = [folder / ".bat-0.tar.x1_y.tmp", experiment.folder / "results/provenance/.a.json.z.tmp"]
    for path in left:
        path.write_text("half")
    done = experiment.snakemake("--keep-going", TAR, TAR.replace("bat", "car"))
    assert done.returncode != 0
    assert [path.name for path in folder.glob(".*.partial")] == [".bat-0.tar.partial"]
    # What failed may have been finished by a job that nobody heard of.
    running = experiment.folder / "results/.running"
    assert set(json.loads(running.read_text())) == {path.replace("bat", "car") for path in MADE}
    assert all(path.exists() for path in left)
    failing.write_text(text)
    assert experiment.snakemake(TAR, TAR.replace("bat", "car")).returncode == 0
    assert not running.exists()
    assert not list(folder.glob(".*.partial"))
    assert not any(path.exists() for path in left)


def test_a_missing_training_is_made_again_for_the_costs_though_its_predictions_are_there(
    experiment: Any,
) -> None:
    # What a kill leaves of a training that was made anew: nothing, beside predictions of before.
    results = experiment.folder / "results"
    for name in ("seed0.json", "seed0.safetensors"):
        (results / "openmoji/checkpoints/class-name/tiny" / name).unlink()
    (results / "costs.csv").unlink()
    owed = experiment.owed("results/costs.csv")
    assert {"train_classifier(class-name, tiny, 0)", "measure_costs"} <= owed


def test_files_that_are_seen_late_are_waited_for(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = experiment.folder / "results/openmoji"
    captions = results / "captions/tiny/bat-0.jsonl"
    made = [
        captions,
        results / "prompts/caption/bat-0.jsonl",
        results / "images/caption/bat-0.tar",
        results / "images/caption/bat-0.jsonl",
    ]
    before = [path.read_bytes() for path in made]
    (tmp_path / "sitecustomize.py").write_text(LATE)
    hidden = tmp_path / "hidden.txt"
    monkeypatch.setenv("HIDDEN", str(hidden))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    target = "results/openmoji/images/caption/bat-0.tar"

    captions.unlink()
    impatient = experiment.snakemake("--latency-wait", "0", "--forcerun", "caption_images", target)
    assert impatient.returncode != 0
    assert "Missing files after 0 seconds" in impatient.stderr

    hidden.unlink()
    done = experiment.snakemake("--latency-wait", "30", "--forcerun", "caption_images", target)
    assert done.returncode == 0, done.stderr[-3000:]
    names = {str(path.relative_to(experiment.folder)) for path in made}
    assert names <= set(hidden.read_text().split("\n"))
    assert [path.read_bytes() for path in made] == before
