"""Whatever a job meets or is killed by: started again it ends in the undisturbed bytes.

CAPSYNTH_FAULT_TRIALS is how many faults and how many kills are tried, CAPSYNTH_DAMAGE_TRIALS how
many damaged inputs, CAPSYNTH_FAULT_SEED what they are drawn from, CAPSYNTH_FAULT_ONLY the numbers
of the trials that are to be looked into, and CAPSYNTH_FAULT_TABLE a file to which the tables of
outcomes are added.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkouts import copy_models, copy_parts
from damaged_inputs import DamageTrials, sample
from faults import (
    AT_MOMENT,
    AT_WRITE,
    IO_KINDS,
    RUN_AT_MOMENT,
    RUN_FAULT,
    FaultyIO,
    Trials,
    finish,
    table,
    warm_server,
)
from language_models import build_language_model

TRIALS = int(os.environ.get("CAPSYNTH_FAULT_TRIALS", "24"))
DAMAGE_TRIALS = int(os.environ.get("CAPSYNTH_DAMAGE_TRIALS", "12"))
SEED = int(os.environ.get("CAPSYNTH_FAULT_SEED", "1"))
ONLY = [int(number) for number in os.environ.get("CAPSYNTH_FAULT_ONLY", "").split(",") if number]
TABLE = os.environ.get("CAPSYNTH_FAULT_TABLE")
# Rules of which no trial is made, and why.
NOT_TRIED = {
    **dict.fromkeys(["render_openmoji", "render_eval_set"], "read nothing"),
    "index_source": "reads what is the user's",
    **dict.fromkeys(["download_data", "download_dataset", "download_model"], "read no result"),
    **dict.fromkeys(["all", "export", "features", "prefetch"], "are no jobs"),
    **dict.fromkeys(["changed", "estimate", "status", "verify"], "only look"),
    **dict.fromkeys(
        ["plot_curves", "plot_scaling", "plot_guidance"],
        "read what other plots read, of larger experiments",
    ),
}
WHY_NOT = FaultyIO.why_unavailable()

pytestmark = [pytest.mark.slow, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


@pytest.fixture(scope="module")
def trials(
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_captioner: Path,
    tiny_generator: Path,
) -> Iterator[DamageTrials]:
    place = tmp_path_factory.mktemp("faults").resolve()
    rewriter = build_language_model(place / "rewriter", "llama")
    whole, tars = place / "whole", place / "tars"
    for folder, config in ((whole, "every-stage"), (tars, "tars")):
        copy_parts(repository, folder)
        shutil.copy(repository / "tests" / "configs" / f"{config}.yaml", folder / "config.yaml")
        copy_models(
            folder,
            tiny_captioner=tiny_captioner,
            tiny_generator=tiny_generator,
            tiny_rewriter=rewriter,
        )
    with warm_server(whole, FaultyIO(place).library) as environment:
        done = finish(whole, environment, "all", "export")
        (tars / "tars").mkdir()
        for shard in (whole / "results/openmoji/real").glob("*.tar"):
            shutil.copy(shard, tars / "tars")
        indexed = finish(tars, environment, "results/photos/real/car-0.tar")
        yield DamageTrials([done, indexed], place / "trials", environment, SEED)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """``tell(text)`` shows a text although the test succeeds."""

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", flush=True)
        if TABLE:
            with open(TABLE, "a", encoding="utf-8") as file:
                file.write(f"{text}\n\n")

    return tell


def rules_of(repository: Path) -> set[str]:
    """Return the names of all rules of the workflow."""
    files = [repository / "Snakefile", *(repository / "workflow" / "rules").glob("*.smk")]
    heads = re.compile(r"^(?:rule|use rule \w+ as) (\w+)(?: with)?:$", re.M)
    return {name for file in files for name in heads.findall(file.read_text(encoding="utf-8"))}


@pytest.mark.parametrize(
    ("kinds", "whole"),
    [(IO_KINDS, [RUN_FAULT]), ((AT_WRITE, AT_MOMENT), [RUN_AT_MOMENT])],
    ids=["faults", "kills"],
)
def test_every_stage_survives(
    kinds: tuple[str, ...], whole: list[str], trials: Trials, tell: Callable[[str], None]
) -> None:
    began = time.monotonic()
    outcomes = trials.run(TRIALS, kinds, whole, ONLY)
    missed = sum(outcome.end == "missed" for outcome in outcomes)
    tell(
        f"seed {SEED}, {len(outcomes) - missed} trials in {time.monotonic() - began:.0f} s "
        f"({missed} more missed their job); trials (unnoticed/resumed):\n\n{table(outcomes)}"
    )
    problems = [
        f"trial {outcome.number}: {outcome.stage}, {outcome.kind}, {outcome.what}: {problem}"
        for outcome in outcomes
        for problem in outcome.problems
    ]
    assert not problems, "\n".join(problems)
    assert ONLY or len(outcomes) - missed >= TRIALS


def test_a_damaged_input_is_refused_by_its_name_or_changes_no_byte(
    trials: DamageTrials, repository: Path, tell: Callable[[str], None]
) -> None:
    cases = trials.cases()
    tried = {case.job.rule for case in cases}
    assert tried.isdisjoint(NOT_TRIED)
    assert tried | NOT_TRIED.keys() == rules_of(repository)
    began = time.monotonic()
    chosen = sample(cases, DAMAGE_TRIALS)
    outcomes = []
    for number, (case, damage) in enumerate(chosen):
        outcome = trials.damage(case, damage, number) if not ONLY or number in ONLY else None
        if outcome is not None:
            outcomes.append(outcome)
    refused = sum(outcome.end == "refused" for outcome in outcomes)
    tell(
        f"seed {SEED}, {len(outcomes)} damaged inputs of {len(cases)} kinds in "
        f"{time.monotonic() - began:.0f} s: {refused} refused, the rest without effect"
    )
    problems = [
        f"trial {outcome.number}: {outcome.stage}, {outcome.kind}, {outcome.what}: {problem}"
        for outcome in outcomes
        for problem in outcome.problems
    ]
    assert not problems, "\n".join(problems)
