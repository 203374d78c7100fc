"""The configuration: what is filled in, what is refused in which words, what may not drift."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from capsynth.configuration import (
    OVERRIDES,
    PLACEHOLDERS,
    SCHEMA_PATH,
    as_yaml_number,
    class_names,
    complete,
    load_schema,
    template_problems,
    unused,
)
from capsynth.corruptions import CORRUPTIONS, SEVERITIES
from capsynth.datasets.openmoji.splits import SPLITS
from capsynth.datasets.openmoji.world import CLASSES
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.prompting import STRATEGIES

ROOT = Path(__file__).resolve().parents[2]
# config/pretrain.yaml is how the embedded models are made, not an experiment; sweeps are checked in
# test_sweeps.py.
SHIPPED = [
    ROOT / "config.yaml",
    *(
        path
        for path in sorted(ROOT.glob("config/*.yaml"))
        if path.name != "pretrain.yaml" and "sweep" not in yaml.safe_load(path.read_text())
    ),
]

# Uses every key that the default experiment leaves at its default.
FOLDERS = """
dataset:
  name: photos
  source: folder
  path: photos/train
  classes: { n02106662: German Shepherd, Tench_2: tench }
  image_side: 256
  image_format: png
  parts_per_class: 2
eval_sets:
  photos-val: { source: folder, path: photos/val }
  photos-c: { source: folder, path: photos/val, corruptions: [jpeg], severities: [3] }
captioners:
  blip:
    model: a/blip
    revision: main
    dtype: bfloat16
    batch_size: 8
    max_new_tokens: 20
    num_beams: 3
generators:
  sd:
    model: an/sd
    revision: 0123abc
    dtype: float16
    num_inference_steps: 30
    guidance_scale: 2
    height: 512
    width: 768
    batch_size: 4
    negative_prompt: blurry
    true_cfg_scale: 2
    scheduler: DPMSolverMultistepScheduler
    scheduler_args: { use_karras_sigmas: true, solver_order: 3 }
    max_sequence_length: 200
    lora: [{ path: loras/sketch, weight_name: sketch.safetensors, scale: 1 }]
    attention_slicing: true
    vae_slicing: true
    compile: max-autotune
    safety_checker: retry
    safety_retries: 3
    overlong_prompts: error
variants:
  many:
    strategy: class-name
    generator: sd
    images_per_class: 10
    template: "{{a}} sketch of {class_name}"
    seed: 7
    num_inference_steps: 10
    guidance_scale: 1
    negative_prompt: ""
    scheduler: DDIMScheduler
  told: { strategy: caption, captioner: blip, generator: sd }
training_sets:
  half+told: { real: 0.5, variants: [told] }
  many: { variants: [many] }
recipes:
  plain: { model: resnet50 }
report:
  in_distribution: photos-val
  comparisons: [[half+told, many]]
  draws: 200
  gallery: { images_per_class: 4 }
"""


def default_config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def seeded_config() -> dict[str, Any]:
    config = with_change(default_config(), "eval_sets/openmoji-v2/seed", 5)
    return with_change(config, "eval_sets/openmoji-v2/context_bias", 0.25)


def folder_config() -> dict[str, Any]:
    return yaml.safe_load(FOLDERS)


def with_change(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of ``config`` with the key at ``path`` (parts joined by /) set to ``value``."""
    changed = copy.deepcopy(config)
    *parents, last = path.split("/")
    inner = changed
    for part in parents:
        inner = inner[part]
    inner[last] = value
    return changed


def without(config: dict[str, Any], path: str) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    *parents, last = path.split("/")
    inner = changed
    for part in parents:
        inner = inner[part]
    del inner[last]
    return changed


def problems_of(config: Mapping[str, Any]) -> list[str]:
    """Return the problems that ``complete`` tells of, one a line."""
    with pytest.raises(CapsynthError) as caught:
        complete(config)
    head, *lines = str(caught.value).split("\n")
    assert re.fullmatch(r"the configuration has \d+ problems?:", head)
    return [line.strip() for line in lines]


def resolve(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return dict(schema)
    target = load_schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return {**resolve(target), **{k: v for k, v in schema.items() if k != "$ref"}}


def fixed_keys(
    schema: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield path, schema and necessity of every key of the schema; ``*`` stands for free names."""
    schema = resolve(schema)
    for key, child in schema.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        yield here, resolve(child), key in schema.get("required", ())
        yield from fixed_keys(child, here)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from fixed_keys(schema["additionalProperties"], f"{path}.*")


def used_keys(config: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the keys of the schema that a configuration sets."""
    schema = resolve(schema)
    for key, value in config.items() if isinstance(config, dict) else ():
        if key in schema.get("properties", {}):
            here = f"{path}.{key}" if path else key
            yield here
            yield from used_keys(value, schema["properties"][key], here)
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from used_keys(value, schema["additionalProperties"], f"{path}.*")


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object schema, definitions included, conditions left out."""
    for definition in [schema, *schema["$defs"].values()]:
        if "object" in str(definition.get("type")):
            yield definition
        for child in definition.get("properties", {}).values():
            if "object" in str(child.get("type")):
                yield child


# ---- what is shipped, and what may not drift ----------------------------------------------------


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(load_schema())
    assert load_schema()["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_config_passes_and_names_nothing_in_vain(path: Path) -> None:
    # The ablations in config/ are merged into config.yaml, as snakemake --configfile does.
    text = path.read_text(encoding="utf-8")
    own = yaml.safe_load(text)
    stands_alone = {"dataset", "training_sets", "recipes"} <= own.keys()
    config = own if stands_alone else merged(default_config(), own)
    assert unused(complete(config)) == []


def merged(base: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in change.items():
        inner = base.get(key)
        both[key] = (
            merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
        )
    return both


def test_editors_find_the_schema_from_the_head_of_config_yaml() -> None:
    first = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()[0]
    matched = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert matched
    assert (ROOT / matched[1]).resolve() == SCHEMA_PATH


def test_every_key_has_a_description_and_every_optional_key_a_default() -> None:
    keys = list(fixed_keys(load_schema()))
    assert len(keys) > 50
    assert [path for path, schema, _ in keys if len(schema.get("description", "")) < 15] == []
    assert [path for path, schema, needed in keys if not needed and "default" not in schema] == []


def test_every_key_has_a_type_and_every_number_bounds() -> None:
    for path, schema, _ in fixed_keys(load_schema()):
        assert "type" in schema or "enum" in schema or "const" in schema, path
        if {"integer", "number"} & set(str(schema.get("type")).replace("'", " ").split()):
            assert {"minimum", "exclusiveMinimum"} & schema.keys(), path
            assert {"maximum", "exclusiveMaximum"} & schema.keys(), path


def test_every_object_refuses_unknown_keys_or_unfit_names() -> None:
    found = list(objects(load_schema()))
    assert len(found) >= 14
    for schema in found:
        others = schema["additionalProperties"]
        assert others is False or "propertyNames" in schema, schema["description"]


def test_every_key_of_the_schema_is_exercised_by_a_config() -> None:
    schema = load_schema()
    configs = (seeded_config(), folder_config())
    exercised = {path for config in configs for path in used_keys(config, schema)}
    assert {path for path, _, _ in fixed_keys(schema)} == exercised
    for config in configs:
        complete(config)


def test_the_schema_knows_the_names_that_the_library_knows() -> None:
    definitions = load_schema()["$defs"]
    eval_set = definitions["eval_set"]["properties"]
    assert eval_set["corruptions"]["items"]["enum"] == list(CORRUPTIONS)
    assert {*eval_set["split"]["enum"], "train"} - {None} == set(SPLITS)
    severity = eval_set["severities"]["items"]
    assert (severity["minimum"], severity["maximum"]) == (min(SEVERITIES), max(SEVERITIES))
    classes = definitions["dataset"]["allOf"][0]["then"]["properties"]["classes"]
    assert sorted(classes["items"]["enum"]) == sorted(c.class_id for c in CLASSES)
    assert classes["default"] == classes["items"]["enum"]


def test_strategies_and_their_templates_are_those_of_the_library() -> None:
    variant = load_schema()["$defs"]["variant"]
    assert variant["properties"]["strategy"]["enum"] == list(STRATEGIES) == list(PLACEHOLDERS)
    for name, strategy in STRATEGIES.items():
        needs = {"captioner": "blip"} if strategy.needs_captions else {"images_per_class": 3}
        entry = {"strategy": name, "generator": "sd", **needs}
        filled = complete(with_change(folder_config(), "variants/new", entry))["variants"]["new"]
        assert filled["template"] == strategy.template
        assert template_problems(strategy.template, name) == []


# ---- what is filled in --------------------------------------------------------------------------


def test_every_key_is_present_in_a_completed_config() -> None:
    config = complete(without(folder_config(), "dataset/classes"))
    schema = load_schema()
    assert set(used_keys(config, schema)) == {path for path, _, _ in fixed_keys(schema)}


def test_completing_leaves_the_given_config_alone() -> None:
    config = folder_config()
    complete(config)["variants"]["told"]["seed"] = 99
    assert config == folder_config()


def test_completing_twice_changes_nothing() -> None:
    for config in (default_config(), folder_config()):
        once = complete(config)
        assert dump_json(complete(once)) == dump_json(once)


def test_defaults_are_copies_that_do_not_share_state() -> None:
    complete(without(default_config(), "training_seeds"))["training_seeds"].append(9)
    assert complete(without(default_config(), "training_seeds"))["training_seeds"] == [0, 1, 2]


def test_defaults_follow_what_they_depend_on() -> None:
    config = without(without(folder_config(), "eval_sets/photos-c/severities"), "dataset/classes")
    config["recipes"]["adam"] = {"model": "resnet50", "optimizer": "adamw"}
    filled = complete(config)
    assert filled["eval_sets"]["photos-c"]["severities"] == [1, 2, 3, 4, 5]
    assert filled["eval_sets"]["photos-val"]["severities"] == []
    assert filled["recipes"]["plain"]["learning_rate"] == 0.1
    assert filled["recipes"]["adam"]["learning_rate"] == 1e-3
    assert filled["dataset"]["classes"] is None
    assert filled["dataset"]["context_bias"] is None
    embedded = without(without(default_config(), "dataset/classes"), "dataset/context_bias")
    assert len(complete(embedded)["dataset"]["classes"]) == 10
    assert complete(embedded)["dataset"]["context_bias"] == 0.5


def test_a_variant_takes_over_what_it_leaves_to_its_generator() -> None:
    config = complete(folder_config())
    generator, told, many = (
        config["generators"]["sd"],
        config["variants"]["told"],
        config["variants"]["many"],
    )
    for key in OVERRIDES:
        assert told[key] == generator[key]
        assert many[key] == folder_config()["variants"]["many"][key] != generator[key]


def test_lora_weights_have_defaults_of_their_own_and_arguments_of_a_sampler_keep_their_types() -> (
    None
):
    generator = {"model": "x", "lora": [{"path": "a.safetensors"}], "scheduler_args": {"order": 2}}
    filled = complete(with_change(folder_config(), "generators/sd", generator))["generators"]["sd"]
    assert filled["lora"] == [{"path": "a.safetensors", "weight_name": None, "scale": 1.0}]
    assert dump_json(filled["scheduler_args"]) == '{"order": 2}'


def test_an_evaluation_set_has_its_own_context_bias_or_that_of_the_data_set() -> None:
    config = with_change(default_config(), "eval_sets/openmoji-val/context_bias", 0)
    sets = complete(with_change(config, "dataset/context_bias", 0.9))["eval_sets"]
    assert sets["openmoji-val"]["context_bias"] == 0.0
    assert sets["openmoji-r"]["context_bias"] == 0.9
    assert complete(folder_config())["eval_sets"]["photos-val"]["context_bias"] is None


def test_class_names_are_listed_mapped_or_read_off_the_folder(tmp_path: Path) -> None:
    assert list(class_names(complete(default_config())["dataset"]))[-2:] == ["bat", "mouse"]
    mapped = {"n02106662": "German Shepherd", "Tench_2": "tench"}
    assert class_names(complete(folder_config())["dataset"]) == mapped
    for name in ("b", "a", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    config = without(with_change(folder_config(), "dataset/path", str(tmp_path)), "dataset/classes")
    dataset = complete(config)["dataset"]
    assert list(class_names(dataset).items()) == [("a", "a"), ("b", "b")]
    (tmp_path / "no name").mkdir()
    with pytest.raises(CapsynthError, match="'no name' cannot be a class; use letters"):
        class_names(dataset)


@pytest.mark.parametrize(("folders", "message"), [(None, "No such file"), (["a"], "1 folders")])
def test_a_folder_without_classes_is_refused(
    tmp_path: Path, folders: list[str] | None, message: str
) -> None:
    for name in folders or ():
        (tmp_path / "photos" / name).mkdir(parents=True)
    dataset = {"path": str(tmp_path / "photos"), "classes": None}
    with pytest.raises(CapsynthError, match=rf"dataset\.path: .*{message}"):
        class_names(dataset)


def test_a_key_set_to_nothing_counts_as_left_out() -> None:
    config = with_change(folder_config(), "variants/many/captioner", None)
    assert complete(with_change(config, "dataset/classes", None))["dataset"]["classes"] is None
    config = with_change(default_config(), "dataset/classes", None)
    assert len(complete(config)["dataset"]["classes"]) == 10


def test_equal_numbers_give_equal_configs() -> None:
    whole = with_change(folder_config(), "generators/sd/guidance_scale", 2)
    real = with_change(folder_config(), "generators/sd/guidance_scale", 2.0)
    assert dump_json(complete(whole)) == dump_json(complete(real))
    epochs = complete(with_change(default_config(), "recipes/cpu-tiny/epochs", 20.0))
    assert isinstance(epochs["recipes"]["cpu-tiny"]["epochs"], int)


def test_yaml_anchors_are_independent_copies() -> None:
    config = folder_config()
    config |= yaml.safe_load(
        "variants:\n"
        "  many: &base { strategy: class-name, generator: sd, images_per_class: 10 }\n"
        "  again: *base\n"
        "  other: { <<: *base, seed: 3 }\n"
        "  told: { strategy: caption, captioner: blip, generator: sd }\n"
    )
    assert config["variants"]["many"] is config["variants"]["again"]
    variants = complete(config)["variants"]
    assert variants["many"] == variants["again"]
    assert variants["many"] is not variants["again"]
    assert variants["other"] == {**variants["many"], "seed": 3}


def test_what_nothing_uses_is_told() -> None:
    config = with_change(folder_config(), "generators/old", {"model": "x"})
    config["training_sets"] = {"all": {"real": 1}, "half+told": {"variants": ["told"]}}
    config["report"]["comparisons"] = []
    assert [line.split(" ")[0] for line in unused(complete(config))] == [
        "generators.old",
        "variants.many",
    ]


# ---- what is refused, and in which words --------------------------------------------------------

Change = Callable[[dict[str, Any]], dict[str, Any]]


def setting(path: str, value: Any) -> Change:
    return lambda config: with_change(config, path, value)


def removing(path: str) -> Change:
    return lambda config: without(config, path)


# Each: what is done to config.yaml, and the key and the remedy that a message must name.
MISTAKES: dict[str, tuple[Change, str, str]] = {
    "unknown top-level key": (
        setting("varients", {}),
        "varients is not a key",
        "did you mean variants?",
    ),
    "mistyped key": (
        setting("recipes/cpu-tiny/learning_rat", 0.1),
        "recipes.cpu-tiny.learning_rat is not a key",
        "did you mean learning_rate?",
    ),
    "key that resembles none": (
        setting("report/zzz", 1),
        "report.zzz is not a key",
        "known keys: in_distribution, comparisons, draws",
    ),
    "unknown strategy": (
        setting("variants/caption/strategy", "captoin"),
        "variants.caption.strategy: 'captoin' is not known",
        "did you mean 'caption'? known: class-name, caption, caption-only",
    ),
    "unknown source": (
        setting("dataset/source", "imagenet"),
        "dataset.source: 'imagenet' is not known",
        "known: openmoji, folder",
    ),
    "unknown corruption": (
        setting("eval_sets/openmoji-c/corruptions", ["gausian-noise"]),
        "eval_sets.openmoji-c.corruptions[0]: 'gausian-noise' is not known",
        "did you mean 'gaussian-noise'?",
    ),
    "unknown class of the embedded world": (
        setting("dataset/classes", ["cra", "dog"]),
        "dataset.classes[0]: 'cra' is not known",
        "did you mean 'car'?",
    ),
    "number that YAML reads as text": (
        setting("recipes/cpu-tiny/learning_rate", "1e-3"),
        "recipes.cpu-tiny.learning_rate: '1e-3' is text to YAML",
        "write 1.0e-3",
    ),
    "whole number in quotes": (
        setting("dataset/images_per_class", "64"),
        "dataset.images_per_class: '64' is text to YAML",
        "write 64",
    ),
    "text for a number": (
        setting("recipes/cpu-tiny/epochs", "many"),
        "recipes.cpu-tiny.epochs: ",
        "expected a whole number, not 'many'",
    ),
    "fraction for a whole number": (
        setting("recipes/cpu-tiny/epochs", 2.5),
        "recipes.cpu-tiny.epochs: ",
        "expected a whole number, not 2.5",
    ),
    "not a number": (
        setting("recipes/cpu-tiny/learning_rate", float("nan")),
        "recipes.cpu-tiny.learning_rate: nan is not a finite number",
        "write one",
    ),
    "infinity": (
        setting("generators/embedded/guidance_scale", float("inf")),
        "generators.embedded.guidance_scale: inf",
        "write one",
    ),
    "truth value for a name": (
        setting("generators/embedded/model", True),
        "generators.embedded.model: expected text, not true",
        "put it in quotes",
    ),
    "one value for a list": (
        setting("training_seeds", 3),
        "training_seeds: expected a list, not 3",
        "write [3]",
    ),
    "list for a mapping": (
        setting("training_sets", ["real"]),
        "training_sets: ",
        "expected a mapping of keys to values",
    ),
    "key without a value": (
        setting("recipes/cpu-tiny/epochs", None),
        "recipes.cpu-tiny.epochs: has no value",
        "remove it for 200",
    ),
    "missing section": (
        removing("training_sets"),
        "training_sets is missing",
        "Mixtures of real images and variants",
    ),
    "missing model": (
        removing("generators/embedded/model"),
        "generators.embedded.model is missing",
        "Folder or hub identifier of a diffusers",
    ),
    "too small": (
        setting("generators/embedded/num_inference_steps", 0),
        "generators.embedded.num_inference_steps: 0 is too small",
        "use at least 1",
    ),
    "too large": (
        setting("dataset/context_bias", 1.2),
        "dataset.context_bias: 1.2 is too large",
        "use at most 1",
    ),
    "context bias of an evaluation set too large": (
        setting("eval_sets/openmoji-val/context_bias", 2),
        "eval_sets.openmoji-val.context_bias: 2 is too large",
        "use at most 1",
    ),
    "negative seed": (
        setting("training_seeds", [0, -1]),
        "training_seeds[1]: -1 is too small",
        "use at least 0",
    ),
    "learning rate of zero": (
        setting("recipes/cpu-tiny/learning_rate", 0),
        "recipes.cpu-tiny.learning_rate: 0 is too small",
        "use more than 0",
    ),
    "label smoothing of one": (
        setting("recipes/cpu-tiny/label_smoothing", 1),
        "recipes.cpu-tiny.label_smoothing: 1 is too large",
        "use less than 1",
    ),
    "side that diffusers cannot draw": (
        setting("generators/embedded/height", 50),
        "generators.embedded.height: 50 is not a multiple of 8",
        "use 48",
    ),
    "no seeds": (setting("training_seeds", []), "training_seeds: has 0 entries", "give at least 1"),
    "seed listed twice": (
        setting("training_seeds", [4, 4]),
        "training_seeds: 4 is listed twice",
        "remove one",
    ),
    "three in a comparison": (
        setting("report/comparisons", [["real", "caption", "class-name"]]),
        "report.comparisons[0]: has 3 entries",
        "give at most 2",
    ),
    "comparison with itself": (
        setting("report/comparisons", [["real", "real"]]),
        "report.comparisons[0]: compares 'real' with itself",
        "name two sets",
    ),
    "comparison of an unknown set": (
        setting("report/comparisons", [["real", "captions"]]),
        "report.comparisons[0][1]: 'captions' is not one of the training_sets",
        "did you mean 'caption'?",
    ),
    "unknown evaluation set": (
        setting("report/in_distribution", "openmoji-vall"),
        "report.in_distribution: 'openmoji-vall' is not one of the eval_sets",
        "did you mean 'openmoji-val'?",
    ),
    "unknown captioner": (
        setting("variants/caption/captioner", "blip"),
        "variants.caption.captioner: 'blip' is not one of the captioners",
        "known: embedded",
    ),
    "bare off, which YAML reads as false": (
        setting("generators/embedded/safety_checker", False),
        "generators.embedded.safety_checker: YAML reads a bare off as false",
        'put it in quotes: "off"',
    ),
    "bare off of the compiler": (
        setting("generators/embedded/compile", False),
        "generators.embedded.compile: YAML reads a bare off as false",
        'put it in quotes: "off"',
    ),
    "unknown policy": (
        setting("generators/embedded/safety_checker", "redraw"),
        "generators.embedded.safety_checker: 'redraw' is not known",
        "known: off, flag, retry, drop",
    ),
    "sampler's argument that is none": (
        setting("generators/embedded/scheduler_args", {"Use karras": True}),
        "generators.embedded.scheduler_args.Use karras: is not an argument",
        "lower-case words joined by _",
    ),
    "LoRA without a path": (
        setting("generators/embedded/lora", [{"scale": 0.5}]),
        "generators.embedded.lora[0].path is missing",
        "A safetensors file",
    ),
    "LoRA that is not a list": (
        setting("generators/embedded/lora", {"path": "a.safetensors"}),
        "generators.embedded.lora: expected a list",
        "not a mapping",
    ),
    "unknown generator": (
        setting("variants/caption/generator", "embeded"),
        "variants.caption.generator: 'embeded' is not one of the generators",
        "did you mean 'embedded'?",
    ),
    "unknown variant": (
        setting("training_sets/caption/variants", ["captoin"]),
        "training_sets.caption.variants[0]: 'captoin' is not one of the variants",
        "did you mean 'caption'?",
    ),
    "captioner that is not needed": (
        setting("variants/class-name/captioner", "embedded"),
        "variants.class-name.captioner: does not apply",
        "remove it. The strategy class-name reads no captions.",
    ),
    "captioner that is missing": (
        removing("variants/caption/captioner"),
        "variants.caption.captioner is missing",
        "Name of the captioner",
    ),
    "number of images that captions decide": (
        setting("variants/caption/images_per_class", 64),
        "variants.caption.images_per_class: does not apply",
        "remove it. Caption strategies draw one image for each caption.",
    ),
    "number of images that is missing": (
        removing("variants/class-name/images_per_class"),
        "variants.class-name.images_per_class is missing",
        "images drawn of each class",
    ),
    "template without its caption": (
        setting("variants/caption/template", "a photo of {class_name}"),
        "variants.caption.template: strategy caption needs {caption}",
        "add it",
    ),
    "template with an unknown placeholder": (
        setting("variants/caption/template", "{class_nam}, {caption}, {class_name}"),
        "variants.caption.template: {class_nam} is not filled in",
        "did you mean class_name?",
    ),
    "template with an unbalanced brace": (
        setting("variants/caption/template", "a photo of {class_name, {caption}"),
        "variants.caption.template: ",
        "write {{ or }} for a brace itself",
    ),
    "template that formats": (
        setting("variants/caption/template", "{class_name!r}, {caption:>9}"),
        "variants.caption.template: ",
        "write {class_name} and {caption} without ! or :",
    ),
    "template that takes an attribute": (
        setting("variants/class-name/template", "{class_name.upper}"),
        "variants.class-name.template: {class_name.upper} is not filled in",
        "use {class_name}",
    ),
    "training set without images": (
        setting("training_sets/none", {}),
        "training_sets.none: holds no images",
        "give real a share above 0 or name variants",
    ),
    "warm-up longer than the training": (
        setting("recipes/cpu-tiny/warmup_epochs", 16),
        "recipes.cpu-tiny.warmup_epochs: 16",
        "must be fewer than epochs, which is 16",
    ),
    "crop scale turned round": (
        setting("recipes/cpu-tiny/crop_scale", [1, 0.5]),
        "recipes.cpu-tiny.crop_scale: ",
        "write [0.5, 1]",
    ),
    "severities of no corruption": (
        setting("eval_sets/openmoji-val/severities", [1]),
        "eval_sets.openmoji-val.severities: does not apply",
        "There are no corruptions for these severities.",
    ),
    "severity beyond the scale": (
        setting("eval_sets/openmoji-c/severities", [6]),
        "eval_sets.openmoji-c.severities[0]: 6 is too large",
        "use at most 5",
    ),
    "split that is missing": (
        removing("eval_sets/openmoji-val/split"),
        "eval_sets.openmoji-val.split is missing",
        "what the scenes look like",
    ),
    "folder without a path": (
        setting("eval_sets/mine", {"source": "folder"}),
        "eval_sets.mine.path is missing",
        "one folder of images a class",
    ),
    "path of drawn scenes": (
        setting("dataset/path", "photos"),
        "dataset.path: does not apply",
        "Only the source folder reads a path.",
    ),
    "mapping of classes of drawn scenes": (
        setting("dataset/classes", {"car": "car", "dog": "dog"}),
        "dataset.classes: ",
        "expected a list, not a mapping",
    ),
    "upper case in a name": (
        setting("recipes/CPU Tiny 2", {"model": "test_resnet"}),
        "recipes.CPU Tiny 2: names are lower-case",
        "write for example 'cpu-tiny-2'",
    ),
    "name that differs in case only": (
        setting("recipes/CPU-tiny", {"model": "test_resnet"}),
        "recipes.CPU-tiny: differs from 'cpu-tiny'",
        "choose another name",
    ),
    "plus sign outside training sets": (
        setting("recipes/a+b", {"model": "test_resnet"}),
        "recipes.a+b: names are lower-case",
        "write for example 'a-b'",
    ),
    "name that leaves its folder": (
        setting("dataset/name", "../openmoji"),
        "dataset.name: '../openmoji' cannot be part of a file name",
        "use lower-case letters, digits and .-",
    ),
    "name that YAML does not read as text": (
        setting("recipes", {1: {"model": "test_resnet"}, "b": {"model": "test_resnet"}}),
        "recipes.1: ",
        "put the name in quotes: '1'",
    ),
    "data set named like the report": (
        setting("dataset/name", "report"),
        "dataset.name: 'report' is a folder that capsynth itself writes",
        "choose another name",
    ),
    "empty model": (
        setting("captioners/embedded/model", ""),
        "captioners.embedded.model: is empty",
        "write something",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_its_key_and_its_remedy(mistake: str) -> None:
    change, key, remedy = MISTAKES[mistake]
    problems = problems_of(change(default_config()))
    assert any(line.startswith(key) and remedy in line for line in problems), problems


@pytest.mark.parametrize(
    ("change", "key", "remedy"),
    [
        (removing("dataset/path"), "dataset.path is missing", "one folder of images a class"),
        (setting("dataset/seed", 3), "dataset.seed: does not apply", "remove it"),
        (setting("dataset/context_bias", 0.3), "dataset.context_bias: does not apply", "remove it"),
        (setting("dataset/images_per_class", 5), "dataset.images_per_class: does not", "remove it"),
        (
            setting("dataset/classes", {"Bat": "bat", "bat": "cricket bat"}),
            "dataset.classes: 'bat' and 'Bat' differ only in case",
            "rename one",
        ),
        (
            setting("dataset/classes", ["a b", "c"]),
            "dataset.classes[0]: 'a b' cannot be part of a file name",
            "use letters, digits and ._+-",
        ),
        (
            setting("dataset/classes", {"a/b": "x", "c": "y"}),
            "dataset.classes.a/b: is not a folder name",
            "use letters",
        ),
        (
            setting("dataset/classes", {"no": "Norway", False: "no"}),
            "dataset.classes.False: ",
            "put the name in quotes",
        ),
        (
            setting("eval_sets/emoji", {"source": "openmoji", "split": "val"}),
            "eval_sets.emoji.source: openmoji has not the classes",
            "use folder",
        ),
        (
            setting("eval_sets/photos-val/context_bias", 0.0),
            "eval_sets.photos-val.context_bias: does not apply",
            "Only the source openmoji draws backgrounds.",
        ),
        (
            setting("eval_sets/photos-val/split", "val"),
            "eval_sets.photos-val.split: does",
            "remove",
        ),
    ],
)
def test_a_mistake_in_a_folder_config_is_refused(change: Change, key: str, remedy: str) -> None:
    problems = problems_of(change(folder_config()))
    assert any(line.startswith(key) and remedy in line for line in problems), problems


def test_all_problems_are_told_at_once() -> None:
    config = default_config()
    for change, _, _ in (
        MISTAKES["mistyped key"],
        MISTAKES["unknown variant"],
        MISTAKES["too small"],
    ):
        config = change(config)
    assert len(problems_of(config)) == 3


@pytest.mark.parametrize("mistake", ["mistyped key", "unknown strategy", "unknown generator"])
def test_one_mistake_is_one_line(mistake: str) -> None:
    assert len(problems_of(MISTAKES[mistake][0](default_config()))) == 1


@pytest.mark.parametrize("config", [[], None, "dataset", {}, {"dataset": 3, "report": []}])
def test_what_is_no_experiment_is_refused_without_a_traceback(config: Any) -> None:
    assert problems_of(config)


def mistypings(key: str) -> Iterator[str]:
    for position in range(len(key)):
        yield key[:position] + key[position + 1 :]
        yield key[:position] + key[position] + key[position:]
        yield key[:position] + "q" + key[position + 1 :]
        if position:
            yield key[: position - 1] + key[position] + key[position - 1] + key[position + 1 :]


def places(
    config: Any, schema: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """Yield the path of each fixed key that ``config`` sets, and the keys that are known there."""
    schema = resolve(schema)
    known = list(schema.get("properties", {}))
    for key, value in config.items() if isinstance(config, dict) else ():
        here = f"{path}/{key}" if path else key
        if key in known:
            yield here, known
            yield from places(value, schema["properties"][key], here)
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from places(value, schema["additionalProperties"], here)


PLACES = [
    (make, path, known)
    for make in (seeded_config, folder_config)
    for path, known in places(make(), load_schema())
]


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_single_mistyped_key_is_refused_by_name(data: st.DataObject) -> None:
    make, path, known = data.draw(st.sampled_from(PLACES))
    *parents, key = path.split("/")
    typo = data.draw(st.sampled_from([t for t in mistypings(key) if t and t not in known]))
    config = make()
    inner = config
    for part in parents:
        inner = inner[part]
    inner[typo] = inner.pop(key)
    where = ".".join([*parents, typo])
    assert any(line.startswith(f"{where} is not a key;") for line in problems_of(config))


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["e", "E", "g", "f"]))
def test_the_number_that_is_proposed_is_read_by_yaml_as_that_number(x: float, form: str) -> None:
    text = f"{x:.6{form}}"
    proposed = as_yaml_number(text)
    assert proposed is not None
    read = yaml.safe_load(proposed)
    assert isinstance(read, int | float)
    assert read == float(text)


@pytest.mark.parametrize("text", ["", ".", "-", "e5", "many", "1:30", "0x10", "1 2"])
def test_other_text_is_not_taken_for_a_number(text: str) -> None:
    assert as_yaml_number(text) is None


@pytest.mark.parametrize(("text", "number"), [("1e-3", "1.0e-3"), ("1e3", "1.0e+3"), ("007", "7")])
def test_numbers_are_proposed_as_people_write_them(text: str, number: str) -> None:
    assert as_yaml_number(text) == number


def test_every_message_stands_on_one_line() -> None:
    config = with_change(default_config(), "variants/caption/template", "a\nb {x\ny}")
    assert all(re.match(r"variants\.caption\.template: ", line) for line in problems_of(config))
