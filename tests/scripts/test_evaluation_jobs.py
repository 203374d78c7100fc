"""One job evaluates a classifier on all sets: what is answered is kept, whatever else happens."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from trainings import CLASS_IDS, IMAGES, SMALL, command

import evaluate_classifier
import evaluate_on_sets
import train_classifier
from capsynth import evaluation
from capsynth.errors import CapsynthError
from capsynth.files import dump_json, read_json
from capsynth.kept import kept_folder
from capsynth.resuming import clear_leftovers

RUN = {"dataset": "d", "training_set": "real", "recipe": "r", "seed": 0}


@dataclass(frozen=True)
class Job:
    """A classifier, and one evaluation set a class.

    Attributes:
        folder: Where all lies.
        seen: The sets that were evaluated, in their order; tests clear it.
    """

    folder: Path
    seen: list[str]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "c.safetensors"

    def output(self, name: str) -> Path:
        return self.folder / "predictions" / f"{name}.parquet"

    def view(self, name: str, **changes: Any) -> Path:
        path = self.folder / f"view-{name}.json"
        view = {
            "eval_set": name,
            "tar": str(self.folder / f"{name}-0.tar"),
            "manifest": str(self.folder / f"{name}-0.jsonl"),
            "class_ids": None,
            "answer_groups": None,
            "corrupted": False,
            "unknown": False,
            **changes,
        }
        path.write_text(json.dumps(view))
        return path

    def run(self, *names: str, **changes: dict[str, Any]) -> list[str]:
        """Run the job on sets after Snakemake deleted its outputs; return what was evaluated."""
        self.seen.clear()
        for name in names:
            self.output(name).unlink(missing_ok=True)
        line = ["--run", dump_json(RUN), "--checkpoint", str(self.checkpoint), "--threads", "1"]
        line += ["--code", str(self.folder / "code.json"), "--views"]
        line += [str(self.view(name, **changes.get(name, {}))) for name in names]
        evaluate_on_sets.main([*line, "--outputs", *(str(self.output(name)) for name in names)])
        return list(self.seen)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    draw_folder: Callable[..., Path],
    pack_folder: Callable[..., Any],
) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    for index, class_id in enumerate(CLASS_IDS):
        pack_folder(draw_folder(folder / "source" / class_id, IMAGES), folder, index)
    train_classifier.main(command(folder, folder / "c.safetensors", SMALL))
    (folder / "code.json").write_text('{"a.py": "1"}\n')
    return folder


@pytest.fixture
def job(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    folder = tmp_path / "job"
    shutil.copytree(trained, folder)
    seen: list[str] = []
    classify = evaluation.classify

    def counted(*args: Any, **kwargs: Any) -> Any:
        seen.append(args[6].removeprefix("evaluate "))
        return classify(*args, **kwargs)

    monkeypatch.setattr(evaluation, "classify", counted)
    return Job(folder, seen)


def test_one_job_writes_what_a_job_a_set_writes(job: Job, tmp_path: Path) -> None:
    assert job.run("bat", "car") == ["bat", "car"]
    alone, name = tmp_path / "alone.parquet", {**RUN, "eval_set": "car"}
    line = ["--name", dump_json(name), "--checkpoint", str(job.checkpoint), "--threads", "1"]
    files = [f"{job.folder}/car-0.{suffix}" for suffix in ("tar", "jsonl")]
    evaluate_classifier.main(
        [*line, "--tar", files[0], "--manifest", files[1], "--output", str(alone)]
    )
    assert job.output("car").read_bytes() == alone.read_bytes()


def test_an_added_set_is_evaluated_alone_and_loads_no_classifier_for_the_others(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.run("bat", "car")
    before = {name: job.output(name).read_bytes() for name in ("bat", "car")}
    times = job.output("bat").stat().st_mtime_ns
    assert job.run("bat", "car", "dog") == ["dog"]
    assert {name: job.output(name).read_bytes() for name in before} == before
    # Snakemake takes an output that is older than its inputs for stale.
    assert job.output("bat").stat().st_mtime_ns > times
    # They take no space of their own.
    for name in ("bat", "car", "dog"):
        (kept,) = kept_folder(job.output(name)).glob("*/finished/*.parquet")
        assert kept.samefile(job.output(name))
    monkeypatch.setattr("capsynth.classifiers.load_classifier", None)
    assert job.run("bat", "car", "dog") == []


def test_what_answers_depend_on_makes_them_again(job: Job) -> None:
    names = ("bat", "car", "dog")
    job.run(*names)
    assert job.run(*names, car={"class_ids": ["bat", "car"]}) == ["car"]
    assert job.run(*names, car={"class_ids": ["bat", "car"]}) == []
    assert job.run(*names, car={"corrupted": True}, dog={"unknown": True}) == ["car", "dog"]
    job.run(*names)
    for suffix in ("tar", "jsonl"):
        shutil.copy(job.folder / f"car-0.{suffix}", job.folder / f"bat-0.{suffix}")
    assert job.run(*names) == ["bat"]
    (job.folder / "code.json").write_text('{"a.py": "2"}\n')
    assert job.run(*names) == list(names)
    train_classifier.main(
        command(job.folder, job.checkpoint, {**SMALL, "learning_rate": 0.02}, CLASS_IDS)
    )
    assert job.run(*names) == list(names)
    assert job.run(*names) == []


def test_a_set_that_cannot_be_read_is_named_and_loses_no_other(job: Job) -> None:
    whole = (job.folder / "car-0.tar").read_bytes()
    (job.folder / "car-0.tar").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(CapsynthError, match=r"1 of 3 evaluation sets .*: car: .*car-0\.tar"):
        job.run("bat", "car", "dog")
    assert job.seen == ["bat", "car", "dog"]
    assert job.output("dog").exists()
    assert not job.output("car").exists()
    (job.folder / "car-0.tar").write_bytes(whole)
    assert job.run("bat", "car", "dog") == ["car"]


def test_a_job_that_was_ended_goes_on_after_the_sets_it_had_answered(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify = evaluation.classify

    def ended_at_car(*args: Any, **kwargs: Any) -> Any:
        if args[6] == "evaluate car":
            raise KeyboardInterrupt
        return classify(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "classify", ended_at_car)
        with pytest.raises(KeyboardInterrupt):
            job.run("bat", "car", "dog")
    assert job.run("bat", "car", "dog") == ["car", "dog"]


def test_kept_answers_that_were_altered_are_made_again(job: Job) -> None:
    job.run("bat", "car")
    before = job.output("bat").read_bytes()
    with job.output("bat").open("r+b") as file:  # in place: what is kept is the same file
        file.seek(100)
        file.write(b"#")
    assert job.run("bat", "car") == ["bat"]
    assert job.output("bat").read_bytes() == before


def test_a_run_that_succeeds_keeps_answers_and_clears_what_killed_jobs_left(job: Job) -> None:
    job.run("bat", "car")
    left = kept_folder(job.output("bat")) / ".owner.abc.tmp"
    left.write_text("half")
    deep = next(kept_folder(job.output("car")).glob("*/finished")) / ".car.parquet.abc.tmp"
    deep.write_text("half")
    clear_leftovers([job.output("bat"), job.output("car")])
    assert not left.exists()
    assert not deep.exists()
    assert job.run("bat", "car") == []


def test_what_is_kept_of_a_set_goes_with_its_predictions(job: Job) -> None:
    job.run("bat", "car")
    assert job.run("bat") == []
    assert kept_folder(job.output("car")).exists()  # its predictions are there: no space is won
    job.output("car").unlink()
    job.run("bat")
    assert not kept_folder(job.output("car")).exists()


def test_a_job_says_what_the_answers_that_it_took_over_had_cost(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, float] = {}
    monkeypatch.setattr("capsynth.evaluation_jobs.note", said.update)
    job.run("bat")
    assert said == {}
    (times,) = kept_folder(job.output("bat")).glob("*/times.json")
    assert {*read_json(times)} == {"wall_s", "cpu_s"}
    times.write_text('{"wall_s": 40.5, "cpu_s": 7.25}')
    job.run("bat", "car")
    assert said == {"kept_wall_s": 40.5, "kept_cpu_s": 7.25}


def test_costs_go_on_without_times_that_were_lost(
    job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    job.run("bat")
    (times,) = kept_folder(job.output("bat")).glob("*/times.json")
    times.unlink()
    with caplog.at_level(logging.WARNING):
        assert job.run("bat") == []
    assert "the costs leave out" in caplog.text
