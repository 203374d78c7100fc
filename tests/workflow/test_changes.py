"""What changed, and what runs because of it: exactly the jobs that depend on the change.

Each test is a row of the table in docs/partial-reruns.md, and the other way round.
"""

import copy
import csv
import hashlib
import itertools
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SHARDS = ("car-0", "bat-0")
EVAL_SETS = ("openmoji-val", "openmoji-c")
SEEDS = ("0", "1")


def runs(*training_sets: str, seeds: tuple[str, ...] = SEEDS) -> set[str]:
    """The trainings and evaluations of training sets."""
    return {f"train_classifier({t}, tiny, {s})" for t in training_sets for s in seeds} | evals(
        *training_sets, seeds=seeds
    )


def evals(*training_sets: str, seeds: tuple[str, ...] = SEEDS) -> set[str]:
    """The evaluations of training sets, a job each on all evaluation sets."""
    every = itertools.product(training_sets, seeds)
    return {f"evaluate_classifier({t}, tiny, {s})" for t, s in every}


def without_report(jobs: set[str]) -> set[str]:
    """Leave out the jobs that measure, and make tables and figures: they follow from any change."""
    follows = ("collect_", "compare_", "extract_features", "judge_images")
    return {job for job in jobs if not job.startswith((*follows, "make_", "measure_", "plot_"))}


def changed(experiment: Any, **changes: Any) -> dict[str, Any]:
    """A copy of the configuration with values at dotted keys replaced."""
    config = copy.deepcopy(experiment.config)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = config
        for name in parents:
            place = place[name.replace("_", "-") if name.replace("_", "-") in place else name]
        place[last] = value
    experiment.write_config(config)
    return config


def source_image(experiment: Any, class_id: str = "bat", index: int = 1) -> Path:
    return experiment.folder / f"results/openmoji/source/{class_id}/{class_id}_{index:06d}.png"


def shards(rule: str, name: str, shards: tuple[str, ...] = SHARDS) -> set[str]:
    """The jobs of a rule for a captioner or variant."""
    return {f"{rule}({name}, {shard})" for shard in shards}


def drawn(*variants: str, shards_: tuple[str, ...] = SHARDS) -> set[str]:
    """The drawings of variants."""
    return set().union(*(shards("generate_images", variant, shards_) for variant in variants))


def test_each_row_of_the_documented_table_is_a_test_and_each_test_a_row(repository: Path) -> None:
    text = (repository / "docs" / "partial-reruns.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\| `(test_\w+)` \|$", text, flags=re.MULTILINE)
    about_the_table = test_each_row_of_the_documented_table_is_a_test_and_each_test_a_row.__name__
    tests = [name for name in globals() if name.startswith("test_") and name != about_the_table]
    assert sorted(rows) == sorted(tests)


def test_a_finished_experiment_owes_nothing(experiment: Any) -> None:
    assert experiment.owed() == set()


BAT_CHANGED = {
    "pack_real(bat-0)",
    "caption_images(tiny, bat-0)",
    "write_prompts(caption, bat-0)",
    "generate_images(caption, bat-0)",
} | runs("real", "real+caption")


def test_an_added_image_reruns_its_class_and_what_is_trained_on_it(experiment: Any) -> None:
    image = source_image(experiment)
    shutil.copy(image, image.with_name("new.png"))
    assert without_report(experiment.owed()) == BAT_CHANGED


def test_a_removed_image_reruns_its_class_and_what_is_trained_on_it(experiment: Any) -> None:
    source_image(experiment).unlink()
    assert without_report(experiment.owed()) == BAT_CHANGED


def test_an_image_replaced_by_equal_bytes_reruns_nothing(experiment: Any) -> None:
    image = source_image(experiment)
    shutil.copyfile(image, image.with_name("copy"))
    os.replace(image.with_name("copy"), image)
    assert experiment.owed() == set()


def test_a_truncated_image_is_set_aside_and_only_its_class_runs(experiment: Any) -> None:
    image = source_image(experiment)
    image.write_bytes(image.read_bytes()[:-40])
    assert without_report(experiment.owed()) == BAT_CHANGED
    before = contents(experiment.folder)
    ran = experiment.run()
    assert without_report(ran) == BAT_CHANGED
    check_only_these_were_written(experiment, before, ran)
    results = experiment.folder / "results" / "openmoji"
    packed = read_rows(results / "real" / "bat-0.jsonl")
    captions = read_rows(results / "captions" / "tiny" / "bat-0.jsonl")
    prompts = read_rows(results / "prompts" / "caption" / "bat-0.jsonl")
    images = read_rows(results / "images" / "caption" / "bat-0.jsonl")
    assert [row["key"] for row in packed if row["status"] != "ok"] == ["bat_000001"]
    assert "bat_000001.png" in next(row["reason"] for row in packed if "reason" in row)
    assert (len(packed), len(captions)) == (4, 3)
    assert len(images) == len(prompts)
    assert {row["source_key"] for row in images} == {row["key"] for row in captions}
    assert experiment.owed() == set()


def test_an_altered_image_runs_its_class_and_leaves_all_else_as_it_was(experiment: Any) -> None:
    source_image(experiment, index=1).write_bytes(source_image(experiment, index=2).read_bytes())
    assert without_report(experiment.owed()) == BAT_CHANGED
    before = contents(experiment.folder)
    ran = experiment.run()
    assert without_report(ran) == BAT_CHANGED
    check_only_these_were_written(experiment, before, ran)
    assert experiment.owed() == set()


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    """Time of change and checksum of every file below results, by path."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in (folder / "results").rglob("*")
        if path.is_file()
    }


def check_only_these_were_written(
    experiment: Any, before: dict[str, tuple[int, str]], jobs: set[str]
) -> None:
    """Check that the files that a run wrote are those of its jobs, in time and content."""
    after = contents(experiment.folder)
    written = {path for path in before | after if before.get(path) != after.get(path)}
    shard_files = {
        "results/openmoji/real/bat-0.tar",
        "results/openmoji/real/bat-0.jsonl",
        "results/openmoji/real/.bat-0.sources.json",
        "results/openmoji/captions/tiny/bat-0.jsonl",
        "results/openmoji/prompts/caption/bat-0.jsonl",
        "results/openmoji/images/caption/bat-0.tar",
        "results/openmoji/images/caption/bat-0.jsonl",
    }
    trained = ("real", "real+caption")
    of_runs = tuple(
        f"results/openmoji/{kind}/{training_set}/tiny/"
        for kind in ("checkpoints", "predictions")
        for training_set in trained
    )
    of_report = (
        "results/benchmarks/",
        "results/calibration.csv",
        "results/reliability.csv",
        "results/convergence.csv",
        "results/learning-curves.csv",
        "results/robustness.csv",
        "results/robustness-lines.csv",
        "results/costs.csv",
        "results/features/tiny/openmoji/images/caption/bat-0.parquet",
        "results/features/tiny/openmoji/real/bat-0.parquet",
        "results/fidelity.csv",
        "results/label-quality.csv",
        "results/openmoji/judgements/",
        "results/prompts.csv",
        "results/report/",
        "results/scores.csv",
        "results/budgets.csv",
        "results/confusions.csv",
        "results/provenance/",
    )
    rest = {path for path in written if not path.startswith((*of_runs, *of_report))}
    assert rest == shard_files
    benchmarks = {path for path in written if path.startswith("results/benchmarks/")}
    assert len(benchmarks) == len(jobs)


@pytest.mark.parametrize("times", ["in order", "in reverse"])
def test_a_restored_backup_with_other_times_reruns_nothing(experiment: Any, times: str) -> None:
    give_other_times(experiment.folder / "results", times == "in reverse")
    assert experiment.owed() == set()


def test_results_without_snakemakes_records_count_as_made_by_the_present_config(
    experiment: Any,
) -> None:
    shutil.rmtree(experiment.folder / ".snakemake")
    changed(experiment, variants__caption__template="{caption}, a {class_name}")
    assert experiment.owed() == set()


def test_results_with_other_times_and_no_records_run_until_they_are_touched(
    experiment: Any,
) -> None:
    shutil.rmtree(experiment.folder / ".snakemake")
    give_other_times(experiment.folder / "results", reverse=True)
    assert {"train_classifier(real, tiny, 0)", "pack_real(bat-0)"} <= experiment.owed()
    done = experiment.snakemake("--touch", "--forceall")
    assert done.returncode == 0, done.stderr
    assert experiment.owed() == set()
    changed(experiment, variants__caption__template="{caption}, a {class_name}")
    assert "write_prompts(caption, bat-0)" in experiment.owed()


def give_other_times(folder: Path, reverse: bool) -> None:
    files = sorted((path for path in folder.rglob("*") if path.is_file()), reverse=reverse)
    for number, path in enumerate(files):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))


TRAINING_SETS = ("real", "class-name", "real+caption")
EVAL_SETS_DRAWN = {
    f"{rule}({eval_set})" for rule in ("render_eval_set", "pack_eval_set") for eval_set in EVAL_SETS
}


def shard_jobs(*shards_: str) -> set[str]:
    """All jobs of shards."""
    return (
        {f"pack_real({shard})" for shard in shards_}
        | shards("caption_images", "tiny", shards_)
        | shards("write_prompts", "caption", shards_)
        | shards("write_prompts", "class-name", shards_)
        | drawn("caption", "class-name", shards_=shards_)
    )


def owed_with_classes(experiment: Any, *class_ids: str) -> set[str]:
    """The jobs that are owed with other classes; the gallery shows what there is."""
    config = copy.deepcopy(experiment.config)
    config["dataset"]["classes"] = list(class_ids)
    config["report"]["gallery"]["ambiguous"] = []
    experiment.write_config(config)
    return without_report(experiment.owed())


def test_a_class_at_the_end_runs_its_own_shards_and_all_that_reads_all_classes(
    experiment: Any,
) -> None:
    assert owed_with_classes(experiment, "car", "bat", "dog") == (
        {"render_openmoji(dog)"} | shard_jobs("dog-0") | EVAL_SETS_DRAWN | runs(*TRAINING_SETS)
    )


def test_a_class_taken_from_the_end_leaves_the_shards_of_others_alone(experiment: Any) -> None:
    # A data set has two classes at least: another one comes.
    assert owed_with_classes(experiment, "car", "dog") == (
        {"render_openmoji(dog)"} | shard_jobs("dog-0") | EVAL_SETS_DRAWN | runs(*TRAINING_SETS)
    )


def test_a_class_taken_from_the_front_gives_those_behind_it_other_numbers(
    experiment: Any,
) -> None:
    assert owed_with_classes(experiment, "bat", "dog") == (
        {"render_openmoji(dog)"}
        | shard_jobs("bat-0", "dog-0")
        | EVAL_SETS_DRAWN
        | runs(*TRAINING_SETS)
    )


def test_an_edited_caption_reruns_its_prompts_and_images(experiment: Any) -> None:
    captions = experiment.folder / "results/openmoji/captions/tiny/bat-0.jsonl"
    captions.write_text(captions.read_text().replace('"caption": "', '"caption": "a red '))
    assert without_report(experiment.owed()) == {
        "write_prompts(caption, bat-0)",
        "generate_images(caption, bat-0)",
    } | runs("real+caption")


def test_a_prompt_template_reruns_its_variant(experiment: Any) -> None:
    changed(experiment, variants__caption__template="{caption}, a {class_name}")
    assert without_report(experiment.owed()) == {
        f"{rule}(caption, {shard})"
        for rule in ("write_prompts", "generate_images")
        for shard in SHARDS
    } | runs("real+caption")


@pytest.mark.parametrize(
    ("key", "value"), [("guidance_scale", 5.0), ("scheduler", "DDIMScheduler")]
)
def test_the_guidance_or_the_sampler_of_one_variant_reruns_its_images(
    experiment: Any, key: str, value: object
) -> None:
    changed(experiment, **{f"variants__class_name__{key}": value})
    assert without_report(experiment.owed()) == {
        f"generate_images(class-name, {shard})" for shard in SHARDS
    } | runs("class-name")


def test_two_recipe_values_that_change_places_rerun_the_trainings(experiment: Any) -> None:
    recipe = experiment.config["recipes"]["tiny"]
    changed(
        experiment,
        recipes__tiny__learning_rate=recipe["weight_decay"],
        recipes__tiny__weight_decay=recipe["learning_rate"],
    )
    assert without_report(experiment.owed()) == runs("real", "class-name", "real+caption")


def test_a_new_seed_runs_only_its_own_trainings(experiment: Any) -> None:
    changed(experiment, training_seeds=[0, 1, 7])
    assert without_report(experiment.owed()) == runs(
        "real", "class-name", "real+caption", seeds=("7",)
    )


def test_a_new_variant_and_training_set_run_only_their_own_jobs(experiment: Any) -> None:
    config = copy.deepcopy(experiment.config)
    config["variants"]["caption-only"] = {
        "strategy": "caption-only",
        "captioner": "tiny",
        "generator": "tiny",
    }
    config["training_sets"]["caption-only"] = {"variants": ["caption-only"]}
    experiment.write_config(config)
    assert without_report(experiment.owed()) == {
        f"{rule}(caption-only, {shard})"
        for rule in ("write_prompts", "generate_images")
        for shard in SHARDS
    } | runs("caption-only")


def with_new_eval_set(experiment: Any) -> None:
    config = copy.deepcopy(experiment.config)
    config["eval_sets"]["openmoji-v2"] = {
        "source": "openmoji",
        "split": "v2",
        "images_per_class": 2,
    }
    experiment.write_config(config)


def prediction_files(experiment: Any, eval_set: str) -> list[Path]:
    folder = experiment.folder / "results/openmoji/predictions"
    return sorted(folder.glob(f"*/*/*/{eval_set}.parquet"))


def evaluated(experiment: Any) -> set[str]:
    """What the logs of evaluations say that they answered: sets and images."""
    logs = (experiment.folder / "logs/evaluate_classifier").rglob("*.log")
    pattern = r"evaluate on (\d+) sets: (\d+)/(\d+) images"
    return {" ".join(re.findall(pattern, log.read_text())[-1]) for log in logs}


def contents_of(files: list[Path]) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in files}


def test_a_new_evaluation_set_runs_only_its_own_jobs(experiment: Any) -> None:
    """One job a classifier, which answers the new set and takes over the answers to the others."""
    with_new_eval_set(experiment)
    its_own = {"render_eval_set(openmoji-v2)", "pack_eval_set(openmoji-v2)"}
    assert without_report(experiment.owed()) == its_own | evals(*TRAINING_SETS)
    kept = [file for name in EVAL_SETS for file in prediction_files(experiment, name)]
    before = contents_of(kept)
    experiment.run()
    # 2 classes of 2 images: of 4 + 4 images of the other sets none is seen.
    assert evaluated(experiment) == {"1 4 4"}
    assert contents_of(kept) == before
    assert len(prediction_files(experiment, "openmoji-v2")) == 6
    costs = (experiment.folder / "results/costs.csv").read_text()
    (images,) = {
        row["images"]
        for row in csv.DictReader(costs.splitlines())
        if row["stage"] == "evaluate_classifier" and row["name"] == "real"
    }
    # Two seeds: 8 images, 2 classes x 2 images x 2 corruptions x 2 severities, and 4 new ones.
    assert images == str(2 * (8 + 16 + 4))
    assert experiment.owed() == set()


def test_an_edited_evaluation_set_is_evaluated_alone(experiment: Any) -> None:
    changed(experiment, eval_sets__openmoji_val__images_per_class=3)
    its_own = {"render_eval_set(openmoji-val)", "pack_eval_set(openmoji-val)"}
    assert without_report(experiment.owed()) == its_own | evals(*TRAINING_SETS)
    kept = prediction_files(experiment, "openmoji-c")
    before = contents_of(kept)
    experiment.run()
    assert evaluated(experiment) == {"1 6 6"}
    assert contents_of(kept) == before


def test_an_evaluation_set_that_is_taken_off_reruns_no_evaluation(experiment: Any) -> None:
    config = copy.deepcopy(experiment.config)
    del config["eval_sets"]["openmoji-c"]
    experiment.write_config(config)
    assert without_report(experiment.owed()) == set()
    experiment.run()
    experiment.write_config(experiment.config)
    assert without_report(experiment.owed()) == set()  # its predictions are still there


CAPTIONS_ON = (
    shards("caption_images", "tiny")
    | shards("write_prompts", "caption")
    | drawn("caption")
    | runs("real+caption")
)
DRAWN_ON = drawn("caption", "class-name") | runs("class-name", "real+caption")
CODE = {
    "packing.py": {f"pack_real({shard})" for shard in SHARDS}
    | {f"pack_eval_set({eval_set})" for eval_set in EVAL_SETS}
    | CAPTIONS_ON
    | runs("real")
    | evals("class-name"),
    "captioning.py": CAPTIONS_ON,
    "rewriting.py": set(),
    "prompting.py": shards("write_prompts", "caption")
    | shards("write_prompts", "class-name")
    | DRAWN_ON,
    "generation.py": DRAWN_ON,
    "training.py": runs(*TRAINING_SETS),
    "evaluation.py": evals(*TRAINING_SETS),
    "reporting/score_tables.py": set(),
}


def edit_code(experiment: Any, module: str) -> None:
    path = experiment.folder / "workflow/scripts/capsynth" / module
    path.write_text(path.read_text() + "\nNEW = 1\n")


@pytest.mark.parametrize("module", CODE)
def test_code_of_a_stage_reruns_that_stage_and_what_follows(experiment: Any, module: str) -> None:
    edit_code(experiment, module)
    owed = experiment.owed()
    assert without_report(owed) == CODE[module]
    if module == "reporting/score_tables.py":
        assert owed == {"make_tables"}


def test_code_that_a_profile_shields_reruns_nothing_until_it_is_forced(experiment: Any) -> None:
    edit_code(experiment, "generation.py")
    shield = ("--consider-ancient", "generate_images=code")
    assert experiment.owed(*shield) == set()
    assert without_report(experiment.owed(*shield, "--forcerun", "generate_images")) == DRAWN_ON


def test_other_threads_or_memory_rerun_nothing(experiment: Any) -> None:
    more = ("--set-resources", "generate_images:mem_mb=9000", "--set-threads", "train_classifier=2")
    assert experiment.owed(*more) == set()
    resources = experiment.folder / "workflow/rules/common/resources.smk"
    text = resources.read_text()
    resources.write_text(text.replace("LIBRARIES_MB = ", "LIBRARIES_MB = 1000 + "))
    assert resources.read_text() != text
    assert experiment.owed() == set()


def test_a_new_recipe_runs_only_its_own_trainings(experiment: Any) -> None:
    config = copy.deepcopy(experiment.config)
    config["recipes"]["longer"] = {**config["recipes"]["tiny"], "epochs": 3}
    experiment.write_config(config)
    own = {job.replace(", tiny,", ", longer,") for job in runs(*TRAINING_SETS)}
    assert without_report(experiment.owed()) == own


def test_a_comment_or_the_order_of_keys_in_the_config_reruns_nothing(experiment: Any) -> None:
    config = experiment.folder / "config.yaml"
    config.write_text("# a remark\n" + config.read_text())
    assert experiment.owed() == set()
    turned = copy.deepcopy(experiment.config)
    turned["recipes"]["tiny"] = dict(reversed(turned["recipes"]["tiny"].items()))
    experiment.write_config(turned)
    assert experiment.owed() == set()


def test_deleted_scores_are_collected_again_from_what_is_there(experiment: Any) -> None:
    (experiment.folder / "results/scores.csv").unlink()
    owed = experiment.owed()
    assert "collect_scores" in owed
    assert without_report(owed) == set()


def test_a_deleted_shard_is_made_again_when_it_is_asked_for(experiment: Any) -> None:
    tar = "results/openmoji/images/class-name/bat-0.tar"
    (experiment.folder / tar).unlink()
    assert experiment.owed() == set()  # what was made from it is there
    assert experiment.owed(tar) == {"generate_images(class-name, bat-0)"}


def test_the_context_bias_reruns_what_is_drawn_and_all_that_follows(experiment: Any) -> None:
    changed(experiment, dataset__context_bias=0.9)
    owed = experiment.owed()
    assert {"render_openmoji(bat)", "render_openmoji(car)"} <= owed
    assert {"render_eval_set(openmoji-val)", "render_eval_set(openmoji-c)"} <= owed
    assert not {job for job in owed if job.startswith("generate_images(class-name")}


def test_the_models_weights_are_part_of_what_depends_on_them(experiment: Any) -> None:
    (weights,) = (experiment.folder / "models/tiny-generator/unet").glob("*.safetensors")
    times = weights.stat()
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert without_report(experiment.owed()) == {
        f"generate_images({variant}, {shard})"
        for variant in ("class-name", "caption")
        for shard in SHARDS
    } | runs("class-name", "real+caption")


def test_models_that_were_moved_rerun_nothing(experiment: Any) -> None:
    (experiment.folder / "models").rename(experiment.folder / "elsewhere")
    config = copy.deepcopy(experiment.config)
    for section in ("captioners", "generators", "feature_extractors"):
        for entry in config[section].values():
            entry["model"] = entry["model"].replace("models/", "elsewhere/")
    experiment.write_config(config)
    assert experiment.owed() == set()
