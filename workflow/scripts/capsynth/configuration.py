"""Checking the configuration and filling in its defaults.

The shape and the defaults are those of ``workflow/schemas/config.schema.yaml``; the checks that
compare one key with another are here. Every problem is one line that names the key and the remedy.
"""

import difflib
import functools
import math
import re
import string
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from capsynth import classes as class_sources
from capsynth.classes import ClassInfo
from capsynth.datasets.imagenet import SUBSETS
from capsynth.errors import CapsynthError
from capsynth.recipes import with_preset

SCHEMA_PATH = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"

# What a template of each strategy must fill in.
PLACEHOLDERS: Mapping[str, tuple[str, ...]] = {
    "class-name": ("class_name",),
    "caption": ("class_name", "caption"),
    "caption-only": ("caption",),
    "class-name-hypernym": ("class_name", "hypernym"),
    "class-name-definition": ("class_name", "definition"),
    "class-name-background": ("class_name", "background"),
    "clip-templates": ("class_name",),
    "caption-background": ("class_name", "caption", "background"),
}
# What any template may fill in beside that.
OPTIONAL_PLACEHOLDERS = ("definition", "hypernym")

# The corruptions of each library; those of imagecorruptions are all of imagenet-c.
CORRUPTION_NAMES: Mapping[str, tuple[str, ...]] = {
    "tiny-imagenet-c": (
        "gaussian-noise",
        "shot-noise",
        "impulse-noise",
        "defocus-blur",
        "brightness",
        "contrast",
        "pixelate",
        "jpeg",
    ),
    "imagecorruptions": (
        "gaussian-noise",
        "shot-noise",
        "impulse-noise",
        "defocus-blur",
        "glass-blur",
        "motion-blur",
        "zoom-blur",
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "elastic-transform",
        "pixelate",
        "jpeg-compression",
    ),
}
IMAGENET_C = "imagenet-c"

# What a variant may set itself instead of its generator.
OVERRIDES = ("num_inference_steps", "guidance_scale", "negative_prompt", "scheduler")

Schema = Mapping[str, Any]
KeyPath = tuple[str | int, ...]

_NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?)(\d+))?")
_TYPE_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping of keys to values",
    "boolean": "true or false",
    "null": "nothing",
}


@functools.cache
def load_schema() -> Schema:
    """Return the configuration's JSON Schema (draft 2020-12)."""
    schema: Schema = yaml.safe_load(SCHEMA_PATH.read_text(encoding="utf-8"))
    return schema


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check ``config`` and return a copy with every default filled in.

    Every key of the schema is present in the copy; a key that does not apply is None, as if it had
    been left out. What a variant leaves to its generator, or an evaluation set to the data set, is
    filled in from there, and so is what a recipe leaves to its preset. Variants of a training set
    become a mapping of shares. Equal configurations give equal copies: a whole number given for a
    real one becomes a float, and the other way round.

    Raises:
        CapsynthError: If anything is wrong; its message lists all problems, one line each.
    """
    schema = load_schema()
    problems: list[str] = []
    plain = _with_presets(_normalise(config, schema, (), problems))
    errors = Draft202012Validator(schema).iter_errors(plain)
    problems += [line for error in errors for line in _explain(error, plain)]
    problems += _check_references(plain)
    problems += _check_values(plain)
    problems = list(dict.fromkeys(problems))
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join("  " + " ".join(line.split("\n")) for line in problems)
        raise CapsynthError(f"the configuration has {count}:\n{lines}")
    filled: dict[str, Any] = _fill(plain, schema)
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


def complete_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return one recipe as ``complete`` fills it in, without its ``base``: what a job is told.

    Raises:
        CapsynthError: If anything is wrong, as in ``complete``.
    """
    config = {"recipes": {"recipe": recipe}}
    schema = load_schema()
    problems: list[str] = []
    plain = _with_presets(_normalise(config, schema, (), problems))
    part = {**schema["properties"]["recipes"], "$defs": schema["$defs"]}
    for error in Draft202012Validator(part).iter_errors(plain["recipes"]):
        error.path.appendleft("recipes")
        problems += _explain(error, plain)
    problems += _check_recipe("recipes.recipe", plain["recipes"]["recipe"])
    if problems:
        raise CapsynthError("; ".join(dict.fromkeys(problems)))
    filled = _fill(plain["recipes"]["recipe"], schema_at(("recipes", "recipe")))
    return {key: value for key, value in filled.items() if key != "base"}


def _fill_corruptions(eval_set: dict[str, Any]) -> None:
    """Fill in the names that imagenet-c stands for, and the library and size that follow."""
    library = _corruption_library(eval_set)
    if eval_set["corruptions"] == IMAGENET_C:
        eval_set["corruptions"] = list(CORRUPTION_NAMES["imagecorruptions"])
    if eval_set["corruptions"] and eval_set["layout"] != "corruption-folders":
        eval_set["corruption_library"] = library
        if eval_set["corruption_side"] is None:
            eval_set["corruption_side"] = 224 if library == "imagecorruptions" else 0


def _corruption_library(eval_set: Mapping[str, Any]) -> str:
    """Return what corrupts an evaluation set, or stored its corrupted images."""
    named = eval_set.get("corruption_library")
    if isinstance(named, str):
        return named
    is_drawn = eval_set.get("source") == "openmoji"
    is_own = is_drawn and eval_set.get("corruptions") != IMAGENET_C
    return "tiny-imagenet-c" if is_own else "imagecorruptions"


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
        names = sorted(f.name for f in path.iterdir() if f.is_dir() and f.name[0] != ".")
    except OSError as error:
        raise CapsynthError(
            f"dataset.path: {path} cannot be read ({error.strerror}); "
            "name a folder that holds one folder of images a class"
        ) from None
    if len(names) < 2:
        raise CapsynthError(
            f"dataset.path: {path} holds {len(names)} folders; it needs one a class, two at least"
        )
    rule = load_schema()["$defs"]["class_id"]
    for name in names:
        if not Draft202012Validator(rule).is_valid(name):
            raise CapsynthError(
                f"dataset.path: folder {name!r} cannot be a class; {_name_rule(rule['pattern'])}, "
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
        "variants": {name for mix in config["training_sets"].values() for name in mix["variants"]},
    }
    return [
        f"{section}.{name} is used by nothing; remove it or name it where it is meant"
        for section, used in users.items()
        for name in config[section]
        if name not in used
    ]


def _with_presets(config: Any) -> Any:
    """Return ``config`` with the values of their presets in the recipes that name one."""
    recipes = _section(config, "recipes")
    merged = {
        name: with_preset(recipe) if isinstance(recipe, dict) else recipe
        for name, recipe in recipes.items()
    }
    return {**config, "recipes": merged} if merged else config


def _resolve(schema: Schema) -> Schema:
    """Return ``schema`` with its ``$ref`` replaced by what it points to; keys beside it win."""
    if "$ref" not in schema:
        return schema
    definition = load_schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return {**_resolve(definition), **{k: v for k, v in schema.items() if k != "$ref"}}


def _child(schema: Schema, key: str | int) -> Schema:
    """Return the schema of one key, or one item, of what ``schema`` describes; {} if unknown."""
    if isinstance(key, int):
        return _resolve(schema.get("items", {}))
    if key in schema.get("properties", {}):
        return _resolve(schema["properties"][key])
    others = schema.get("additionalProperties")
    return _resolve(others) if isinstance(others, Mapping) else {}


def _types(schema: Schema) -> tuple[str, ...]:
    names = schema.get("type", ())
    return (names,) if isinstance(names, str) else tuple(names)


def _takes_null(schema: Schema) -> bool:
    return "null" in _types(schema) or None in schema.get("enum", ())


def _normalise(value: Any, schema: Schema, path: KeyPath, problems: list[str]) -> Any:
    """Return a plain copy of ``value``: new dicts and lists, no keys that are set to nothing.

    Adds to ``problems`` what JSON cannot hold and a schema therefore cannot refuse.
    """
    if isinstance(value, Mapping):
        plain = {}
        for key, item in value.items():
            if not isinstance(key, str):
                problems.append(f"{_name((*path, str(key)))}: put the name in quotes: '{key}'")
                continue
            child = _child(schema, key)
            if item is not None or not _takes_null(child):
                plain[key] = _normalise(item, child, (*path, key), problems)
        return plain
    if isinstance(value, list | tuple):
        return [
            _normalise(item, _child(schema, index), (*path, index), problems)
            for index, item in enumerate(value)
        ]
    if value is False and "off" in schema.get("enum", ()):
        return "off"  # what YAML 1.1 reads in a bare off
    if isinstance(value, float) and not math.isfinite(value):
        problems.append(f"{_name(path)}: {value} is not a finite number; write one")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return _as_schema_number(value, schema)
    return value


def _as_schema_number(value: int | float, schema: Schema) -> int | float:
    """Return ``value`` as the kind of number that ``schema`` asks for, where nothing is lost."""
    types = _types(schema)
    if "integer" in types and isinstance(value, float) and value.is_integer():
        return int(value)
    # Beyond 2**53 a float would not be the number that was written.
    if "number" in types and abs(value) <= 2**53:
        return float(value)
    return value


def _fill(value: Any, schema: Schema) -> Any:
    """Return a copy of ``value`` with the defaults of ``schema`` in the place of missing keys."""
    if isinstance(value, list):
        return [_fill(item, _child(schema, index)) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    defaults = {
        key: _resolve(child)["default"]
        for key, child in schema.get("properties", {}).items()
        if "default" in _resolve(child)
    }
    # Conditions see the plain defaults, and what follows from them wins over the plain ones.
    for rule in schema.get("allOf", ()):
        if Draft202012Validator(rule["if"]).is_valid({**defaults, **value}):
            for key, child in rule["then"].get("properties", {}).items():
                if "default" in child:
                    defaults[key] = child["default"]
    filled = {key: _fill(item, _child(schema, key)) for key, item in value.items()}
    missing = {key: default for key, default in defaults.items() if key not in value}
    return filled | {key: _fill(item, _child(schema, key)) for key, item in missing.items()}


# ---- what the schema refuses, in words -----------------------------------------------------------


def _name(path: Iterable[str | int]) -> str:
    """Return a key path as it is written in messages: ``report.comparisons[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "the configuration"


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value)
    if value is None:
        return "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _hint(word: Any, known: Iterable[str], quote: str = "'") -> str:
    """Return ``; did you mean 'x'?`` if ``word`` is close to one of ``known``, else nothing."""
    if not isinstance(word, str):
        return ""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {quote}{by_lower[close[0]]}{quote}?" if close else ""


def _unknown(path: KeyPath, value: Any, known: Sequence[str]) -> str:
    hint = _hint(value, known) or ";"
    listed = ", ".join(known) or "none"
    return f"{_name(path)}: {_show(value)} is not known{hint} known: {listed}"


def schema_at(path: Iterable[str | int]) -> Schema:
    schema = load_schema()
    for part in path:
        schema = _child(schema, part)
    return schema


def _explain(error: ValidationError, config: Any) -> Iterator[str]:
    """Yield the lines that describe what one rule of the schema refused in ``config``."""
    path: KeyPath = tuple(error.absolute_path)
    limit: Any = error.validator_value
    if "propertyNames" in error.absolute_schema_path:
        # The refused value is a key here; the path ends at the mapping that holds it.
        siblings = functools.reduce(lambda value, part: value[part], path, config)
        known = error.validator == "enum"
        name = error.instance
        yield _unknown(path, name, limit) if known else _explain_name(path, str(name), siblings)
        return
    where, shown = _name(path), _show(error.instance)
    value: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "additionalProperties":
            yield from _explain_keys(path, value, schema)
        case "required":
            yield from _explain_missing(path, value, limit)
        case "type":
            yield _explain_type(path, value, schema)
        case "enum":
            yield _unknown(path, value, [str(name) for name in limit if name is not None])
        case "const":
            yield f"{where}: does not apply; remove it. {schema['description']}"
        case "minimum":
            yield f"{where}: {shown} is too small; use at least {_show(limit)}"
        case "maximum":
            yield f"{where}: {shown} is too large; use at most {_show(limit)}"
        case "exclusiveMinimum":
            yield f"{where}: {shown} is too small; use more than {_show(limit)}"
        case "exclusiveMaximum":
            yield f"{where}: {shown} is too large; use less than {_show(limit)}"
        case "multipleOf":
            near = max(limit, round(value / limit) * limit)
            yield f"{where}: {shown} is not a multiple of {limit}; use {near}"
        case "minItems" | "minProperties":
            yield f"{where}: has {len(value)} entries; give at least {limit}"
        case "maxItems" if limit == 0:
            yield f"{where}: does not apply; remove it. {schema['description']}"
        case "maxItems":
            yield f"{where}: has {len(value)} entries; give at most {limit}"
        case "uniqueItems":
            twice = next(item for index, item in enumerate(value) if item in value[:index])
            yield f"{where}: {_show(twice)} is listed twice; remove one"
        case "minLength":
            yield f"{where}: is empty; write something or remove the key"
        case "pattern" | "maxLength":
            yield f"{where}: {shown} cannot be part of a file name; {_name_rule(limit)}"
        case "not":
            yield f"{where}: {shown} is a folder that capsynth itself writes; choose another name"
        case _:
            yield f"{where}: {error.message}; see {SCHEMA_PATH.name}"


def _name_rule(limit: int | str) -> str:
    """Return what a length or a pattern of the schema asks of names."""
    if isinstance(limit, int):
        return f"use at most {limit} characters"
    signs, letters = ("._+-", "letters") if "A-Z" in limit else (".-", "lower-case letters")
    return f"use {letters}, digits and {signs}, beginning with a letter or digit"


def _explain_name(path: KeyPath, name: str, siblings: Iterable[str]) -> str:
    where = _name((*path, name))
    if path[-1:] == ("scheduler_args",):
        return f"{where}: is not an argument; diffusers' own are lower-case words joined by _"
    if path == ("dataset", "classes"):
        return f"{where}: is not a folder name that shards can carry; use letters, digits and ._+-"
    # Only training sets take plus signs.
    signs, words = (".+-", "dots, plus") if path == ("training_sets",) else (".-", "dots")
    plain = re.sub(rf"[^a-z0-9{signs}]+", "-", name.lower()).strip(signs)[:60]
    if plain in siblings:
        return f"{where}: differs from {plain!r} in case or signs only; choose another name"
    rule = f"names are lower-case letters, digits, {words} and minus signs, at most 60"
    return f"{where}: {rule}; write for example {plain or 'a-name'!r}"


def _explain_keys(path: KeyPath, value: Mapping[str, Any], schema: Schema) -> Iterator[str]:
    known = list(schema["properties"])
    for key in value:
        if key not in known:
            hint = _hint(key, known, quote="") or f"; known keys: {', '.join(known)}"
            yield f"{_name((*path, key))} is not a key{hint}"


def _explain_missing(path: KeyPath, value: Mapping[str, Any], keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        if key not in value:
            description = schema_at((*path, key)).get("description", "")
            yield f"{_name((*path, key))} is missing; add it. {description}".rstrip()


def _explain_type(path: KeyPath, value: Any, schema: Schema) -> str:
    where, types = _name(path), _types(schema)
    if value is None:
        default = schema_at(path).get("default")
        remedy = "write one" if default is None else f"write one, or remove it for {_show(default)}"
        return f"{where}: has no value; {remedy}"
    number = as_yaml_number(value) if isinstance(value, str) else None
    if number is not None and {"integer", "number"} & set(types):
        return f"{where}: {value!r} is text to YAML, not a number; write {number}"
    expected = " or ".join(_TYPE_WORDS[name] for name in types if name != "null")
    shown = "a mapping" if isinstance(value, dict) else _show(value)
    remedy = ""
    if "string" in types and not isinstance(value, dict | list):
        remedy = "; put it in quotes"
    elif "array" in types and not isinstance(value, dict):
        remedy = f"; write [{value}]"
    return f"{where}: expected {expected}, not {shown}{remedy}"


def as_yaml_number(text: str) -> str | None:
    """Return the number in ``text`` in a form that YAML 1.1 reads as one; None if it is none.

    YAML 1.1 wants a dot and a signed exponent: ``1e-3`` and ``1.0e3`` are text to it.
    """
    matched = _NUMBER.fullmatch(text.strip())
    if matched is None:
        return None
    sign, whole, fraction, exponent_sign, exponent = matched.groups()
    if not whole and not fraction:
        return None
    sign = sign.removeprefix("+")
    # A leading zero would make the number octal.
    whole = whole.lstrip("0") or "0"
    if fraction is None and exponent is None:
        return f"{sign}{whole}"
    number = f"{sign}{whole}.{fraction or '0'}"
    return number if exponent is None else f"{number}e{exponent_sign or '+'}{exponent}"


# ---- what compares one key with another ----------------------------------------------------------
# These run on configurations that the schema refused too, so that all problems are told at once:
# they look only at what has the right shape.


def _section(config: Any, name: str) -> dict[str, Any]:
    section = config.get(name) if isinstance(config, dict) else None
    return section if isinstance(section, dict) else {}


def _entries(config: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, entry in _section(config, name).items():
        if isinstance(entry, dict):
            yield key, entry


def _list(entry: Mapping[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    return value if isinstance(value, list) else []


def _references(config: Any) -> Iterator[tuple[KeyPath, Any, str]]:
    """Yield path, name and section of every key that names an entry of another section."""
    for name, variant in _entries(config, "variants"):
        for key in ("captioner", "generator"):
            if key in variant:
                yield ("variants", name, key), variant[key], f"{key}s"
    for name, rewriter in _entries(config, "rewriters"):
        if "captioner" in rewriter:
            yield ("rewriters", name, "captioner"), rewriter["captioner"], "captioners"
    for name, mix in _entries(config, "training_sets"):
        for index, variant_name in enumerate(_list(mix, "variants")):
            yield ("training_sets", name, "variants", index), variant_name, "variants"
        for variant_name in _section(mix, "variants"):
            yield ("training_sets", name, "variants", variant_name), variant_name, "variants"
    report = _section(config, "report")
    if "in_distribution" in report:
        yield ("report", "in_distribution"), report["in_distribution"], "eval_sets"
    for row, pair in enumerate(_list(report, "comparisons")):
        for column, name in enumerate(pair if isinstance(pair, list) else ()):
            yield ("report", "comparisons", row, column), name, "training_sets"
    for index, name in enumerate(_list(_section(report, "gallery"), "variants")):
        yield ("report", "gallery", "variants", index), name, "variants"


def _check_references(config: Any) -> Iterator[str]:
    for path, name, section in _references(config):
        known = list(_section(config, section))
        if section == "captioners" and path[0] == "variants":
            # What a rewriter writes is read like the captions of a captioner.
            known += _section(config, "rewriters")
        if isinstance(name, str) and name not in known:
            hint = _hint(name, known) or ";"
            listed = ", ".join(known) or "none"
            yield f"{_name(path)}: {name!r} is not one of the {section}{hint} known: {listed}"


def _check_values(config: Any) -> Iterator[str]:
    """Yield what is wrong although every key by itself is well formed."""
    yield from _check_classes(config)
    yield from _check_sources(config)
    for name, variant in _entries(config, "variants"):
        strategy = variant.get("strategy")
        if isinstance(strategy, str) and strategy in PLACEHOLDERS:
            texts = [("template", variant.get("template"))]
            texts += [(f"templates[{i}]", t) for i, t in enumerate(_list(variant, "templates"))]
            for key, template in texts:
                if isinstance(template, str):
                    for problem in template_problems(template, strategy):
                        yield f"variants.{name}.{key}: {problem}"
    for name, rewriter in _entries(config, "rewriters"):
        yield from _check_rewriter(f"rewriters.{name}", rewriter)
        if name in _section(config, "captioners"):
            yield (
                f"rewriters.{name}: is the name of a captioner too, so their captions would lie in "
                "one folder; rename one"
            )
    for name, mix in _entries(config, "training_sets"):
        if mix.get("real", 0) == 0 and mix.get("variants", []) in ([], {}):
            yield (
                f"training_sets.{name}: holds no images; give real a share above 0 or name variants"
            )
    for name, recipe in _entries(config, "recipes"):
        yield from _check_recipe(f"recipes.{name}", recipe)
    for row, pair in enumerate(_list(_section(config, "report"), "comparisons")):
        if isinstance(pair, list) and len(pair) == 2 and pair[0] == pair[1]:
            yield f"report.comparisons[{row}]: compares {_show(pair[0])} with itself; name two sets"


def _check_classes(config: Any) -> Iterator[str]:
    dataset = _section(config, "dataset")
    if dataset.get("source") in ("folder", "webdataset", "huggingface"):
        for name, eval_set in _entries(config, "eval_sets"):
            if eval_set.get("source") == "openmoji":
                yield (
                    f"eval_sets.{name}.source: openmoji has not the classes of "
                    "the data set; use folder, or make dataset.source openmoji"
                )
    classes = dataset.get("classes", [])
    if isinstance(classes, str) and dataset.get("source") == "folder":
        if classes not in SUBSETS and not classes.endswith(class_sources.FILE_SUFFIXES):
            known = [
                *SUBSETS,
                *(f"a file that ends in {end}" for end in class_sources.FILE_SUFFIXES),
            ]
            yield _unknown(("dataset", "classes"), classes, known)
    seen: dict[str, str] = {}
    for class_id in classes if isinstance(classes, list | dict) else ():
        if not isinstance(class_id, str):
            continue
        other = seen.setdefault(class_id.lower(), class_id)
        if other != class_id:
            yield (
                f"dataset.classes: {class_id!r} and {other!r} differ only in case, so their files "
                "may collide; rename one"
            )


def _check_rewriter(where: str, rewriter: Mapping[str, Any]) -> Iterator[str]:
    prompt = rewriter.get("prompt")
    if isinstance(prompt, str):
        for problem in _placeholder_problems(prompt, ("caption",), ("class_name",)):
            yield f"{where}.prompt: {problem}"
    least, most = (
        rewriter.get(key, schema_at(("rewriters", "any", key))["default"])
        for key in ("min_words", "max_words")
    )
    if isinstance(least, int) and isinstance(most, int) and least > most > 0:
        yield f"{where}.min_words: {least} must not be more than max_words, which is {most}"


def _placeholder_problems(
    template: str, needed: Sequence[str], allowed: Sequence[str]
) -> Iterator[str]:
    """Yield what keeps ``template`` from being filled in with certain placeholders."""
    known = [*needed, *allowed]
    listed = " and ".join(f"{{{name}}}" for name in known)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        yield f"{template!r} has an unbalanced brace; write {{{{ or }}}} for a brace itself"
        return
    used = [name for _, name, _, _ in parts if name is not None]
    for name in dict.fromkeys(used):
        if name not in known:
            hint = _hint(name, known, quote="") or ";"
            yield f"{{{name}}} is not filled in{hint} use {listed}"
    if any(conversion or spec for _, _, spec, conversion in parts):
        yield f"{template!r} formats a placeholder; write {listed} without ! or :"
    for name in needed:
        if name not in used:
            yield f"{{{name}}} is missing in {template!r}; add it"


def _check_sources(config: Any) -> Iterator[str]:
    """Yield what is wrong with where images come from, and with what is taken of them."""
    dataset = _section(config, "dataset")
    entries = [("dataset", dataset)]
    entries += [(f"eval_sets.{name}", entry) for name, entry in _entries(config, "eval_sets")]
    for where, entry in entries:
        share = entry.get("share")
        if isinstance(share, list) and len(share) == 2 and all(isinstance(x, float) for x in share):
            low, high = share
            if low >= high:
                proposed = f"write [{high:g}, {low:g}]" if low > high else "write [0, 1] for all"
                yield f"{where}.share: least before greatest, and not both alike; {proposed}"
        subset_name = entry.get("label_classes")
        if isinstance(subset_name, str) and subset_name not in SUBSETS:
            yield _unknown_subset(f"{where}.label_classes", subset_name)
    reads_folders = dataset.get("source") == "folder" and isinstance(dataset.get("path"), str)
    if (
        dataset.get("source") in ("folder", "webdataset", "huggingface")
        and not reads_folders
        and dataset.get("classes") is None
        and (dataset.get("path") or dataset.get("download"))
    ):
        yield (
            "dataset.classes is missing; add it: only a folder that is named by path is looked "
            "through for classes before anything runs"
        )
    for name, entry in _entries(config, "eval_sets"):
        yield from _check_eval_set(f"eval_sets.{name}", entry)


def _unknown_subset(where: str, name: str) -> str:
    hint = _hint(name, SUBSETS) or ";"
    return f"{where}: {name!r} is no subset{hint} known: {', '.join(SUBSETS)}, or a list of classes"


def _check_eval_set(where: str, entry: Mapping[str, Any]) -> Iterator[str]:
    classes = entry.get("classes")
    if isinstance(classes, str) and classes not in SUBSETS:
        yield _unknown_subset(f"{where}.classes", classes)
    corruptions, library = entry.get("corruptions", []), _corruption_library(entry)
    known = CORRUPTION_NAMES.get(library, ())
    if isinstance(corruptions, str):
        if corruptions != IMAGENET_C:
            hint = _hint(corruptions, [IMAGENET_C]) or ";"
            yield f"{where}.corruptions: {corruptions!r} is no set{hint} write imagenet-c or a list"
        elif library == "tiny-imagenet-c":
            yield (
                f"{where}.corruption_library: tiny-imagenet-c lacks most of imagenet-c; "
                "remove it, or list corruptions"
            )
        return
    for index, name in enumerate(corruptions if isinstance(corruptions, list) else ()):
        both = {n for names in CORRUPTION_NAMES.values() for n in names}
        if name in both and name not in known:
            hint = _hint(name, known) or ";"
            yield (
                f"{where}.corruptions[{index}]: {name!r} is none of {library}{hint} "
                f"known: {', '.join(known)}; or set corruption_library"
            )


def _check_recipe(where: str, recipe: Mapping[str, Any]) -> Iterator[str]:
    def given(key: str) -> Any:
        return recipe.get(key, schema_at(("recipes", "any", key))["default"])

    warmup, epochs = given("warmup_epochs"), given("epochs")
    if isinstance(warmup, int) and isinstance(epochs, int) and warmup >= epochs > 0:
        yield f"{where}.warmup_epochs: {warmup} must be fewer than epochs, which is {epochs}"
    for milestone in _list(recipe, "milestones"):
        if isinstance(milestone, int) and isinstance(epochs, int) and milestone >= epochs:
            yield f"{where}.milestones: {milestone} must be below epochs, which is {epochs}"
    for key in ("crop_scale", "crop_ratio"):
        pair = recipe.get(key)
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, float) for x in pair):
            low, high = pair
            if low > high:
                yield f"{where}.{key}: least before greatest; write [{high:g}, {low:g}]"
    low, high = given("min_learning_rate"), recipe.get("learning_rate")
    if isinstance(low, float) and isinstance(high, float) and low > high:
        yield f"{where}.min_learning_rate: {low:g} must not be above learning_rate, {high:g}"
    gpus, batch_size = given("gpus"), given("batch_size")
    if isinstance(gpus, int) and isinstance(batch_size, int) and gpus > batch_size:
        yield f"{where}.gpus: {gpus} processes cannot share a batch of {batch_size}; use fewer"


def template_problems(template: str, strategy: str) -> list[str]:
    """Return what keeps ``template`` from being the prompt template of ``strategy``."""
    needed = PLACEHOLDERS[strategy]
    known = dict.fromkeys((*needed, *OPTIONAL_PLACEHOLDERS))
    listed = " and ".join(f"{{{name}}}" for name in needed)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return [f"{template!r} has an unbalanced brace; write {{{{ or }}}} for a brace itself"]
    used = [name for _, name, _, _ in parts if name is not None]
    problems = []
    for name in dict.fromkeys(used):
        if name not in known:
            hint = _hint(name, known, quote="")
            problems.append(
                f"{{{name}}} is not filled in by strategy {strategy}{hint or ';'} use {listed}"
            )
    if any(conversion or spec for _, _, spec, conversion in parts):
        problems.append(f"{template!r} formats a placeholder; write {listed} without ! or :")
    problems += [
        f"strategy {strategy} needs {{{name}}}, which {template!r} lacks; add it"
        for name in needed
        if name not in used
    ]
    return problems
