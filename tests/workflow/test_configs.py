"""Every configuration that is shipped: the jobs of a run with stand-ins for data and models."""

import functools
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import PlannedJob, plan

from capsynth.datasets.imagenet import subset

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted(path for path in ROOT.glob("config/imagenet*.yaml"))
ABLATIONS = sorted(ROOT.glob("config/ablations/*.yaml"))


def merged(*paths: Path) -> dict[str, Any]:
    """Merge configuration files as Snakemake does: mappings key by key, the rest replaced."""

    def over(base: Any, top: Any) -> Any:
        if not (isinstance(base, dict) and isinstance(top, dict)):
            return top
        return {**base, **{key: over(base.get(key), value) for key, value in top.items()}}

    config: Any = {}
    for path in paths:
        config = over(config, yaml.safe_load(path.read_text(encoding="utf-8")))
    return config


def stand_in(folder: Path) -> None:
    """Put a folder with one file for every class where the configurations look for ImageNet."""
    for place, class_id in itertools.product(
        ("imagenet/train", "imagenet/val"), subset("imagenet-1k")
    ):
        image = folder / "data" / place / class_id / "a.JPEG"
        image.parent.mkdir(parents=True)
        image.touch()


@pytest.fixture(scope="module")
def imagenet_checkout(checkout: Callable[[], Path]) -> Path:
    """A checkout with stand-ins for all that is fetched by hand."""
    folder = checkout()
    stand_in(folder)
    return folder


@pytest.fixture(scope="module")
def planned(imagenet_checkout: Path) -> Callable[..., set[PlannedJob]]:
    """``planned(*paths)`` is what the configuration plans, found out once."""
    return functools.cache(lambda *paths: plan(imagenet_checkout, *paths))


def expected(config: dict[str, Any]) -> Counter[str]:
    """What the configuration asks for, counted without the workflow."""
    classes = len(subset(config["dataset"]["classes"]))
    variants = config["variants"].values()
    used = {variant["captioner"] for variant in variants if "captioner" in variant}
    rewriters = {name: r for name, r in config.get("rewriters", {}).items() if name in used}
    captioners = (used - set(rewriters)) | {r["captioner"] for r in rewriters.values()}
    models = {config["captioners"][name]["model"] for name in captioners}
    models |= {rewriter["model"] for rewriter in rewriters.values()}
    models |= {config["generators"][variant["generator"]]["model"] for variant in variants}
    extractors = config.get("feature_extractors", {}) if config["variants"] else {}
    models |= {e["model"] for e in extractors.values() if "random_weights" not in e}
    entries = [config["dataset"], *config["eval_sets"].values()]
    downloads = [entry.get("download", []) for entry in entries]
    names = {n for d in downloads for n in ([d] if isinstance(d, str) else d)}
    mixes = config["training_sets"].values()
    used_variants = {name for mix in mixes for name in mix.get("variants", [])}
    with_captions = {v for v in used_variants if "captioner" in config["variants"][v]}
    leaking = config.get("privacy", {}).get("leakage", with_captions)
    alone = [mix for mix in mixes if mix.get("real") == 1 and not mix.get("variants")][:1]
    judges = [*itertools.product(alone, config["recipes"], config["training_seeds"])]
    runs = len(config["training_sets"]) * len(config["recipes"]) * len(config["training_seeds"])
    return Counter(
        {
            "pack_real": classes,
            "caption_images": classes * len(captioners),
            "rewrite_captions": classes * len(rewriters),
            "write_prompts": classes * len(variants),
            "generate_images": classes * len(variants),
            "pack_eval_set": len(config["eval_sets"]),
            "train_classifier": runs,
            "evaluate_classifier": runs,
            "score_members": runs,
            "attack_membership": len(config["training_sets"]) * len(config["recipes"]),
            "measure_leakage": int(bool(leaking)),
            "judge_images": len(judges) * len(used_variants),
            # Real images, those of variants, and what both are measured against.
            "extract_features": len(extractors) * (classes * (1 + len(used_variants)) + 1),
            "collect_scores": 1,
            "download_model": len(models),
            "download_data": len(names),
        }
    )


CASES = [(path,) for path in EXPERIMENTS] + [
    (ROOT / "config/imagenette.yaml", path) for path in ABLATIONS
]


@pytest.mark.slow
@pytest.mark.parametrize("paths", CASES, ids=lambda paths: "+".join(p.stem for p in paths))
def test_a_run_has_exactly_the_jobs_that_its_configuration_asks_for(
    planned: Callable[..., set[PlannedJob]], paths: tuple[Path, ...]
) -> None:
    config = merged(*paths)
    jobs = Counter(job.rule for job in planned(*paths))
    wanted = expected(config)
    assert {rule: jobs[rule] for rule in wanted} == dict(wanted)
    report = {"make_tables", "plot_robustness", "plot_class_gains", "plot_gallery"}
    report |= {"compare_confusions", "make_confusion_table", "plot_confusions", "plot_examples"}
    report |= {"collect_privacy", "make_privacy_table", "make_leakage_table", "plot_roc"}
    report |= {"measure_prompts", "make_prompt_tables", "measure_costs", "make_cost_tables"}
    others = {rule for rule in set(jobs) - set(wanted) - report if rule != "all"}
    assert all(rule.startswith(("plot_", "make_", "measure_")) for rule in others)


@pytest.mark.slow
def test_no_command_is_longer_than_a_shell_takes(
    planned: Callable[..., set[PlannedJob]],
) -> None:
    # Linux takes no single argument of 128 KiB or more, and a command is one of `bash -c`.
    for paths in (CASES[EXPERIMENTS.index(ROOT / "config/imagenet1k.yaml")], CASES[-1]):
        longest = max(planned(*paths), key=lambda job: len(job.command))
        assert len(longest.command.encode()) < 100_000, longest.rule
