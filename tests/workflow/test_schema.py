"""Every key of the configuration changes something of what runs."""

import copy
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import PlannedJob, plan
from snakemake.exceptions import WorkflowError

from capsynth.configuration import complete
from capsynth.errors import CapsynthError
from capsynth.schema import load_schema, schema_at

ROOT = Path(__file__).resolve().parents[2]
Key = tuple[str, ...]

# A value that does not go with the rest: refused, or images are missing for it; or the key stands
# in a list, which has another form as a mapping.
UNFIT = (CapsynthError, WorkflowError, KeyError, TypeError)

# What the schema alone does not tell a change of: another name of the same kind, or keys that
# belong together. "*" stands for each entry of a section.
CHANGES: dict[str, list[Any]] = {
    "dataset.source": ["webdataset"],
    "dataset.path": ["photos/more"],
    "dataset.share": [[0.25, 0.75]],
    "dataset.label_classes": ["imagenet-100"],
    "eval_sets.*.path": ["photos/more"],
    "eval_sets.*.classes": [["Tench_2"], ["n02106662"]],
    "eval_sets.*.share": [[0.25, 0.75]],
    "eval_sets.*.severities": [[1, 2]],
    "eval_sets.*.class_map": ["other.json"],
    "eval_sets.*.groups": ["other.csv"],
    "eval_sets.*.label_classes": ["imagenet-100"],
    "eval_sets.*.corruptions": [["fog"], ["jpeg"]],
    "rewriters.*.captioner": ["blip"],
    "rewriters.*.prompt": ["Say in other words: {caption}"],
    "generators.*.scheduler": ["DDIMScheduler"],
    "generators.*.scheduler_args.*": [False, 2],
    "generators.*.lora": [[]],
    "variants.*.strategy": ["class-name-definition", "caption"],
    "variants.*.captioner": ["sampled"],
    "variants.*.generator": ["other"],
    "variants.*.template": ["a drawing of {class_name}", "{class_name}. {caption}"],
    "variants.*.templates": [["{class_name}, {caption}, {background}"]],
    "variants.*.scheduler": ["PNDMScheduler"],
    "recipes.*.optimizer": ["lamb"],
    "recipes.*.model": ["resnet18"],
    "recipes.*.crop_scale": [[0.3, 0.9]],
    "recipes.*.crop_ratio": [[0.6, 1.5]],
    "recipes.*.milestones": [[10, 20]],
    "recipes.*.base": ["vit-b16"],
    "privacy.twins.*": ["third"],
    "learning_curves.eval_set": ["photos-spare"],
    "learning_curves.points": [8],
    "probes.eval_sets": [[]],
    "report.in_distribution": ["photos-c"],
    "report.comparisons": [[["many", "some"]]],
    "report.fidelity.extractors": [[]],
    "report.fidelity.reference": ["photos-val"],
    "report.ablation_baseline": ["many"],
    "report.calibration_set": ["photos-hub"],
    "report.robustness.clean.*": ["photos-val"],
    "report.generation_replicates": [[["many-again", "many"]]],
    "report.sample_replicates": [[["other-half", "half"]]],
    "report.gallery.variants": [["many", "told"]],
    "report.gallery.ambiguous": [["Tench_2"]],
    "export.variants": [["many"]],
    "export.license": ["cc-by-4.0"],
}


def keys_of(schema: dict[str, Any], path: Key = ()) -> Iterator[Key]:
    """Yield the path of every key of the schema that holds a value."""
    schema = schema_at(path)
    fixed, free = schema.get("properties", {}), schema.get("additionalProperties")
    for name in fixed:
        yield from keys_of(schema, (*path, name))
    if isinstance(free, dict) and not fixed:
        yield from keys_of(schema, (*path, "*"))
    elif not fixed:
        yield path


def places(value: Any, path: Key) -> Iterator[Key]:
    """Yield where a key stands in a configuration, or could stand: ``*`` is each entry."""
    if not path:
        yield ()
    elif isinstance(value, dict):
        names = list(value) if path[0] == "*" else [path[0]]
        for name in names:
            for rest in places(value.get(name), path[1:]):
                yield (name, *rest)
    elif len(path) == 1 and path[0] != "*":
        yield path


def other_values(key: Key, value: Any) -> Iterator[Any]:
    """Yield values that a key could have instead of ``value``."""
    yield from CHANGES.get(".".join(key), ())
    schema = schema_at(key)
    yield from (name for name in schema.get("enum", ()) if name not in (value, None))
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value - 1, value * 2)
        case float():
            yield from (value / 2, (1 + value) / 2, value + 1)
        case str():
            yield from (value + "x", value + " x")
        case [_, *_]:
            yield value[:-1]
        case None | []:
            yield from (1, 2, 0.5, "main", "another text")


def with_value(config: dict[str, Any], place: Key, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    *parents, last = place
    functools.reduce(lambda inner, name: inner.setdefault(name, {}), parents, changed)[last] = value
    return changed


class Bases:
    """Configurations that have every key between them, and what each would run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stored = [f"val/contrast/{severity}" for severity in range(1, 6)]
        for place in ("train", "val", "more", "held-out", *stored):
            for class_id in ("n02106662", "Tench_2"):
                image = folder / "photos" / place / class_id / "a.png"
                image.parent.mkdir(parents=True)
                image.touch()
        for name in ("map.json", "other.json"):
            same = {"n02106662": "n02106662", "Tench_2": "Tench_2"}
            (folder / name).write_text(json.dumps(same))
        for name in ("groups.csv", "other.csv"):
            (folder / name).write_text(f"key,group\nTench_2_a,{name}\n")
        lora = folder / "loras/sketch/sketch.safetensors"
        lora.parent.mkdir(parents=True)
        lora.touch()
        folders = yaml.safe_load((ROOT / "tests/configs/folders.yaml").read_text())
        folders["generators"]["other"] = {**folders["generators"]["sd"], "model": "another/sd"}
        contrast = {"source": "folder", "path": "photos/val", "corruptions": ["contrast"]}
        folders["eval_sets"]["photos-contrast"] = contrast
        # Unlike photos-unknown, which probes need, it may be a set of known classes as well.
        folders["eval_sets"]["photos-strange"] = {**contrast, "unknown": True, "corruptions": []}
        folders["eval_sets"]["photos-spare"] = {**contrast, "corruptions": []}  # used for nothing
        folders["training_seeds"] = [0]
        folders["training_sets"]["retold"] = {"variants": ["retold"]}
        folders["report"]["gallery"]["variants"] = ["told", "many"]
        embedded = yaml.safe_load((ROOT / "tests/configs/tiny.yaml").read_text())
        for seed, name in enumerate(("twin", "third"), start=2):
            embedded["variants"][name] = {**embedded["variants"]["caption"], "seed": seed}
        embedded["privacy"] = {
            "training_sets": ["class-name", "real+caption"],
            "reference_models": 2,
            "reference_training_sets": ["class-name", "real+caption"],
            "twins": {"caption": "twin"},
            "leakage": ["caption"],
        }
        tars = copy.deepcopy(folders)
        tars["dataset"].update(source="webdataset", download="photos-tars", label_key="label")
        del tars["dataset"]["path"]
        hub = copy.deepcopy(folders)
        hub["dataset"].update(
            source="huggingface", path="someone/photos", revision="0123abc", split="train",
            image_column="picture", label_column="class", label_classes="imagenet-1k",
        )  # fmt: skip
        self.configs = [folders, embedded, tars, hub]
        self.plans = [self.plan(config) for config in self.configs]

    def plan(self, config: dict[str, Any]) -> set[PlannedJob]:
        path = self.folder / "changed.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return plan(self.folder, path, targets=("all", "features", "export"))

    def changed_by(self, key: Key) -> list[str]:
        """Return the rules whose jobs another value of a key changes; [] if there is none."""
        for config, before in zip(self.configs, self.plans, strict=True):
            completed = complete(config)
            for place in places(completed, key):
                # A mapping that may be null has no keys where it is.
                value = functools.reduce(
                    lambda inner, name: None if inner is None else inner[name], place, completed
                )
                for other in other_values(key, value):
                    try:
                        changed = with_value(config, place, other)
                        if complete(changed) == completed:
                            continue
                        after = self.plan(changed)
                    except UNFIT:
                        continue
                    if before != after:
                        return sorted({job.rule for job in before ^ after})
        return []


@pytest.fixture(scope="module")
def bases(checkout: Callable[[], Path]) -> Bases:
    return Bases(checkout())


@pytest.mark.slow
@pytest.mark.parametrize("key", list(keys_of(load_schema())), ids=".".join)
def test_another_value_of_a_key_changes_what_runs(bases: Bases, key: Key) -> None:
    assert bases.changed_by(key)
