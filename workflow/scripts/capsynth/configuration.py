"""Checking the configuration and filling in its defaults.

The shape and the defaults are those of ``workflow/schemas/config.schema.yaml`` (``schema.py``, with
its messages in ``schema_messages.py``); what compares one key with another is ``config_checks.py``.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError

from capsynth import classes as class_sources
from capsynth.classes import ClassInfo
from capsynth.config_checks import (
    CORRUPTION_NAMES,
    IMAGENET_C,
    check_recipe,
    check_references,
    check_values,
    corruption_library,
)
from capsynth.config_entries import section_of
from capsynth.config_sources import ConfigSources
from capsynth.datasets.entries import class_entries
from capsynth.errors import CapsynthError
from capsynth.recipes import with_preset
from capsynth.schema import check_keys, fill, load_schema, normalise, schema_at
from capsynth.schema_messages import explain, name_rule

# Entries of a folder that a message names.
SHOWN = 3
# What a variant may set itself instead of its generator.
OVERRIDES = ("num_inference_steps", "guidance_scale", "negative_prompt", "scheduler")


def complete(config: Mapping[str, Any], sources: ConfigSources | None = None) -> dict[str, Any]:
    """Check ``config`` and return a copy with every default filled in.

    Every key of the schema is present in the copy; a key that does not apply is None, as if it had
    been left out. What a variant leaves to its generator, or an evaluation set to the data set, is
    filled in from there, and so is what a recipe leaves to its preset. Variants of a training set
    become a mapping of shares. Equal configurations give equal copies: a whole number given for a
    real one becomes a float, and the other way round.

    Args:
        config: The configuration.
        sources: Where it comes from, to be named in messages.

    Raises:
        CapsynthError: If anything is wrong; its message lists all problems, one line each.
    """
    schema = load_schema()
    # What is wrong with a name in a file is told with the name as it is written there.
    problems = list(check_keys(config)) if sources is None else []
    plain = _with_presets(normalise(config, schema, (), problems))
    for error in Draft202012Validator(schema).iter_errors(plain):
        if not _lacks_only_misread_names(error, config):
            problems += explain(error, plain, sources)
    problems += check_references(plain)
    problems += check_values(plain)
    problems = list(dict.fromkeys(problems))
    hint = ""
    if sources is not None:
        problems, hint = sources.located(problems)
        problems = [*sources.problems, *problems]
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join("  " + " ".join(line.split("\n")) for line in problems)
        raise CapsynthError(f"the configuration has {count}:\n{lines}" + (hint and f"\n{hint}"))
    filled: dict[str, Any] = fill(plain, schema)
    for variant in filled["variants"].values():
        generator = filled["generators"][variant["generator"]]
        inherited = {key: generator[key] for key in OVERRIDES if variant[key] is None}
        variant.update(inherited)
    for mix in filled["training_sets"].values():
        if isinstance(mix["variants"], list):
            mix["variants"] = dict.fromkeys(mix["variants"], 1.0)
    for eval_set in filled["eval_sets"].values():
        if eval_set["source"] == "openmoji" and eval_set["context_bias"] is None:
            eval_set["context_bias"] = filled["dataset"]["context_bias"]
        _fill_corruptions(eval_set)
    return filled


def _lacks_only_misread_names(error: ValidationError, config: Mapping[str, Any]) -> bool:
    """Return whether a mapping has too few names because some are no text, which is told itself."""
    if error.validator != "minProperties":
        return False
    given: Any = config
    for key in error.absolute_path:
        given = given.get(key) if isinstance(given, Mapping) else None
    return isinstance(given, Mapping) and len(given) >= cast(int, error.validator_value)


def complete_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return one recipe as ``complete`` fills it in, without its ``base``: what a job is told.

    Raises:
        CapsynthError: If anything is wrong, as in ``complete``.
    """
    config = {"recipes": {"recipe": recipe}}
    schema = load_schema()
    problems: list[str] = []
    plain = _with_presets(normalise(config, schema, (), problems))
    part = {**schema["properties"]["recipes"], "$defs": schema["$defs"]}
    for error in Draft202012Validator(part).iter_errors(plain["recipes"]):
        error.path.appendleft("recipes")
        problems += explain(error, plain)
    problems += check_recipe("recipes.recipe", plain["recipes"]["recipe"])
    if problems:
        raise CapsynthError("; ".join(dict.fromkeys(problems)))
    filled = fill(plain["recipes"]["recipe"], schema_at(("recipes", "recipe")))
    return {key: value for key, value in filled.items() if key != "base"}


def _fill_corruptions(eval_set: dict[str, Any]) -> None:
    """Fill in the names that imagenet-c stands for, and the library and size that follow."""
    library = corruption_library(eval_set)
    if eval_set["corruptions"] == IMAGENET_C:
        eval_set["corruptions"] = list(CORRUPTION_NAMES["imagecorruptions"])
    if eval_set["corruptions"] and eval_set["layout"] != "corruption-folders":
        eval_set["corruption_library"] = library
        if eval_set["corruption_side"] is None:
            # Those of the embedded data set are smaller than what ImageNet-C is made of.
            as_published = library == "imagecorruptions" and eval_set["source"] != "openmoji"
            eval_set["corruption_side"] = 224 if as_published else 0


def class_table(dataset: Mapping[str, Any], fields: Collection[str] = ()) -> dict[str, ClassInfo]:
    """Return what is known of each class by its identifier, in the order of the class indices.

    Args:
        dataset: The data set of a configuration that ``complete`` returned.
        fields: Which of ``definition`` and ``hypernym`` to look up.

    Raises:
        CapsynthError: If the classes are to be read off a folder that does not exist, that holds
            fewer than two folders, or whose folders have names that shards cannot carry; or from a
            file that cannot be read.
    """
    given = dataset["classes"] or _folder_names(Path(dataset["path"]))
    return class_sources.class_table(given, fields)


def _folder_names(path: Path) -> list[str]:
    try:
        names, problems, _ = class_entries(path)
    except OSError as error:
        raise CapsynthError(
            f"dataset.path: {path} cannot be read ({error.strerror}); "
            "name a folder that holds one folder of images per class"
        ) from None
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise CapsynthError(
            f"dataset.path: in {path}, whose folders are the classes, {'; '.join(problems[:SHOWN])}"
            f"{more}; mend it, move it elsewhere, or list the classes in dataset.classes"
        )
    if len(names) < 2:
        raise CapsynthError(
            f"dataset.path: {path} holds {len(names)} folders; it needs one a class, two at least"
        )
    rule = load_schema()["$defs"]["class_id"]
    for name in names:
        if not Draft202012Validator(rule).is_valid(name):
            raise CapsynthError(
                f"dataset.path: folder {name!r} cannot be a class; {name_rule(rule['pattern'])}, "
                f"at most {rule['maxLength']} characters"
            )
    return names


def unused(config: Mapping[str, Any]) -> list[str]:
    """Return one line for each captioner, rewriter, generator and variant that nothing uses.

    Args:
        config: A configuration that ``complete`` returned.
    """
    variants = config["variants"].values()
    users = {
        "captioners": {entry["captioner"] for entry in (*variants, *config["rewriters"].values())},
        "rewriters": {variant["captioner"] for variant in variants},
        "generators": {variant["generator"] for variant in variants},
        "variants": {
            *(name for mix in config["training_sets"].values() for name in mix["variants"]),
            *config["privacy"]["twins"].values(),
        },
    }
    return [
        f"{section}.{name} is used by nothing; remove it or name it where it is meant"
        for section, used in users.items()
        for name in config[section]
        if name not in used
    ]


def _with_presets(config: Any) -> Any:
    """Return ``config`` with the values of their presets in the recipes that name one."""
    recipes = section_of(config, "recipes")
    merged = {
        name: with_preset(recipe) if isinstance(recipe, dict) else recipe
        for name, recipe in recipes.items()
    }
    return {**config, "recipes": merged} if merged else config
