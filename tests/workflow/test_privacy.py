"""Privacy is measured of what the configuration names, and follows what it depends on."""

import copy
import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import plan

from capsynth.files import read_json
from capsynth.privacy.references import reference_seed

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "tiny.yaml"
# Two seeds; captions have a twin, and one training set two reference models.
PRIVACY = {
    "training_sets": ["class-name", "real+caption"],
    "reference_models": 2,
    "reference_training_sets": ["real+caption"],
    "twins": {"caption": "caption-twin"},
    "leakage": ["caption"],
}
TWIN = {
    "strategy": "caption",
    "captioner": "tiny",
    "generator": "tiny",
    "seed": 9,
    "max_fallback": 1,  # the tiny captioner says nothing
}


def with_privacy(config: dict[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(config)
    config["variants"]["caption-twin"] = TWIN
    config["privacy"] = PRIVACY
    return config


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def jobs_of(folder: Path, config: dict[str, Any]) -> Counter[str]:
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return Counter(job.rule for job in plan(folder, folder / "config.yaml"))


def test_by_default_every_training_set_is_attacked_without_reference_models(
    checkout: Callable[[], Path],
) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    folder = checkout()
    off = jobs_of(folder, config)
    del config["privacy"]
    jobs = jobs_of(folder, config)
    extra = {rule: jobs[rule] - off[rule] for rule in jobs if jobs[rule] != off[rule]}
    assert extra == {
        "score_members": 3 * 2,  # training sets and seeds
        "attack_membership": 3,
        "collect_privacy": 1,
        "make_privacy_table": 1,
        "plot_roc": 1,
        "measure_leakage": 1,
        "make_leakage_table": 1,
    }


def test_without_a_feature_extractor_leakage_is_measured_of_pixels(
    checkout: Callable[[], Path],
) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    del config["privacy"], config["feature_extractors"]
    jobs = jobs_of(checkout(), config)
    assert (jobs["extract_features"], jobs["measure_leakage"]) == (0, 1)


def test_models_are_asked_about_the_classes_of_the_held_out_set(
    checkout: Callable[[], Path],
) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    config["privacy"] = {"training_sets": ["class-name"], "leakage": []}
    config["eval_sets"]["openmoji-val"]["classes"] = ["bat"]
    folder = checkout()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    scored = [j for j in plan(folder, folder / "config.yaml") if j.rule == "score_members"]
    for job in scored:
        tars = [path for path in job.inputs if path.endswith(".tar")]
        assert tars == ["results/openmoji/real/bat-0.tar"]
        assert "--class-ids bat" in job.command


@pytest.mark.slow
def test_attacks_and_leakage_are_made_once_and_follow_what_they_depend_on(experiment: Any) -> None:
    config = with_privacy(experiment.config)
    experiment.write_config(config)
    models = {"real+caption, tiny, 0", "real+caption, tiny, 1"}
    owed = experiment.owed()
    assert {job for job in owed if job.startswith("train_")} == {
        f"train_reference({model})" for model in models
    }
    made = experiment.run()
    assert made == owed
    assert experiment.owed() == set()
    results = experiment.folder / "results"
    for half in (0, 1):
        history = read_json(results / f"openmoji/references/real+caption/tiny/half{half}.json")
        whole = read_json(results / "openmoji/checkpoints/real+caption/tiny/seed0.json")
        assert (history["half"], history["seed"]) == (half, reference_seed(half))
        assert history["steps"] == whole["steps"]
        assert history["images"] < whole["images"]
    rows = table(results / "privacy.csv")
    found = Counter((row["training_set"], row["member_definition"]) for row in rows)
    assert set(found) == {
        ("class-name", "real"),
        *(("real+caption", d) for d in ("real", "synthetic", "real-half", "synthetic-half")),
    }
    lira = [r for r in rows if r["attack"] == "lira-offline" and r["metric"] == "auc"]
    assert {r["member_definition"] for r in lira} == {"real", "synthetic"}
    assert all(0.0 <= float(r["value"]) <= 1.0 and r["seeds"] == "2" for r in lira)
    leakage = table(results / "leakage.csv")
    assert {row["variant"] for row in leakage} == {"real", "caption"}
    assert {row["space"] for row in leakage} == {"tiny", "hash", "pixels"}
    for name in ("tables/privacy", "tables/leakage"):
        for suffix in ("html", "csv", "md", "tex"):
            assert (results / f"report/{name}.{suffix}").stat().st_size > 0
    for definition in ("real", "synthetic", "real-half", "synthetic-half"):
        assert (results / f"report/roc-{definition}.svg").exists()
    # Two models more: what is there stays, and only what they are attacked with is new.
    more = copy.deepcopy(config)
    more["privacy"]["reference_models"] = 4
    experiment.write_config(more)
    assert {j for j in experiment.owed() if j.startswith(("train_", "score_"))} == {
        f"train_reference(real+caption, tiny, {half})" for half in (2, 3)
    } | {
        f"score_references(real+caption, tiny, {half}, {images})"
        for half in (2, 3)
        for images in ("real", "images/caption", "images/caption-twin", "eval_sets/openmoji-val")
    }
