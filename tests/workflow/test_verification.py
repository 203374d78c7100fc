"""`snakemake verify` finds any flipped bit, and what is damaged is made anew, nothing else."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from capsynth import provenance
from capsynth.verification import read_records, verify

pytestmark = pytest.mark.slow

SCRIPT = "workflow/scripts/verify_results.py"
# Of each kind of artefact one, and two of one job.
DAMAGED = (
    "results/openmoji/real/bat-0.tar",
    "results/openmoji/captions/tiny/car-0.jsonl",
    "results/openmoji/prompts/caption/car-0.jsonl",
    "results/openmoji/images/caption/bat-0.tar",
    "results/openmoji/images/class-name/car-0.tar",
    "results/openmoji/images/class-name/car-0.jsonl",
    "results/openmoji/checkpoints/real/tiny/seed0.safetensors",
    "results/openmoji/predictions/real/tiny/seed1/openmoji-val.parquet",
    "results/eval_sets/openmoji-val.tar",
    "results/scores.csv",
    "results/report/tables/main.md",
)


def flip_a_bit(path: Path, share: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[min(int(len(data) * share), len(data) - 1)] ^= 1
    # In place: the file stays the one that it was, its other names and its times included.
    times = path.stat()
    with path.open("rb+") as file:
        file.write(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def all_bytes(folder: Path) -> dict[str, bytes]:
    """The bytes of all artefacts that records tell of, by their path."""
    found = {}
    for job in provenance.read_jobs(provenance.run_names(folder)[0], folder):
        for output in job.outputs:
            path = folder.parents[1] / output
            if path.is_file():
                found[output] = path.read_bytes()
    return found


def test_every_artefact_has_a_checksum_and_a_bit_of_any_is_missed(
    experiment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(experiment.folder)
    records = read_records()
    files = records.files
    assert not records.being_made
    assert set(map(Path, DAMAGED)) <= set(files)
    assert [path for path, recorded in files.items() if recorded.sha256 is None] == []
    found = verify()
    assert (found.checked, found.missing) == (len(files), 0)
    assert (found.damaged, found.without_checksum) == ((), ())
    for number, path in enumerate(sorted(files)):
        flip_a_bit(path, number / len(files))
    assert [damage.path for damage in verify().damaged] == sorted(files)


def test_shards_without_a_record_are_compared_with_their_manifests(
    experiment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(experiment.folder)
    shutil.rmtree("results/provenance")
    shards = sorted(Path("results").rglob("*.tar"))
    found = verify()
    assert (found.checked, found.damaged) == (len(shards), ())
    for number, shard in enumerate(shards):
        flip_a_bit(shard, number / len(shards))
    assert [damage.path for damage in verify().damaged] == shards


def test_damaged_artefacts_are_named_and_they_alone_are_made_anew(experiment: Any) -> None:
    folder: Path = experiment.folder
    records = folder / "results" / "provenance"
    before = all_bytes(records)
    said = experiment.snakemake("verify", "--quiet", "all")
    assert said.returncode == 0, said.stderr
    assert f"{len(before)} files, " in said.stdout
    assert "none damaged." in said.stdout
    for name in DAMAGED:
        flip_a_bit(folder / name)
    said = experiment.snakemake("verify", "--quiet", "all")
    assert said.returncode == 1
    assert [
        line.split()[1] for line in said.stdout.splitlines() if line.startswith("- ")
    ] == sorted(DAMAGED)
    done = experiment.call(sys.executable, SCRIPT, "--repair", "--", "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all_bytes(records) == before
    repairs = provenance.run_names(records)[1:]
    made = [job for run in repairs for job in provenance.read_jobs(run, records)]
    owners = {output for job in made for output in job.outputs}
    # Two of the eleven are of one job; the outputs of the others' jobs are made with them.
    assert len(made) == len(DAMAGED) - 1
    assert set(DAMAGED) <= owners
    # Times are no results; they are other times now.
    assert experiment.owed() <= {"measure_costs", "make_cost_tables", "plot_stage_times"}
    aside = folder / "results" / "damaged"
    kept = {f"results/{path.relative_to(aside)}" for path in aside.rglob("*") if path.is_file()}
    assert kept == set(DAMAGED)


def test_a_file_edited_by_hand_is_kept_aside(experiment: Any) -> None:
    captions = experiment.folder / "results/openmoji/captions/tiny/car-0.jsonl"
    edited = captions.read_text().replace("car_000000", "car_000000 ", 1)
    captions.write_text(edited)
    done = experiment.call(sys.executable, SCRIPT, "--json")
    assert done.returncode == 1
    (damage,) = json.loads(done.stdout)["damaged"]
    assert damage["path"] == "results/openmoji/captions/tiny/car-0.jsonl"
    assert damage["made_by"]["rule"] == "caption_images"
    assert captions.read_text() == edited
