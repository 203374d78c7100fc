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

from capsynth.captions import ON_CUT, ON_REPEATED
from capsynth.classes import CLASS_ID, ClassInfo
from capsynth.config_checks import CORRUPTION_NAMES, PLACEHOLDERS, template_problems
from capsynth.configuration import OVERRIDES, class_table, complete, complete_recipe, unused
from capsynth.corruption_baselines import mce_obstacle, resized_sets
from capsynth.corruptions import CORRUPTIONS, IMAGENET_C, LIBRARIES, SEVERITIES
from capsynth.datasets.layouts import LAYOUTS
from capsynth.datasets.openmoji.splits import ALL_SPLITS
from capsynth.datasets.openmoji.world import CLASSES
from capsynth.datasets.sources import SOURCES
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.prompting import CLASSLESS_POLICIES, STRATEGIES, templates_of
from capsynth.recipes import PRESETS
from capsynth.robustness import PUBLISHED_LINES
from capsynth.schema import SCHEMA_PATH, load_schema
from capsynth.schema_messages import as_yaml_number

ROOT = Path(__file__).resolve().parents[2]
# config/pretrain.yaml is how the embedded models are made, not an experiment; sweeps are checked in
# test_sweeps.py, and what is put under one in test_run_sweep.py.
SHIPPED = [
    ROOT / "config.yaml",
    *(
        path
        for path in sorted(ROOT.glob("config/*.yaml"))
        if path.name not in ("pretrain.yaml", "context-bias-again.yaml")
        and "sweep" not in yaml.safe_load(path.read_text())
    ),
]


def default_config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def seeded_config() -> dict[str, Any]:
    config = with_change(default_config(), "eval_sets/openmoji-v2/seed", 5)
    config["variants"]["twin"] = {**config["variants"]["caption"], "seed": 2}
    config["privacy"] = {
        "training_sets": ["real", "caption"],
        "reference_models": 8,
        "reference_training_sets": ["caption"],
        "twins": {"caption": "twin"},
        "leakage": ["caption"],
    }
    return with_change(config, "eval_sets/openmoji-v2/context_bias", 0.25)


def hub_config() -> dict[str, Any]:
    change = {
        "source": "huggingface",
        "path": "someone/photos",
        "revision": "0123abc",
        "split": "train",
        "image_column": "picture",
        "label_column": "class",
        "label_classes": "imagenet-1k",
        "share": [0, 0.5],
        "images_per_class": 100,
    }
    config = folder_config()
    return {**config, "download_folder": "fetched", "dataset": {**config["dataset"], **change}}


def tars_config() -> dict[str, Any]:
    config = without(folder_config(), "dataset/path")
    change = {"source": "webdataset", "download": "photos-tars", "label_key": "label"}
    return {**config, "dataset": {**config["dataset"], **change}}


def folder_config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "tests/configs/folders.yaml").read_text(encoding="utf-8"))


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
    # The ablations in config/ are merged into config.yaml, as snakemake --configfile does, and the
    # findings into config/full.yaml too.
    text = path.read_text(encoding="utf-8")
    own = yaml.safe_load(text)
    stands_alone = {"dataset", "training_sets", "recipes"} <= own.keys()
    if stands_alone:
        config = own
    elif path.name.startswith("findings"):
        config = merged(full_config(), own)
    else:
        config = merged(default_config(), own)
    assert unused(complete(config)) == []


def full_config(*names: str) -> dict[str, Any]:
    """Return config/full.yaml, and further files of config/, over the default experiment."""
    config = default_config()
    for name in ("full.yaml", *names):
        config = merged(config, yaml.safe_load((ROOT / "config" / name).read_text("utf-8")))
    return config


def test_the_embedded_experiment_compares_at_equal_steps_and_equal_numbers_of_images() -> None:
    for config in (complete(default_config()), complete(full_config())):
        assert [recipe["steps"] is not None for recipe in config["recipes"].values()] == [True]
        # As many of each class as there are real images, as captions have.
        for name in ("class-name", "caption"):
            variant = config["variants"][name]
            assert (variant["images_per_class"], variant["images_per_caption"]) in (
                (None, None),
                (None, 1.0),
            )


def test_the_full_experiment_has_six_controls_of_real_images_beside_all_of_them() -> None:
    mixes = complete(full_config())["training_sets"].values()
    shares = {mix["real"] for mix in mixes if not mix["variants"]}
    assert len(shares - {1.0}) >= 6
    assert min(shares) > 0


def test_the_full_experiment_draws_a_share_of_the_real_images_three_times_without_overlap() -> None:
    config = complete(full_config())
    (group,) = config["report"]["sample_replicates"]
    mixes = [config["training_sets"][name] for name in group]
    assert [mix["sample_seed"] for mix in mixes] == [0, 1, 2]
    assert len(group) * mixes[0]["real"] <= 1
    # All others are drawn as they were before there was a seed.
    others = [mix for name, mix in config["training_sets"].items() if name not in group]
    assert {mix["sample_seed"] for mix in others} == {0}


def test_the_findings_are_repeated_with_seven_other_seeds_and_other_noise() -> None:
    first = complete(full_config("findings.yaml"))
    again = complete(full_config("findings-again.yaml"))
    assert len(first["training_seeds"]) == len(again["training_seeds"]) == 7
    assert not set(first["training_seeds"]) & set(again["training_seeds"])
    assert first["training_sets"] == again["training_sets"]
    noise = [{variant["seed"] for variant in c["variants"].values()} for c in (first, again)]
    assert not noise[0] & noise[1]
    for name, variant in first["variants"].items():
        assert variant | {"seed": None} == again["variants"][name] | {"seed": None}


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
    configs = (seeded_config(), folder_config(), hub_config(), tars_config())
    exercised = {path for config in configs for path in used_keys(config, schema)}
    assert {path for path, _, _ in fixed_keys(schema)} == exercised
    for config in configs:
        complete(config)


def test_names_that_are_no_text_are_told_once_and_not_as_lacking_too() -> None:
    config = with_change(folder_config(), "dataset/classes", {False: "a", 8: "b", "cat": "c"})
    told = [line for line in problems_of(config) if line.startswith("dataset.classes")]
    assert len(told) == 2
    assert all("put the name in quotes" in line for line in told)


def test_the_schema_knows_the_names_that_the_library_knows() -> None:
    definitions = load_schema()["$defs"]
    captioner = definitions["captioner"]["properties"]
    assert tuple(captioner["on_repeated"]["enum"]) == ON_REPEATED
    assert tuple(captioner["on_cut"]["enum"]) == ON_CUT
    eval_set = definitions["eval_set"]["properties"]
    assert set(eval_set["corruptions"]["items"]["enum"]) == {*CORRUPTIONS, *IMAGENET_C}
    assert CORRUPTION_NAMES == dict(zip(LIBRARIES, (tuple(CORRUPTIONS), IMAGENET_C), strict=True))
    assert eval_set["corruption_library"]["enum"] == [*LIBRARIES, None]
    assert eval_set["layout"]["enum"] == [*LAYOUTS, None]
    assert eval_set["source"]["enum"] == ["openmoji", "folder", *SOURCES]
    assert definitions["dataset"]["properties"]["source"]["enum"] == eval_set["source"]["enum"]
    drawn = definitions["eval_set"]["allOf"][0]["then"]["properties"]
    assert {*drawn["split"]["enum"], "train"} - {None} == set(ALL_SPLITS)
    published = definitions["report"]["properties"]["robustness"]["properties"]["published"]
    lines = {outside for _, outside in PUBLISHED_LINES}
    assert set(published["additionalProperties"]["enum"]) == lines
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
        if "background" in PLACEHOLDERS[name]:
            needs["backgrounds"] = ["on a beach"]
        entry = {"strategy": name, "generator": "sd", **needs}
        filled = complete(with_change(folder_config(), "variants/new", entry))["variants"]["new"]
        assert filled["template"] == strategy.template
        assert filled["templates"] is None
        for template in templates_of(name, strategy.template, None):
            assert template_problems(template, name) == []
    assert variant["properties"]["on_classless"]["enum"] == [*CLASSLESS_POLICIES, None]


def test_classes_in_files_may_be_named_as_in_the_configuration() -> None:
    rule = load_schema()["$defs"]["class_id"]
    assert CLASS_ID.pattern.replace("{0,99}", "*") == rule["pattern"].strip("^$")
    assert rule["maxLength"] == 100


# ---- what is filled in --------------------------------------------------------------------------


def test_every_key_is_present_in_a_completed_config() -> None:
    config = complete(
        with_change(folder_config(), "dataset/classes", {"a": {"name": "x"}, "b": "y"})
    )
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
    assert filled["eval_sets"]["photos-c"]["layout"] == "class-folders"
    assert filled["eval_sets"]["photos-val"]["share"] == [0, 1]
    assert filled["eval_sets"]["photos-tars"]["layout"] is None
    assert filled["eval_sets"]["photos-val"]["severities"] == []
    assert filled["recipes"]["plain"]["learning_rate"] == 0.1
    assert filled["recipes"]["adam"]["learning_rate"] == 1e-3
    assert filled["dataset"]["classes"] is None
    assert filled["dataset"]["context_bias"] is None
    embedded = without(without(default_config(), "dataset/classes"), "dataset/context_bias")
    assert len(complete(embedded)["dataset"]["classes"]) == 10
    assert complete(embedded)["dataset"]["context_bias"] == 0.5


def test_corruptions_have_the_library_and_size_that_suit_their_images() -> None:
    def filled(config: dict[str, Any], name: str) -> list[Any]:
        keys = ("corruption_library", "corruption_side", "corruptions", "severities")
        return [complete(config)["eval_sets"][name][key] for key in keys]

    every, five = list(IMAGENET_C), [1, 2, 3, 4, 5]
    assert filled(default_config(), "openmoji-c")[:2] == ["tiny-imagenet-c", 32]
    plain = without(default_config(), "eval_sets/openmoji-c/corruption_side")
    assert filled(plain, "openmoji-c")[:2] == ["tiny-imagenet-c", 0]
    drawn = with_change(plain, "eval_sets/openmoji-c/corruptions", "imagenet-c")
    assert filled(drawn, "openmoji-c") == ["imagecorruptions", 0, every, five]
    made = {"source": "folder", "path": "val", "corruptions": "imagenet-c"}
    config = with_change(folder_config(), "eval_sets/made", made)
    assert filled(config, "made") == ["imagecorruptions", 224, every, five]
    own = {**made, "corruptions": ["jpeg"], "corruption_library": "tiny-imagenet-c"}
    config = with_change(folder_config(), "eval_sets/own", own)
    assert filled(config, "own") == ["tiny-imagenet-c", 0, ["jpeg"], five]
    stored = {"source": "folder", "path": "c", "layout": "corruption-folders", "severities": [3]}
    config = with_change(folder_config(), "eval_sets/stored", stored)
    assert filled(config, "stored") == [None, None, every, [3]]
    assert filled(folder_config(), "photos-val") == [None, None, [], []]


def test_the_corrupted_images_of_the_embedded_experiment_are_those_its_classifiers_see() -> None:
    config = complete(default_config())
    sizes = {r["eval_image_size"] or r["image_size"] for r in config["recipes"].values()}
    assert sizes == {config["eval_sets"]["openmoji-c"]["corruption_side"]}


def published_c(**values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    stored = {"source": "folder", "path": "c", "layout": "corruption-folders"}
    config = with_change(folder_config(), "eval_sets/c", {**stored, **values})
    filled = complete(with_change(config, "dataset/classes", "imagenet-1k"))
    return filled["dataset"], filled["eval_sets"]["c"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, ""),
        ({"images_per_class": 5, "classes": "imagenet-1k"}, ""),
        ({"severities": [5, 4, 3, 2]}, "15 corruptions at 5 severities"),
        ({"corruptions": ["fog"]}, "15 corruptions at 5 severities"),
        ({"classes": "imagenet-r"}, "1,000 classes"),
        ({"layout": "class-folders", "corruptions": "imagenet-c"}, "made here"),
    ],
)
def test_only_the_published_imagenet_c_has_an_mce(values: dict[str, Any], reason: str) -> None:
    obstacle = mce_obstacle(*published_c(**values))
    assert reason in obstacle
    assert bool(obstacle) == bool(reason)


def test_corrupted_images_that_a_recipe_sees_at_another_size_are_told() -> None:
    shipped = complete(default_config())
    assert resized_sets(shipped["recipes"], shipped["eval_sets"]) == []
    recipes = {
        "small": {"image_size": 96, "eval_image_size": None},
        "large": {"image_size": 160, "eval_image_size": 224},
    }
    _, stored = published_c()
    made = {"severities": [1], "layout": "class-folders", "corruption_side": 96}
    sets = {"plain": {"severities": []}, "c": stored, "made": made}
    sets |= {"as-is": {**made, "corruption_side": 0}}
    lines = resized_sets(recipes, sets)
    assert [line.split(";")[0] for line in lines] == [
        "eval_sets.c is corrupted at 224 pixels and resized for recipes that see another number "
        "(small 96)",
        "eval_sets.made is corrupted at 96 pixels and resized for recipes that see another number "
        "(large 224)",
    ]


def test_a_data_set_of_other_classes_has_no_mce() -> None:
    _, eval_set = published_c()
    assert "1,000 classes" in mce_obstacle(complete(folder_config())["dataset"], eval_set)


def test_variants_of_a_training_set_become_a_mapping_of_shares() -> None:
    sets = complete(folder_config())["training_sets"]
    assert sets["many"]["variants"] == {"many": 1.0}
    assert sets["some"]["variants"] == {"told": 0.25}


def test_a_recipe_takes_over_what_it_leaves_to_its_preset() -> None:
    config = with_change(folder_config(), "recipes/cosine", {"base": "paper-subset"})
    config["recipes"]["cosine"]["schedule"] = "cosine"
    recipes = complete(config)["recipes"]
    preset = PRESETS["paper-subset"].values
    changed = {"batch_size": 512, "gpus": 4, "base": "paper-subset"}
    assert recipes["known"] == {**recipes["known"], **preset, **changed}
    # What the preset says of the multistep schedule is void with another one.
    assert recipes["cosine"]["milestones"] == []
    assert recipes["cosine"]["decay_rate"] is None


def test_every_preset_is_complete_by_itself_and_known_to_the_schema() -> None:
    known = load_schema()["$defs"]["recipe"]["properties"]
    assert [*PRESETS, None] == known["base"]["enum"]
    for name, preset in PRESETS.items():
        recipe = complete_recipe({"base": name})
        assert {k: v for k, v in recipe.items() if k in preset.values} == preset.values
        assert recipe.keys() | {"base"} == known.keys()
    with pytest.raises(CapsynthError, match=r"epoch is not a key; did you mean epochs\?"):
        complete_recipe({"base": "cpu-tiny", "epoch": 3})


def test_the_default_experiment_writes_out_the_preset_of_its_recipe() -> None:
    recipe = complete(default_config())["recipes"]["cpu-tiny"]
    preset = complete_recipe({"base": "cpu-tiny"})
    changed = {key: value for key, value in recipe.items() if preset.get(key) != value}
    # Nothing else: other data sets have their own number of epochs, and photographs no outlines.
    assert changed == {"steps": 300, "color_jitter": 0.4}


@pytest.mark.parametrize(
    "key", ["recipes/plain/amp", "generators/sd/compile", "generators/sd/safety_checker"]
)
def test_a_bare_off_means_off(key: str) -> None:
    # To YAML it is false.
    section, name, last = key.split("/")
    config = with_change(folder_config(), key, yaml.safe_load("off"))
    assert complete(config)[section][name][last] == "off"


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
    assert list(class_table(complete(default_config())["dataset"]))[-2:] == ["bat", "mouse"]
    assert class_table(complete(folder_config())["dataset"]) == {
        "n02106662": ClassInfo("n02106662", "German Shepherd", None, "dog"),
        "Tench_2": ClassInfo("Tench_2", "tench", "a freshwater fish", "fish"),
    }
    for name in ("b", "a", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    config = without(with_change(folder_config(), "dataset/path", str(tmp_path)), "dataset/classes")
    dataset = complete(config)["dataset"]
    assert class_table(dataset) == {"a": ClassInfo("a", "a"), "b": ClassInfo("b", "b")}
    (tmp_path / "no name").mkdir()
    with pytest.raises(CapsynthError, match="'no name' cannot be a class; use letters"):
        class_table(dataset)


@pytest.mark.parametrize(("folders", "message"), [(None, "No such file"), (["a"], "1 folders")])
def test_a_folder_without_classes_is_refused(
    tmp_path: Path, folders: list[str] | None, message: str
) -> None:
    for name in folders or ():
        (tmp_path / "photos" / name).mkdir(parents=True)
    dataset = {"path": str(tmp_path / "photos"), "classes": None}
    with pytest.raises(CapsynthError, match=rf"dataset\.path: .*{message}"):
        class_table(dataset)


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
        "  many-again: *base\n"
        "  other: { <<: *base, seed: 3 }\n"
        "  told: { strategy: caption, captioner: blip, generator: sd }\n"
    )
    assert config["variants"]["many"] is config["variants"]["many-again"]
    variants = complete(config)["variants"]
    assert variants["many"] == variants["many-again"]
    assert variants["many"] is not variants["many-again"]
    assert variants["other"] == {**variants["many"], "seed": 3}


def test_what_nothing_uses_is_told() -> None:
    config = with_change(folder_config(), "generators/old", {"model": "x"})
    config["training_sets"] = {"all": {"real": 1}, "half+told": {"variants": ["told"]}}
    config["report"] |= {"comparisons": [], "generation_replicates": [], "sample_replicates": []}
    assert [line.split(" ")[0] for line in unused(complete(config))] == [
        "generators.old",
        "variants.many",
        "variants.many-again",
        "variants.retold",
    ]


def test_a_rewriter_uses_its_captioner_and_a_variant_its_rewriter() -> None:
    config = without(folder_config(), "variants/retold")
    assert [line.split(" ")[0] for line in unused(complete(config))] == ["rewriters.reworded"]
    config = without(config, "rewriters")
    assert [line.split(" ")[0] for line in unused(complete(config))] == ["captioners.sampled"]


# ---- what is refused, and in which words --------------------------------------------------------

Change = Callable[[dict[str, Any]], dict[str, Any]]


def setting(path: str, value: Any) -> Change:
    return lambda config: with_change(config, path, value)


def several(*paths_and_values: Any) -> Change:
    """Return a change of several keys: a path, its value, the next path, and so on."""

    def change(config: dict[str, Any]) -> dict[str, Any]:
        for path, value in zip(paths_and_values[::2], paths_and_values[1::2], strict=True):
            config = with_change(config, path, value)
        return config

    return change


def removing(path: str) -> Change:
    return lambda config: without(config, path)


# Each: what is done to config.yaml, and the key and the remedy that a message must name.
MISTAKES: dict[str, tuple[Change, str, str]] = {
    "feature extractor of no model": (
        setting("feature_extractors/more", {"batch_size": 4}),
        "feature_extractors.more.model is missing",
        "or hub identifier",
    ),
    "feature extractor of a model and of random weights": (
        setting("feature_extractors/embedded/random_weights", {"seed": 1}),
        "feature_extractors.embedded.model: does not apply; remove it",
        "random_weights stand in the place of a model",
    ),
    "random weights that read prompts": (
        setting("feature_extractors/more", {"random_weights": {}, "prompt_agreement": True}),
        "feature_extractors.more.prompt_agreement: does not apply; remove it",
        "reads no prompts",
    ),
    "family of random weights without them": (
        setting("feature_extractors/embedded/family", "random"),
        "feature_extractors.embedded.family: 'random' is not known",
        "known: dinov2, clip, encoder-decoder, timm",
    ),
    "random weights of another family": (
        setting("feature_extractors/more", {"random_weights": {}, "family": "timm"}),
        "feature_extractors.more.family: 'timm' is not known",
        "known: random",
    ),
    "mistyped architecture of random weights": (
        setting("feature_extractors/more", {"random_weights": {"architecture": "vg16"}}),
        "feature_extractors.more.random_weights.architecture: 'vg16' is not known",
        "did you mean 'vgg16'",
    ),
    "unknown set of another split": (
        setting("eval_sets/openmoji-v2/unknown", True),
        "eval_sets.openmoji-v2.unknown: the split unknown, and no other",
        "write split: unknown and unknown: true",
    ),
    "split unknown that is not said to be": (
        setting("eval_sets/openmoji-v2/split", "unknown"),
        "eval_sets.openmoji-v2.unknown: the split unknown, and no other",
        "write split: unknown and unknown: true",
    ),
    "unknown things that are classes": (
        setting(
            "eval_sets/more",
            {"source": "openmoji", "split": "unknown", "unknown": True, "classes": ["car"]},
        ),
        "eval_sets.more.classes[0]: 'car' is not drawn",
        "known: clock, instrument",
    ),
    "mistyped attribute of groups": (
        setting("eval_sets/openmoji-val/groups", "backgroud"),
        "eval_sets.openmoji-val.groups: 'backgroud' is not known; did you mean 'background'",
        "write context or background",
    ),
    "sketches by background": (
        setting("eval_sets/openmoji-sketch/groups", "context"),
        "eval_sets.openmoji-sketch.groups: sketches have no background",
        "remove it",
    ),
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
        "known keys: in_distribution, comparisons, ablation_baseline",
    ),
    "unknown strategy": (
        setting("variants/caption/strategy", "captoin"),
        "variants.caption.strategy: 'captoin' is not known",
        "did you mean 'caption'? known: class-name, caption, class-name-paper, caption-paper, "
        "caption-only, class-name-hypernym",
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
    "attack on an unknown set": (
        setting("privacy", {"training_sets": ["captions"]}),
        "privacy.training_sets[0]: 'captions' is not one of the training_sets",
        "did you mean 'caption'?",
    ),
    "odd number of reference models": (
        setting("privacy", {"reference_models": 3}),
        "privacy.reference_models: 3",
        "2",
    ),
    "twin that is another variant": (
        setting("privacy", {"twins": {"caption": "class-name"}}),
        "privacy.twins.caption: 'class-name' must differ from it in its seed and in nothing else",
        "change it",
    ),
    "twin of itself": (
        setting("privacy", {"twins": {"caption": "caption"}}),
        "privacy.twins.caption: 'caption' must differ from it in its seed",
        "remove it",
    ),
    "leakage of images without a source": (
        setting("privacy", {"leakage": ["class-name"]}),
        "privacy.leakage[0]: the images of 'class-name' descend from no real image",
        "remove it",
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
    "calibration set in distribution": (
        setting("report/calibration_set", "openmoji-val"),
        "report.calibration_set: 'openmoji-val' is report.in_distribution",
        "name another set",
    ),
    "calibration set of corruptions": (
        setting("report/calibration_set", "openmoji-c"),
        "report.calibration_set: 'openmoji-c' has corruptions",
        "name a set of plain images",
    ),
    "unknown calibration set": (
        setting("report/calibration_set", "openmoji-calibrate"),
        "report.calibration_set: 'openmoji-calibrate' is not one of the eval_sets",
        "did you mean 'openmoji-calibration'?",
    ),
    "learning curves in distribution": (
        setting("learning_curves/eval_set", "openmoji-val"),
        "learning_curves.eval_set: 'openmoji-val' is report.in_distribution",
        "name a set that is used for nothing else",
    ),
    "learning curves on the calibration set": (
        setting("learning_curves/eval_set", "openmoji-calibration"),
        "learning_curves.eval_set: 'openmoji-calibration' is report.calibration_set",
        "name a set that is used for nothing else",
    ),
    "learning curves of corruptions": (
        setting("learning_curves/eval_set", "openmoji-c"),
        "learning_curves.eval_set: 'openmoji-c' has corruptions",
        "name a set of plain images",
    ),
    "learning curves of unknown images": (
        setting("eval_sets/openmoji-held-out/unknown", True),
        "learning_curves.eval_set: 'openmoji-held-out' has unknown",
        "name a set of plain images",
    ),
    "probe on a set of known classes": (
        setting("probes", {"eval_sets": ["openmoji-val"]}),
        "probes.eval_sets[0]: the classes of 'openmoji-val' are those that classifiers were",
        "name a set with unknown: true",
    ),
    "probe on an unknown set": (
        setting("probes", {"eval_sets": ["openmoji-values"]}),
        "probes.eval_sets[0]: 'openmoji-values' is not one of the eval_sets",
        "did you mean 'openmoji-val'?",
    ),
    "unknown set of learning curves": (
        setting("learning_curves/eval_set", "openmoji-heldout"),
        "learning_curves.eval_set: 'openmoji-heldout' is not one of the eval_sets",
        "did you mean 'openmoji-held-out'?",
    ),
    "points that leave out three quarters": (
        setting("learning_curves/points", 10),
        "learning_curves.points: 10",
        "multiple of 4",
    ),
    "held-out images as clean ones": (
        setting("report/robustness", {"clean": {"openmoji-r": "openmoji-held-out"}}),
        "report.robustness.clean: names 'openmoji-held-out'",
        "name another set",
    ),
    "unknown reference of fidelity": (
        setting("report/fidelity", {"reference": "openmoji-vall"}),
        "report.fidelity.reference: 'openmoji-vall' is not one of the eval_sets",
        "did you mean 'openmoji-val'?",
    ),
    "unknown clean set": (
        setting("report/robustness", {"clean": {"openmoji-r": "openmoji-vall"}}),
        "report.robustness.clean.openmoji-r: 'openmoji-vall' is not one of the eval_sets",
        "did you mean 'openmoji-val'?",
    ),
    "unknown published line": (
        setting("report/robustness", {"published": {"openmoji-r": "imagenet-rr"}}),
        "report.robustness.published.openmoji-r: 'imagenet-rr' is not known",
        "did you mean 'imagenet-r'?",
    ),
    "replicates that differ in more than a seed": (
        setting("report/generation_replicates", [["caption", "class-name"]]),
        "report.generation_replicates[0]: 'class-name' and 'caption' differ in",
        "name training sets that do not",
    ),
    "generation replicates that differ in the draw of their share as well": (
        several(
            "training_sets/caption",
            {"variants": {"caption": 0.5}},
            "training_sets/again",
            {"variants": {"caption": 0.5}, "sample_seed": 1},
            "report/generation_replicates",
            [["caption", "again"]],
        ),
        "report.generation_replicates[0]: 'again' and 'caption' differ in",
        "name training sets that do not",
    ),
    "a sample seed that draws nothing": (
        setting("training_sets/again", {"real": 1.0, "variants": ["caption"], "sample_seed": 1}),
        "training_sets.again.sample_seed: the set takes all images, so that another seed draws no",
        "give real, or a variant, a share below 1, or remove sample_seed",
    ),
    "unknown sample replicate": (
        setting("report/sample_replicates", [["real", "reel"]]),
        "report.sample_replicates[0][1]: 'reel' is not one of the training_sets",
        "did you mean 'real'?",
    ),
    "sample replicates of all real images": (
        setting("report/sample_replicates", [["real", "class-name"]]),
        "report.sample_replicates[0]: 'real' takes all real images or none",
        "name training sets whose real is a share below 1",
    ),
    "sample replicates of other shares": (
        several(
            "training_sets/half",
            {"real": 0.5},
            "training_sets/third",
            {"real": 0.33, "sample_seed": 1},
            "report/sample_replicates",
            [["half", "third"]],
        ),
        "report.sample_replicates[0]: 'third' and 'half' differ in more than their sample_seed",
        "name training sets that do not",
    ),
    "sample replicates that are the same set": (
        several(
            "training_sets/half",
            {"real": 0.5},
            "training_sets/again",
            {"real": 0.5},
            "report/sample_replicates",
            [["half", "again"]],
        ),
        "report.sample_replicates[0]: 'again' and 'half' have the same sample_seed",
        "give one of them another",
    ),
    "sample replicates whose shares overlap differently": (
        several(
            "training_sets/half",
            {"real": 0.5, "variants": {"caption": 0.2}},
            "training_sets/other",
            {"real": 0.5, "variants": {"caption": 0.2}, "sample_seed": 1},
            "report/sample_replicates",
            [["half", "other"]],
        ),
        "report.sample_replicates[0]: 'half' draws a share of 0.2 of 'caption' and one of 0.5",
        "take all of the variant, or the same share",
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
        "remove it. This strategy reads no captions.",
    ),
    "captioner that is missing": (
        removing("variants/caption/captioner"),
        "variants.caption.captioner is missing",
        "Name of the captioner",
    ),
    "number of images that captions decide": (
        setting("variants/caption/images_per_class", 64),
        "variants.caption.images_per_class: does not apply",
        "remove it. Caption strategies draw images_per_caption images of each caption.",
    ),
    "number of images that is none": (
        setting("variants/class-name/images_per_class", 0),
        "variants.class-name.images_per_class: 0 is too small",
        "use at least 1",
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
    "one of several templates without its caption": (
        setting("variants/caption/templates", ["{class_name}: {caption}", "a {class_name}"]),
        "variants.caption.templates[1]: strategy caption needs {caption}",
        "add it",
    ),
    "template beside templates": (
        lambda config: with_change(
            with_change(config, "variants/caption/template", "{class_name}, {caption}"),
            "variants/caption/templates",
            ["{class_name}: {caption}"],
        ),
        "variants.caption.template: does not apply",
        "remove it. The templates take its place",
    ),
    "mistyped hypernym in a template": (
        setting("variants/class-name/template", "{class_name}, {hypernim}"),
        "variants.class-name.template: {hypernim} is not filled in",
        "did you mean hypernym?",
    ),
    "template of the strategy that has its own": (
        setting(
            "variants/class-name",
            {
                "strategy": "clip-templates",
                "generator": "embedded",
                "images_per_class": 5,
                "template": "a {class_name}",
            },
        ),
        "variants.class-name.template: does not apply",
        "for others use the strategy class-name",
    ),
    "backgrounds that are missing": (
        setting("variants/class-name/strategy", "class-name-background"),
        "variants.class-name.backgrounds is missing",
        "what {background} stands for",
    ),
    "backgrounds that are not needed": (
        setting("variants/caption/backgrounds", ["on grass"]),
        "variants.caption.backgrounds: does not apply",
        "Only the strategies that end in -background",
    ),
    "no backgrounds": (
        lambda config: with_change(
            with_change(config, "variants/class-name/strategy", "class-name-background"),
            "variants/class-name/backgrounds",
            [],
        ),
        "variants.class-name.backgrounds: has 0 entries",
        "give at least 1",
    ),
    "images a caption without captions": (
        setting("variants/class-name/images_per_caption", 2),
        "variants.class-name.images_per_caption: does not apply",
        "give images_per_class",
    ),
    "no image a caption": (
        setting("variants/caption/images_per_caption", 0),
        "variants.caption.images_per_caption: 0 is too small",
        "use more than 0",
    ),
    "class-less policy without captions": (
        setting("variants/class-name/on_classless", "drop"),
        "variants.class-name.on_classless: does not apply",
        "This strategy reads no captions.",
    ),
    "unknown class-less policy": (
        setting("variants/caption/on_classless", "dorp"),
        "variants.caption.on_classless: 'dorp' is not known",
        "did you mean 'drop'?",
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
    "milestone beyond the training": (
        setting(
            "recipes/mine",
            {"model": "m", "schedule": "multistep", "milestones": [3, 30], "epochs": 30},
        ),
        "recipes.mine.milestones: 30 must be below epochs",
        "which is 30",
    ),
    "milestones of another schedule": (
        setting("recipes/cpu-tiny/milestones", [3]),
        "recipes.cpu-tiny.milestones: does not apply",
        "Only the schedule multistep has milestones.",
    ),
    "multistep without milestones": (
        setting("recipes/cpu-tiny/schedule", "multistep"),
        "recipes.cpu-tiny.milestones is missing",
        "Epochs at which the rate is lowered",
    ),
    "lowest rate of another schedule": (
        setting("recipes/mine", {"base": "paper-subset", "min_learning_rate": 0.01}),
        "recipes.mine.min_learning_rate: does not apply",
        "Only the schedule cosine has a lowest learning rate.",
    ),
    "lowest rate above the highest": (
        setting("recipes/cpu-tiny/min_learning_rate", 1),
        "recipes.cpu-tiny.min_learning_rate: 1 must not be above learning_rate",
        "0.002",
    ),
    "crop of squashed images": (
        setting("recipes/mine", {"base": "paper-subset", "eval_crop": 0.9}),
        "recipes.mine.eval_crop: does not apply",
        "squash takes the whole image.",
    ),
    "recipe without a model": (
        setting("recipes/mine", {"epochs": 3}),
        "recipes.mine.model is missing",
        "Name of a timm architecture",
    ),
    "unknown preset": (
        setting("recipes/mine", {"base": "timm-a4"}),
        "recipes.mine.base: 'timm-a4' is not known",
        "did you mean 'timm-a3'?",
    ),
    "more processes than images in a step": (
        setting("recipes/cpu-tiny/gpus", 64),
        "recipes.cpu-tiny.gpus: 64 processes cannot share a batch of 32",
        "use fewer",
    ),
    "share of an unknown variant": (
        setting("training_sets/caption/variants", {"captoin": 0.5}),
        "training_sets.caption.variants.captoin: 'captoin' is not one of the variants",
        "did you mean 'caption'?",
    ),
    "share above one": (
        setting("training_sets/caption/variants", {"caption": 1.5}),
        "training_sets.caption.variants.caption: 1.5 is too large",
        "use at most 1",
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
        "one folder of images per class",
    ),
    "path of drawn scenes": (
        setting("dataset/path", "photos"),
        "dataset.path: does not apply",
        "Only sources that are not drawn read a path.",
    ),
    "mapping of classes of drawn scenes": (
        setting("dataset/classes", {"cra": "car", "dog": "dog"}),
        "dataset.classes: 'cra' is not known",
        "did you mean 'car'?",
    ),
    "subset for drawn scenes": (
        setting("dataset/classes", "imagenette"),
        "dataset.classes: ",
        "expected a list or a mapping of keys to values, not 'imagenette'",
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
        (removing("dataset/path"), "dataset.path is missing", "one folder of images per class"),
        (
            setting("report/in_distribution", "photos-unknown"),
            "report.in_distribution: the images of 'photos-unknown' are of no class",
            "name a set of images of the classes",
        ),
        (
            setting("report/calibration_set", "photos-unknown"),
            "report.calibration_set: the images of 'photos-unknown' are of no class",
            "name a set of images of the classes",
        ),
        (
            setting("report/robustness/published/photos-unknown", "imagenet-r"),
            "report.robustness.published.photos-unknown: there is no accuracy",
            "remove it",
        ),
        (
            setting("eval_sets/photos-unknown/classes", ["Tench_2"]),
            "eval_sets.photos-unknown.classes: all folders",
            "remove it",
        ),
        (
            setting("eval_sets/photos-unknown/corruptions", ["snow"]),
            "eval_sets.photos-unknown.corruptions: unknown images",
            "remove it",
        ),
        (
            setting("eval_sets/photos-tars/unknown", True),
            "eval_sets.photos-tars.source: unknown images are read from folders",
            "write source: folder",
        ),
        (
            setting("eval_sets/photos-c/groups", "groups.csv"),
            "eval_sets.photos-c.groups: corrupted images are not grouped",
            "group the set of the clean ones",
        ),
        (
            setting("eval_sets/photos-tars/groups", "groups.csv"),
            "eval_sets.photos-tars.groups: 'photos-tars' is report.calibration_set",
            "remove it",
        ),
        (
            setting("report/min_group_images", 0),
            "report.min_group_images: 0 is too small",
            "at least 1",
        ),
        (setting("dataset/seed", 3), "dataset.seed: does not apply", "remove it"),
        (setting("dataset/context_bias", 0.3), "dataset.context_bias: does not apply", "remove it"),
        (
            setting("dataset/share", [0.5, 0.25]),
            "dataset.share: least before greatest",
            "write [0.25, 0.5]",
        ),
        (setting("dataset/share", [0.5, 0.5]), "dataset.share: least", "write [0, 1] for all"),
        (setting("dataset/share", [0, 2]), "dataset.share[1]: 2 is too large", "at most 1"),
        (setting("dataset/split", "train"), "dataset.split: does not apply", "huggingface"),
        (
            setting("dataset/download", "photos"),
            "dataset.download: does not apply",
            "give one of the two",
        ),
        (
            setting("eval_sets/photos-hub/download", "photos"),
            "eval_sets.photos-hub.download: does not apply",
            "remove it",
        ),
        (
            setting("eval_sets/photos-tars/path", ["a", "b"]),
            "eval_sets.photos-tars.path: expected text",
            "not ['a', 'b']",
        ),
        (
            setting("eval_sets/photos-c/classes", "imagenet-v2"),
            "eval_sets.photos-c.classes: 'imagenet-v2' is no subset",
            "known: imagenette",
        ),
        (
            setting("dataset/label_classes", "imagenet-1k"),
            "dataset.label_classes: does not apply",
            "remove it",
        ),
        (
            setting("eval_sets/photos-val/layout", "index-folders"),
            "eval_sets.photos-val.layout: 'index-folders' is not known",
            "class-folders",
        ),
        (
            setting("eval_sets/photos-c/corruptions", ["jpeg"]),
            "eval_sets.photos-c.corruptions[0]: 'jpeg' is none of imagecorruptions",
            "known: gaussian-noise",
        ),
        (
            setting("eval_sets/photos-c/corruptions", "imagenet-d"),
            "eval_sets.photos-c.corruptions: 'imagenet-d' is no set",
            "write imagenet-c or a list",
        ),
        (
            setting("eval_sets/photos-val/corruption_side", 32),
            "eval_sets.photos-val.corruption_side: does not apply",
            "There are no corruptions.",
        ),
        (
            lambda config: without(tars_config(), "dataset/classes"),
            "dataset.classes is missing",
            "add it",
        ),
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
            setting("dataset/classes", "imagenet100"),
            "dataset.classes: 'imagenet100' is not known",
            "did you mean 'imagenet-100'?",
        ),
        (
            setting("dataset/classes", "classes.tsv"),
            "dataset.classes: 'classes.tsv' is not known",
            "a file that ends in .txt, a file that ends in .csv",
        ),
        (
            setting("dataset/classes", {"a": {"definition": "x"}, "b": "y"}),
            "dataset.classes.a.name is missing",
            "Name of the class",
        ),
        (
            setting("dataset/classes", {"a": {"name": "x", "hypernim": "z"}, "b": "y"}),
            "dataset.classes.a.hypernim is not a key",
            "did you mean hypernym?",
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
            setting("captioners/blip/num_captions", 2),
            "captioners.blip.num_captions: does not apply",
            "Without sampling all captions of an image are the same; set temperature.",
        ),
        (
            setting("captioners/blip/seed", 2),
            "captioners.blip.seed: does not apply",
            "set temperature to sample",
        ),
        (
            setting("captioners/sampled/num_beams", 2),
            "captioners.sampled.num_beams: does not apply",
            "remove temperature for a beam search",
        ),
        (
            setting("captioners/blip/family", "blip2"),
            "captioners.blip.family: 'blip2' is not known; did you mean 'blip-2'?",
            "known: encoder-decoder, blip, blip-2, git, chat",
        ),
        (
            setting("rewriters/blip", {"captioner": "blip", "model": "an/llm"}),
            "rewriters.blip: is the name of a captioner too",
            "rename one",
        ),
        (
            setting("rewriters/reworded/captioner", "reworded"),
            "rewriters.reworded.captioner: 'reworded' is not one of the captioners",
            "known: blip, sampled",
        ),
        (
            setting("rewriters/reworded/prompt", "say it again"),
            "rewriters.reworded.prompt: {caption} is missing in 'say it again'",
            "add it",
        ),
        (
            setting("rewriters/reworded/prompt", "{capton}: {caption}"),
            "rewriters.reworded.prompt: {capton} is not filled in",
            "did you mean caption?",
        ),
        (
            setting("rewriters/reworded/min_words", 31),
            "rewriters.reworded.min_words: 31 must not be more than max_words",
            "which is 30",
        ),
        (
            setting("rewriters/reworded/ascii_only", "no"),
            "rewriters.reworded.ascii_only: expected true or false",
            "not 'no'",
        ),
        (
            setting("variants/retold/captioner", "rewordde"),
            "variants.retold.captioner: 'rewordde' is not one of the captioners",
            "did you mean 'reworded'?",
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
