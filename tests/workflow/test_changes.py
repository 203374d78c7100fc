"""What changed, and what runs because of it: exactly the jobs that depend on the change."""

import copy
import itertools
import os
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


def evals(
    *training_sets: str, seeds: tuple[str, ...] = SEEDS, eval_sets: tuple[str, ...] = EVAL_SETS
) -> set[str]:
    """The evaluations of training sets."""
    every = itertools.product(training_sets, seeds, eval_sets)
    return {f"evaluate_classifier({t}, tiny, {s}, {e})" for t, s, e in every}


def without_report(jobs: set[str]) -> set[str]:
    """Leave out the jobs that make tables and figures: they follow from any new score."""
    return {job for job in jobs if not job.startswith(("make_tables", "plot_", "collect_scores"))}


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


def test_an_image_with_other_bytes_reruns_its_class(experiment: Any) -> None:
    source_image(experiment, index=1).write_bytes(source_image(experiment, index=2).read_bytes())
    assert without_report(experiment.owed()) == BAT_CHANGED


def test_an_image_replaced_by_equal_bytes_reruns_nothing(experiment: Any) -> None:
    image = source_image(experiment)
    shutil.copyfile(image, image.with_name("copy"))
    os.replace(image.with_name("copy"), image)
    assert experiment.owed() == set()


def test_a_restored_backup_with_other_times_reruns_nothing(experiment: Any) -> None:
    for number, path in enumerate(sorted((experiment.folder / "results").rglob("*"))):
        if path.is_file():
            os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
    assert experiment.owed() == set()


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


def test_a_new_evaluation_set_runs_only_its_own_jobs(experiment: Any) -> None:
    config = copy.deepcopy(experiment.config)
    config["eval_sets"]["openmoji-v2"] = {
        "source": "openmoji",
        "split": "v2",
        "images_per_class": 2,
    }
    experiment.write_config(config)
    assert without_report(experiment.owed()) == {
        "render_eval_set(openmoji-v2)",
        "pack_eval_set(openmoji-v2)",
    } | evals("real", "class-name", "real+caption", eval_sets=("openmoji-v2",))


def test_library_code_of_one_stage_reruns_that_stage_and_what_follows(experiment: Any) -> None:
    module = experiment.folder / "workflow/scripts/capsynth/captioning.py"
    module.write_text(module.read_text() + "\nNEW = 1\n")
    owed = without_report(experiment.owed())
    assert owed == {
        f"{job}{shard})"
        for job in (
            "caption_images(tiny, ",
            "write_prompts(caption, ",
            "generate_images(caption, ",
        )
        for shard in SHARDS
    } | runs("real+caption")


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
    sums = experiment.folder / "models/tiny-generator/SHA256SUMS"
    sums.write_text("other weights\n")
    assert without_report(experiment.owed()) == {
        f"generate_images({variant}, {shard})"
        for variant in ("class-name", "caption")
        for shard in SHARDS
    } | runs("class-name", "real+caption")


def test_other_needs_of_jobs_rerun_nothing(experiment: Any) -> None:
    resources = experiment.folder / "workflow/rules/common/resources.smk"
    more = resources.read_text().replace("LIBRARIES_MB = ", "LIBRARIES_MB = 1000 + ")
    assert more != resources.read_text()
    resources.write_text(more)
    assert experiment.owed() == set()
    assert experiment.owed("--set-resources", "generate_images:runtime=7") == set()
