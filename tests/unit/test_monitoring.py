"""What is said of a plan: why jobs run, what they cost, how far they are."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.job_log import PREFIX
from capsynth.monitoring import plan as planning
from capsynth.monitoring.changes import (
    changes_of,
    describe_params,
    reasons_of,
    sentence,
    settings_of,
)
from capsynth.monitoring.estimates import estimate, wall_seconds
from capsynth.monitoring.plan import Plan, PlannedJob, Reasons, gpus_of, read_plan
from capsynth.monitoring.status import SILENT_S, State, job_status, run_status
from capsynth.monitoring.text import (
    changes_text,
    duration,
    estimate_text,
    hours,
    size,
    status_text,
    table,
)

NONE = Reasons(
    forced=False,
    incomplete=False,
    missing=(),
    never=(),
    made_before=True,
    updated={},
    modules=None,
    inputs_gone=(),
    inputs_new=(),
    params_before=(),
    params_now={},
    command_changed=False,
    software_changed=False,
    follows=(),
)
DONE = PlannedJob(
    rule="generate_images",
    wildcards={"dataset": "d", "variant": "caption", "shard": "bat-0"},
    inputs=(),
    outputs=(),
    log=None,
    benchmark=None,
    threads=1,
    gpus=0,
    reasons=None,
    needs=(),
    started=None,
    is_shielded=False,
)
OWED = replace(DONE, reasons=NONE)
RULES = ("caption_images", "generate_images", "train_classifier", "make_tables")
NOW = 1_000_000.0


def plan_of(*jobs: PlannedJob, slots: int = 2, is_local: bool = True) -> Plan:
    return Plan(RULES, jobs, slots, is_local)


# ---- why -----------------------------------------------------------------------------------------


def test_a_setting_is_told_from_what_to_what() -> None:
    before, now = ({"guidance": g, "steps": 8} for g in (2.0, 5.0))
    words = describe_params([repr(dump_json(before))], {"settings": dump_json(now)})
    assert words == ["guidance: 2.0 → 5.0"]


def test_settings_in_flags_are_told_and_paired_by_their_names() -> None:
    before = [repr("--split train --seed 1"), repr(dump_json({"seed": 1, "steps": 2}))]
    now = {"scenes": "--split train --seed 2", "settings": dump_json({"seed": 1, "steps": 3})}
    assert describe_params(before, now) == ["seed: 1 → 2", "steps: 2 → 3"]


def test_what_came_to_a_list_and_went_is_told() -> None:
    words = describe_params([repr("--class-ids car bat")], {"s": "--class-ids car dog owl"})
    assert words == ["class_ids: dog, owl came, bat went"]
    assert describe_params([repr("--c a b")], {"s": "--c b a"}) == ["c: another order"]


def test_tokens_of_images_and_weights_are_told_in_words() -> None:
    words = describe_params(["'0a'", "'0b'"], {"mark": "1a", "token": "1b"})
    assert words == [
        "the weights of the model changed",
        "an image of its source was added, removed or changed",
    ]


def test_a_param_that_nothing_is_known_of_is_told_as_it_is_now() -> None:
    assert describe_params(["<odd"], {"extension": "png"}) == ["extension is now png"]
    assert describe_params(["'x'"], {}) == ["a setting is no longer given"]
    assert describe_params([], {}) == []


@given(st.dictionaries(st.text("abc", min_size=1), st.integers() | st.text("xyz ")))
def test_flags_and_json_give_the_same_settings(values: dict[str, int | str]) -> None:
    import shlex

    flags = " ".join(f"--{name} {shlex.quote(str(v))}" for name, v in values.items())
    if values:
        assert {k: str(json.loads(v)) for k, v in settings_of(flags).items()} == {
            name: str(value) for name, value in values.items()
        }
    assert settings_of(dump_json(values)) == {k: json.dumps(v) for k, v in values.items()}


def test_jobs_of_one_reason_are_one_sentence_with_their_count_and_examples() -> None:
    changed = replace(NONE, params_now={"token": "x"})
    jobs = [
        replace(OWED, wildcards={**OWED.wildcards, "shard": f"bat-{i}"}, reasons=changed)
        for i in range(5)
    ]
    after = replace(
        OWED,
        rule="train_classifier",
        wildcards={"training_set": "real+caption", "recipe": "r", "seed": "0"},
        reasons=replace(NONE, follows=("generate_images",)),
    )
    assert [sentence(change) for change in changes_of(plan_of(*jobs, after))] == [
        "5 class shards of caption are drawn anew (bat-0, bat-1, bat-2 and 2 more): "
        "an image of its source was added, removed or changed",
        "1 training of real+caption r is run anew (seed 0): follows from generate_images",
    ]


def test_results_that_come_to_those_of_a_job_are_told_from_deleted_ones() -> None:
    new = replace(NONE, missing=("d/a.parquet",), never=("d/a.parquet",))
    both = replace(new, missing=("d/a.parquet", "d/b.parquet"))
    assert reasons_of(replace(OWED, reasons=new)) == ("makes now, beside what is kept: a.parquet",)
    assert reasons_of(replace(OWED, reasons=both)) == (
        "makes now, beside what is kept: a.parquet",
        "its result was deleted",
    )


def test_jobs_that_were_never_made_are_told_apart_from_those_that_are_made_anew() -> None:
    new = replace(NONE, missing=("a",), made_before=False, follows=("caption_images",))
    deleted = replace(NONE, missing=("a",))
    told = [
        sentence(c)
        for c in changes_of(plan_of(*(replace(OWED, reasons=r) for r in (new, deleted))))
    ]
    assert told == [
        "1 class shard of caption is drawn (bat-0): not made yet",
        "1 class shard of caption is drawn anew (bat-0): its result was deleted",
    ]


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (replace(NONE, forced=True), "forced"),
        (replace(NONE, incomplete=True, missing=("b",)), "was cut off before it ended"),
        (replace(NONE, modules=("capsynth/generation.py",)), "its code changed (capsynth/gen"),
        (replace(NONE, modules=()), "its code changed (where is not recorded)"),
        (
            replace(NONE, updated={"results/.arguments/a-1.txt": "arguments"}),
            "which files it reads",
        ),
        (replace(NONE, updated={"a": "prompts"}), "its prompts changed, by hand or by an earlier"),
        (replace(NONE, inputs_new=("a", "b")), "reads what it did not before: a and 1 more"),
        (replace(NONE, inputs_gone=("a",)), "no longer reads: a"),
        (replace(NONE, command_changed=True), "the command of its rule changed"),
        (replace(NONE, software_changed=True), "its environment changed"),
        (NONE, "Snakemake gives no reason"),
    ],
)
def test_each_reason_has_words(reasons: Reasons, told: str) -> None:
    (change,) = changes_of(plan_of(replace(OWED, reasons=reasons)))
    assert change.reasons[0].startswith(told)


def test_results_of_shielded_code_are_told_with_the_remedy() -> None:
    plan = plan_of(replace(DONE, is_shielded=True))
    text = changes_text(plan, [], estimate(plan))
    assert "A run would do nothing." in text
    assert "1 result of other code" in text
    assert "--forcerun generate_images" in text


# ---- what it costs -------------------------------------------------------------------------------


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., PlannedJob]:
    """``drawn(shard, prompts, seconds=None, variant="caption")``: a job with its files."""

    def make(
        shard: str, prompts: int, seconds: float | None = None, variant: str = "caption"
    ) -> PlannedJob:
        prompt_file = tmp_path / f"{variant}-{shard}.jsonl"
        prompt_file.write_text("0123456789\n" * prompts)
        tar, benchmark, log = (tmp_path / f"{variant}-{shard}.{x}" for x in ("tar", "tsv", "log"))
        if seconds is not None:
            tar.write_bytes(b"0" * 100 * prompts)
            benchmark.write_text(f"s\th:m:s\n{seconds}\t0:00:01\n")
            log.write_text(f"INFO generate {shard}: {prompts}/{prompts} images, 3.0 a second\n")
        return replace(
            OWED if seconds is None else DONE,
            wildcards={"dataset": "d", "variant": variant, "shard": shard},
            inputs=(str(prompt_file),),
            outputs=(str(tar),),
            benchmark=str(benchmark),
            log=str(log),
            reasons=replace(NONE, missing=(str(tar),), made_before=False)
            if seconds is None
            else None,
            gpus=1,
            threads=2,
        )

    return make


def test_time_is_scaled_by_what_a_job_reads_of_jobs_of_its_kind(
    drawn: Callable[..., PlannedJob],
) -> None:
    other = drawn("a-0", 10, seconds=999.0, variant="class-name")
    plan = plan_of(other, drawn("a-0", 10, seconds=20.0), drawn("b-0", 30))
    costs = estimate(plan)
    (stage,) = costs.stages
    assert costs.seconds == {2: pytest.approx(60.0)}
    assert (stage.jobs, stage.unknown, stage.rough) == (1, 0, 0)
    assert stage.core_s == pytest.approx(120.0)
    assert stage.gpu_s == pytest.approx(60.0)
    assert stage.new_bytes == 1000.0
    assert costs.wall_s == pytest.approx(60.0)


def test_another_kind_of_the_rule_is_used_where_there_is_none_and_said_to_be_rough(
    drawn: Callable[..., PlannedJob],
) -> None:
    plan = plan_of(drawn("a-0", 10, seconds=20.0), drawn("a-0", 10, variant="caption-only"))
    costs = estimate(plan)
    assert costs.seconds == {1: pytest.approx(20.0)}
    assert costs.stages[0].rough == 1
    assert "roughly" in changes_text(plan, changes_of(plan), costs)


def test_time_is_scaled_by_what_an_earlier_job_is_expected_to_write(
    drawn: Callable[..., PlannedJob], tmp_path: Path
) -> None:
    def training(name: str, *images: PlannedJob) -> PlannedJob:
        # Drawn shards stand for what a training reads; their size is that of their first output.
        return replace(
            images[0],
            rule="train_classifier",
            wildcards={"training_set": "t", "recipe": "r", "seed": name},
            inputs=tuple(job.outputs[0] for job in images),
            outputs=(str(tmp_path / f"{name}.safetensors"),),
            benchmark=str(tmp_path / f"{name}.tsv"),
            needs=(),
        )

    def as_lines(job: PlannedJob) -> PlannedJob:
        (tar,) = job.outputs
        lines = tar.replace(".tar", ".out.jsonl")
        if job.reasons is None:
            Path(tar).rename(lines)
        return replace(job, outputs=(lines,))

    done, owed = as_lines(drawn("a-0", 10, seconds=20.0)), as_lines(drawn("b-0", 30))
    trained, to_train = training("0", done), training("1", done, owed)
    to_train = replace(to_train, reasons=NONE)
    Path(str(trained.benchmark)).write_text("s\n50\n")
    Path(trained.outputs[0]).touch()
    costs = estimate(plan_of(done, owed, trained, to_train))
    # The shard that is not drawn yet is expected to be as large as the one that is.
    assert costs.seconds == {1: pytest.approx(60.0), 3: pytest.approx(100.0)}


@pytest.fixture
def evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedJob:
    """A finished evaluation on two sets, of 100 and 300 bytes, that took 40 s."""
    monkeypatch.chdir(tmp_path)
    Path("results/eval_sets").mkdir(parents=True)
    for name, n in {"a": 100, "b": 300, "new": 50}.items():
        Path(f"results/eval_sets/{name}.jsonl").write_bytes(b"x" * n)
    Path("b.tsv").write_text("s\n40\n")
    inputs = ("c.json", "results/eval_sets/a.jsonl", "results/eval_sets/b.jsonl")
    return replace(
        DONE,
        rule="evaluate_classifier",
        wildcards={"training_set": "real", "recipe": "r", "seed": "0"},
        inputs=inputs,
        outputs=("d/a.parquet", "d/b.parquet"),
        benchmark="b.tsv",
        log="e.log",
    )


def test_an_evaluation_is_judged_by_the_sets_that_it_answers(evaluation: PlannedJob) -> None:
    """100 bytes of manifests take 10 s."""
    more = replace(
        evaluation,
        inputs=(*evaluation.inputs, "results/eval_sets/new.jsonl"),
        outputs=(*evaluation.outputs, "d/new.parquet"),
    )

    def seconds(job: PlannedJob, **reasons: Any) -> float | None:
        owed = replace(job, wildcards={**job.wildcards, "seed": "1"})
        owed = replace(owed, benchmark=None, reasons=replace(NONE, **reasons))
        return estimate(plan_of(evaluation, owed)).seconds[1]

    new = ("d/new.parquet",)
    assert seconds(more, missing=new, never=new) == pytest.approx(5)
    edited = "results/eval_sets/b.jsonl"
    assert seconds(evaluation, updated={edited: "manifests"}) == pytest.approx(30)
    view = "results/.arguments/views/a-0123456789abcdef.json"
    assert seconds(evaluation, updated={view: "views"}) == pytest.approx(10)
    # Deleted results are taken over; other code or weights answer everything.
    assert seconds(evaluation, missing=("d/a.parquet",)) == pytest.approx(0)
    assert seconds(more, missing=new, never=new, modules=("evaluation.py",)) == pytest.approx(45)
    assert seconds(more, missing=new, never=new, made_before=False) == pytest.approx(45)
    assert seconds(evaluation, updated={"c.json": "history"}) == pytest.approx(40)


def test_an_evaluation_set_that_is_packed_anew_is_work_and_no_other(
    evaluation: PlannedJob,
) -> None:
    packing = replace(OWED, rule="pack_eval_set", outputs=("results/eval_sets/a.jsonl",))
    training = replace(OWED, rule="train_classifier", outputs=("c.json",))
    for other, wanted in ((packing, 10), (training, 40)):
        owed = replace(evaluation, reasons=replace(NONE, follows=(other.rule,)), needs=(0,))
        costs = estimate(plan_of(other, owed, evaluation))
        assert costs.seconds[1] == pytest.approx(wanted)


def test_time_of_answers_that_were_taken_over_is_part_of_what_an_evaluation_takes(
    evaluation: PlannedJob,
) -> None:
    """An evaluation that ran again for one set took 40 s for it, and the other had taken 60 s."""
    said = {"run": "r", "pid": 1, "exit_code": 0, "gpu": None, "cpu_s": 1.0, "kept_wall_s": 60.0}
    Path("e.log").write_text(f"{PREFIX}{dump_json(said)}\n")
    owed = replace(evaluation, wildcards={**evaluation.wildcards, "seed": "1"}, benchmark=None)
    owed = replace(owed, reasons=replace(NONE, made_before=False))
    assert estimate(plan_of(evaluation, owed)).seconds[1] == pytest.approx(100)


def test_a_run_in_another_folder_tells_times_and_sizes_by_what_it_read_there(
    tmp_path: Path,
) -> None:
    pilot = tmp_path / "pilot"
    pilot.mkdir()
    (pilot / "a.jsonl").write_text("0" * 100)
    (pilot / "a.tar").write_text("0" * 7000)
    (pilot / "model").write_text("0" * 500)
    (pilot / "a.tsv").write_text("s\n30\n")
    (pilot / "train.tsv").write_text("s\n40\n")

    def shard(name: str) -> PlannedJob:
        return replace(
            OWED,
            wildcards={"variant": "caption", "shard": name},
            outputs=(f"{name}.tar", f"{name}.jsonl"),
            benchmark=f"{name}.tsv",
            gpus=1,
            reasons=replace(NONE, missing=(f"{name}.tar",), made_before=False),
        )

    training = replace(
        shard("t"),
        rule="train_classifier",
        inputs=("a.jsonl", "b.jsonl", "c.jsonl"),
        outputs=("model",),
        benchmark="train.tsv",
        gpus=2,
        needs=(0, 1, 2),
    )
    plan = plan_of(shard("a"), shard("b"), shard("c"), training)
    costs = estimate(plan, recorded=pilot)
    # Drawing: 30 s a shard. The pilot trained on one shard in 40 s, this training reads three.
    assert costs.seconds == {0: 30.0, 1: 30.0, 2: 30.0, 3: pytest.approx(120.0)}
    drawing, trained = costs.stages
    assert (drawing.gpu_s, trained.gpu_s) == (90.0, pytest.approx(240.0))
    assert (drawing.new_bytes, trained.new_bytes) == (3 * 7100.0, 500.0)
    walls = {gpus: wall_seconds(plan, costs.seconds, gpus) for gpus in (1, 2, 8)}
    assert walls == {1: pytest.approx(210.0), 2: pytest.approx(180.0), 8: pytest.approx(150.0)}
    text = estimate_text(plan, costs, walls)
    assert [row.split() for row in text.splitlines() if row.startswith("all")] == [
        ["all", "of", "them", "4", "0.058", "0.092", "22", "kB"]
    ]
    # 330 GPU seconds in 180 s on two.
    assert ["2", "3", "min", "92%"] in [row.split() for row in text.splitlines()]
    assert "No time" not in text


def test_a_stage_without_a_recorded_time_is_named_with_the_remedy() -> None:
    training = replace(OWED, rule="train_classifier")
    plan = plan_of(OWED, training)
    costs = estimate(plan)
    text = estimate_text(plan, costs, {1: 0.0})
    assert "No time is recorded of generate_images, train_classifier;" in text
    assert "with a few classes first" in text
    assert estimate_text(plan_of(DONE), estimate(plan_of(DONE)), {1: 0.0}) == (
        "A run would do nothing."
    )


def test_jobs_with_and_without_gpus_run_beside_one_another() -> None:
    without = [replace(OWED, threads=1)] * 2
    with_gpu = [replace(OWED, gpus=1)] * 4
    seconds: dict[int, float | None] = dict.fromkeys(range(6), 10.0)
    plan = plan_of(*without, *with_gpu, slots=1, is_local=False)
    assert wall_seconds(plan, seconds, gpus=1) == 40.0
    assert wall_seconds(plan, seconds, gpus=4) == 20.0
    assert wall_seconds(plan, seconds) == 60.0


def test_what_is_not_recorded_is_not_guessed(drawn: Callable[..., PlannedJob]) -> None:
    plan = plan_of(drawn("b-0", 30))
    costs = estimate(plan)
    assert costs.seconds == {0: None}
    text = changes_text(plan, changes_of(plan), costs)
    assert "No time is recorded for 1 job" in text
    assert "Time with" not in text
    (row,) = (line for line in text.splitlines() if line.startswith("generate_images"))
    assert row.split() == ["generate_images", "1", "?", "?", "?"]


def test_a_broken_benchmark_counts_as_none(drawn: Callable[..., PlannedJob]) -> None:
    done = drawn("a-0", 10, seconds=20.0)
    assert done.benchmark
    Path(done.benchmark).write_text("nonsense\n")
    assert estimate(plan_of(done, drawn("b-0", 30))).seconds == {1: None}


def test_wall_time_keeps_order_and_slots() -> None:
    first = [replace(OWED, threads=1)] * 3
    last = replace(OWED, needs=(0, 1, 2))
    seconds: dict[int, float | None] = {0: 10.0, 1: 10.0, 2: 10.0, 3: 5.0}
    assert wall_seconds(plan_of(*first, last, slots=2), seconds) == 25.0
    assert wall_seconds(plan_of(*first, last, slots=3), seconds) == 15.0
    # Two threads each: one after another on two threads of one machine, not so on a cluster.
    wide = [replace(job, threads=2) for job in (*first, last)]
    assert wall_seconds(plan_of(*wide, slots=2), seconds) == 35.0
    assert wall_seconds(plan_of(*wide, slots=2, is_local=False), seconds) == 25.0
    assert wall_seconds(plan_of(last), {}) == 0.0


@given(
    st.lists(st.tuples(st.integers(1, 20), st.sets(st.integers(0, 9))), max_size=10),
    st.integers(1, 4),
)
def test_wall_time_lies_between_its_bounds(
    drawn_jobs: list[tuple[int, set[int]]], slots: int
) -> None:
    jobs = [
        replace(OWED, needs=tuple(n for n in needs if n < place))
        for place, (_, needs) in enumerate(drawn_jobs)
    ]
    seconds: dict[int, float | None] = {i: float(s) for i, (s, _) in enumerate(drawn_jobs)}
    total = sum(s for s, _ in drawn_jobs)
    chain: list[float] = []
    for place, job in enumerate(jobs):
        chain.append(drawn_jobs[place][0] + max([0.0, *(chain[n] for n in job.needs)]))
    wall = wall_seconds(plan_of(*jobs, slots=slots), seconds)
    assert max([total / slots, *chain]) - 1e-6 <= wall <= total + 1e-6


# ---- how far -------------------------------------------------------------------------------------


@pytest.fixture
def unfinished(tmp_path: Path) -> Callable[..., PlannedJob]:
    """``unfinished(log, age_s=1, started_s=None)``: an owed job, its log written so long ago."""

    def make(text: str | None, age_s: float = 1.0, started_s: float | None = None) -> PlannedJob:
        log, tar = tmp_path / "job.log", tmp_path / "bat-0.tar"
        if text is not None:
            log.write_text(text)
            os.utime(log, (NOW - age_s, NOW - age_s))
        return replace(
            OWED,
            log=str(log),
            outputs=(str(tar),),
            reasons=replace(NONE, missing=(str(tar),), made_before=False),
            started=None if started_s is None else NOW - started_s,
        )

    return make


def test_a_running_job_tells_its_progress(unfinished: Callable[..., PlannedJob]) -> None:
    lines = "INFO generate bat-0: 20/400 images, 2.5 a second\n" * 3 + (
        "12:00:00 INFO generate bat-0: 300/400 images, 5.0 a second\n"
    )
    job = unfinished(lines, age_s=1, started_s=60)
    status = job_status(job, NOW)
    assert status.state == State.RUNNING
    assert (status.done, status.total, status.rate) == (300, 400, 5.0)
    assert run_status(plan_of(job), NOW).left_s == pytest.approx(20.0)
    assert run_status(plan_of(job), NOW).stages[0].items_per_s_now == 5.0


def test_a_job_that_says_nothing_for_long_is_silent_unless_a_batch_is_new(
    unfinished: Callable[..., PlannedJob],
) -> None:
    job = unfinished("loading\n", age_s=SILENT_S + 1, started_s=SILENT_S + 60)
    assert job_status(job, NOW).state == State.SILENT
    batch = Path(job.outputs[0]).parent / ".bat-0.tar.partial" / "f" / "000000.tar"
    batch.parent.mkdir(parents=True)
    batch.touch()
    os.utime(batch, (NOW - 1, NOW - 1))
    status = job_status(job, NOW)
    assert (status.state, status.batches) == (State.RUNNING, 1)


def test_a_submitted_job_whose_log_is_of_an_earlier_start_waits_in_the_queue(
    unfinished: Callable[..., PlannedJob],
) -> None:
    job = unfinished("error: of yesterday\n", age_s=1000, started_s=10)
    assert job_status(job, NOW).state == State.QUEUED
    assert job_status(replace(job, log="none"), NOW).state == State.QUEUED


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ("error: model x: no such folder", "error: model x: no such folder"),
        ("Traceback\n  File x\nValueError: y", "ValueError: y"),
        ("torch.OutOfMemoryError: CUDA", "torch.OutOfMemoryError: CUDA"),
        ("slurmstepd: error: *** CANCELLED", "slurmstepd: error: *** CANCELLED"),
        ("INFO generate: 2/4 images, 1.0 a second", None),
    ],
)
def test_a_job_without_results_failed_if_its_log_has_an_error(
    unfinished: Callable[..., PlannedJob], last: str, error: str | None
) -> None:
    job = unfinished(f"INFO begin\n{last}\nINFO end\n")
    status = job_status(job, NOW)
    assert status.state == (State.FAILED if error else State.STOPPED)
    assert status.error == error
    # It failed before, too, or its profile keeps what failed jobs leave.
    again = replace(job, reasons=replace(NONE, missing=job.outputs))
    kept = replace(job, started=NOW - 5)
    if error:
        assert {job_status(other, NOW).state for other in (again, kept)} == {State.FAILED}
    text = status_text(plan_of(job), run_status(plan_of(job), NOW))
    assert (f"{job.log}: {error}" in text) == bool(error)


def test_jobs_that_never_began_wait(unfinished: Callable[..., PlannedJob]) -> None:
    assert job_status(unfinished(None), NOW).state == State.WAITING
    # Its results were deleted: the log is of the run that made them.
    made = unfinished("INFO all went well\n")
    deleted = replace(made, reasons=replace(NONE, missing=made.outputs))
    assert job_status(deleted, NOW).state == State.WAITING


def test_status_counts_each_job_once_and_gives_the_recorded_rate(
    drawn: Callable[..., PlannedJob],
) -> None:
    plan = plan_of(drawn("a-0", 10, seconds=20.0), drawn("b-0", 30), drawn("c-0", 10))
    status = run_status(plan, NOW)
    (stage,) = status.stages
    assert stage.counts == {State.DONE: 1, State.WAITING: 2}
    assert stage.items_per_s == pytest.approx(0.5)
    assert stage.core_s_left == pytest.approx(80.0)
    assert "1 of 3 jobs are done." in status_text(plan, status)


# ---- the rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", ["8.30.0", "9.2.0", "10.0.0"])
def test_a_snakemake_that_was_not_tried_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(planning, "version", lambda _: found)
    with pytest.raises(CapsynthError, match=rf"this one is {found}; install"):
        read_plan([])


def test_an_option_that_snakemake_does_not_know_is_told_in_its_words() -> None:
    with pytest.raises(CapsynthError, match="unrecognized arguments: --no-such-option"):
        read_plan(["--no-such-option"])


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [
        ({}, 0),
        ({"gpu": 2}, 2),
        ({"gres": "gpu:1"}, 1),
        ({"gres": "gpu:a100:4"}, 4),
        ({"gpu": 0}, 0),
    ],
)
def test_gpus_are_read_from_either_way_of_asking(resources: dict[str, object], gpus: int) -> None:
    assert gpus_of(resources) == gpus


def test_figures_are_written_as_people_do() -> None:
    assert [duration(s) for s in (3, 89, 600, 7260)] == ["3 s", "89 s", "10 min", "2 h 1 min"]
    assert [size(n) for n in (0, 999, 1500, 25e6, 2e13)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "25 MB",
        "20.0 TB",
    ]
    assert [hours(s) for s in (0, 36, 3600, 360000)] == ["0", "0.01", "1.0", "100.0"]
    assert table(("a", "n"), [("long", "1"), ("b", "20")]) == ["a      n", "long   1", "b     20"]
