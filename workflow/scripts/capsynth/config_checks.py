"""What the schema cannot check: keys of the configuration that do not go with one another.

The checks run on configurations that the schema refused too, so that all problems are told at once:
they look only at what has the right shape.
"""

import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from capsynth import classes as class_sources
from capsynth.config_entries import entries_of, list_of, section_of
from capsynth.datasets.imagenet import SUBSETS
from capsynth.eval_set_checks import check_set_aside
from capsynth.sample_checks import check_sample_replicates, check_sample_seeds, shares_of
from capsynth.schema import KeyPath, key_name, schema_at
from capsynth.schema_messages import did_you_mean, show, unknown_name
from capsynth.subgroup_checks import check_groups, check_unknown_sets

# What a template of each strategy must fill in.
PLACEHOLDERS: Mapping[str, tuple[str, ...]] = {
    "class-name": ("class_name",),
    "caption": ("class_name", "caption"),
    "class-name-paper": ("class_name",),
    "caption-paper": ("class_name", "caption"),
    "caption-only": ("caption",),
    "class-name-hypernym": ("class_name", "hypernym"),
    "class-name-definition": ("class_name", "definition"),
    "class-name-background": ("class_name", "background"),
    "clip-templates": ("class_name",),
    "caption-background": ("class_name", "caption", "background"),
    "subject-background": ("class_name", "subject", "background"),
}
# What any template may fill in beside that.
OPTIONAL_PLACEHOLDERS = ("definition", "hypernym")

# What two variants may differ in and still be one way of making images.
NOT_OF_IMAGES = ("seed", "max_fallback")

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


def _references(config: Any) -> Iterator[tuple[KeyPath, Any, str]]:
    """Yield path, name and section of every key that names an entry of another section."""
    for name, variant in entries_of(config, "variants"):
        for key in ("captioner", "generator"):
            if key in variant:
                yield ("variants", name, key), variant[key], f"{key}s"
    for name, rewriter in entries_of(config, "rewriters"):
        if "captioner" in rewriter:
            yield ("rewriters", name, "captioner"), rewriter["captioner"], "captioners"
    for name, mix in entries_of(config, "training_sets"):
        for index, variant_name in enumerate(list_of(mix, "variants")):
            yield ("training_sets", name, "variants", index), variant_name, "variants"
        for variant_name in section_of(mix, "variants"):
            yield ("training_sets", name, "variants", variant_name), variant_name, "variants"
    privacy = section_of(config, "privacy")
    for key in ("training_sets", "reference_training_sets", "leakage"):
        section = "variants" if key == "leakage" else "training_sets"
        for index, name in enumerate(list_of(privacy, key)):
            yield ("privacy", key, index), name, section
    for name, twin in section_of(privacy, "twins").items():
        yield ("privacy", "twins", name), name, "variants"
        yield ("privacy", "twins", name), twin, "variants"
    report = section_of(config, "report")
    if "in_distribution" in report:
        yield ("report", "in_distribution"), report["in_distribution"], "eval_sets"
    if report.get("ablation_baseline") is not None:
        yield ("report", "ablation_baseline"), report["ablation_baseline"], "training_sets"
    if report.get("calibration_set") is not None:
        yield ("report", "calibration_set"), report["calibration_set"], "eval_sets"
    for index, name in enumerate(list_of(section_of(config, "probes"), "eval_sets")):
        yield ("probes", "eval_sets", index), name, "eval_sets"
    curves = section_of(config, "learning_curves")
    if curves.get("eval_set") is not None:
        yield ("learning_curves", "eval_set"), curves["eval_set"], "eval_sets"
    robustness = section_of(report, "robustness")
    for shifted, clean in section_of(robustness, "clean").items():
        yield ("report", "robustness", "clean", shifted), shifted, "eval_sets"
        yield ("report", "robustness", "clean", shifted), clean, "eval_sets"
    for shifted in section_of(robustness, "published"):
        yield ("report", "robustness", "published", shifted), shifted, "eval_sets"
    for row, group in enumerate(list_of(report, "generation_replicates")):
        for column, name in enumerate(group if isinstance(group, list) else ()):
            yield ("report", "generation_replicates", row, column), name, "training_sets"
    for row, group in enumerate(list_of(report, "sample_replicates")):
        for column, name in enumerate(group if isinstance(group, list) else ()):
            yield ("report", "sample_replicates", row, column), name, "training_sets"
    for row, pair in enumerate(list_of(report, "comparisons")):
        for column, name in enumerate(pair if isinstance(pair, list) else ()):
            yield ("report", "comparisons", row, column), name, "training_sets"
    for index, name in enumerate(list_of(section_of(report, "gallery"), "variants")):
        yield ("report", "gallery", "variants", index), name, "variants"
    for index, name in enumerate(list_of(section_of(config, "export"), "variants")):
        yield ("export", "variants", index), name, "variants"
    if section_of(report, "fidelity").get("reference") is not None:
        reference = section_of(report, "fidelity")["reference"]
        yield ("report", "fidelity", "reference"), reference, "eval_sets"
    for index, name in enumerate(list_of(section_of(report, "fidelity"), "extractors")):
        yield ("report", "fidelity", "extractors", index), name, "feature_extractors"


def check_references(config: Any) -> Iterator[str]:
    """Yield what names an entry of another section that is not there."""
    for path, name, section in _references(config):
        known = list(section_of(config, section))
        if section == "captioners" and path[0] == "variants":
            # What a rewriter writes is read like the captions of a captioner.
            known += section_of(config, "rewriters")
        if isinstance(name, str) and name not in known:
            hint = did_you_mean(name, known) or ";"
            listed = ", ".join(known) or "none"
            yield f"{key_name(path)}: {name!r} is not one of the {section}{hint} known: {listed}"


def check_values(config: Any) -> Iterator[str]:
    """Yield what is wrong although every key by itself is well formed."""
    yield from _check_classes(config)
    yield from _check_sources(config)
    for name, variant in entries_of(config, "variants"):
        strategy = variant.get("strategy")
        if isinstance(strategy, str) and strategy in PLACEHOLDERS:
            texts = [("template", variant.get("template"))]
            texts += [(f"templates[{i}]", t) for i, t in enumerate(list_of(variant, "templates"))]
            for key, template in texts:
                if isinstance(template, str):
                    for problem in template_problems(template, strategy):
                        yield f"variants.{name}.{key}: {problem}"
    for name, rewriter in entries_of(config, "rewriters"):
        yield from _check_rewriter(f"rewriters.{name}", rewriter)
        if name in section_of(config, "captioners"):
            yield (
                f"rewriters.{name}: is the name of a captioner too, so their captions would lie in "
                "one folder; rename one"
            )
    for name, mix in entries_of(config, "training_sets"):
        if mix.get("real", 0) == 0 and mix.get("variants", []) in ([], {}):
            yield (
                f"training_sets.{name}: holds no images; give real a share above 0 or name variants"
            )
    for name, recipe in entries_of(config, "recipes"):
        yield from check_recipe(f"recipes.{name}", recipe)
    yield from _check_privacy(config)
    yield from check_set_aside(config)
    yield from check_unknown_sets(config)
    yield from check_groups(config)
    yield from _check_replicates(config)
    yield from check_sample_seeds(config)
    yield from check_sample_replicates(config)
    for row, pair in enumerate(list_of(section_of(config, "report"), "comparisons")):
        if isinstance(pair, list) and len(pair) == 2 and pair[0] == pair[1]:
            yield f"report.comparisons[{row}]: compares {show(pair[0])} with itself; name two sets"


def _check_privacy(config: Any) -> Iterator[str]:
    privacy, variants = section_of(config, "privacy"), dict(entries_of(config, "variants"))
    for name, twin in section_of(privacy, "twins").items():
        if name not in variants or not isinstance(twin, str) or twin not in variants:
            continue
        first, second = (
            {key: value for key, value in variants[v].items() if key not in NOT_OF_IMAGES}
            for v in (name, twin)
        )
        default = schema_at(("variants", "any", "seed"))["default"]
        seeds = {variants[v].get("seed", default) for v in (name, twin)}
        if first != second or len(seeds) < 2:
            yield (
                f"privacy.twins.{name}: {twin!r} must differ from it in its seed and in nothing "
                "else; change it or remove it here"
            )
    for index, name in enumerate(list_of(privacy, "leakage")):
        strategy = variants.get(name, {}).get("strategy") if isinstance(name, str) else None
        if isinstance(strategy, str) and "captioner" not in variants[name]:
            yield (
                f"privacy.leakage[{index}]: the images of {name!r} descend from no real image; "
                "remove it"
            )


def _check_replicates(config: Any) -> Iterator[str]:
    groups = list_of(section_of(config, "report"), "generation_replicates")
    for row, group in enumerate(groups):
        names = [name for name in group if isinstance(name, str)] if isinstance(group, list) else []
        made = [_made_of(config, name) for name in names]
        for name, other in zip(names[1:], made[1:], strict=True):
            if other != made[0]:
                yield (
                    f"report.generation_replicates[{row}]: {name!r} and {names[0]!r} differ in "
                    "more than the seed of their variants; name training sets that do not"
                )


def _made_of(config: Any, training_set: str) -> tuple[Any, Any, list[str]]:
    """Return what a training set is made of, without the seeds of its variants."""
    mix = section_of(section_of(config, "training_sets"), training_set)
    shares = shares_of(mix)
    variants = section_of(config, "variants")
    settings = {name: section_of(variants, name) for name in shares}
    parts = [
        repr(
            (
                share,
                sorted((k, repr(v)) for k, v in settings[name].items() if k not in NOT_OF_IMAGES),
            )
        )
        for name, share in shares.items()
    ]
    return mix.get("real", 0), mix.get("sample_seed", 0), sorted(parts)


def _check_classes(config: Any) -> Iterator[str]:
    dataset = section_of(config, "dataset")
    if dataset.get("source") in ("folder", "webdataset", "huggingface"):
        for name, eval_set in entries_of(config, "eval_sets"):
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
            yield unknown_name(("dataset", "classes"), classes, known)
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
            hint = did_you_mean(name, known, quote="") or ";"
            yield f"{{{name}}} is not filled in{hint} use {listed}"
    if any(conversion or spec for _, _, spec, conversion in parts):
        yield f"{template!r} formats a placeholder; write {listed} without ! or :"
    for name in needed:
        if name not in used:
            yield f"{{{name}}} is missing in {template!r}; add it"


def _check_sources(config: Any) -> Iterator[str]:
    """Yield what is wrong with where images come from, and with what is taken of them."""
    dataset = section_of(config, "dataset")
    entries = [("dataset", dataset)]
    entries += [(f"eval_sets.{name}", entry) for name, entry in entries_of(config, "eval_sets")]
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
    for name, entry in entries_of(config, "eval_sets"):
        yield from _check_eval_set(f"eval_sets.{name}", entry)


def _unknown_subset(where: str, name: str) -> str:
    hint = did_you_mean(name, SUBSETS) or ";"
    return f"{where}: {name!r} is no subset{hint} known: {', '.join(SUBSETS)}, or a list of classes"


def _check_eval_set(where: str, entry: Mapping[str, Any]) -> Iterator[str]:
    classes = entry.get("classes")
    if isinstance(classes, str) and classes not in SUBSETS:
        yield _unknown_subset(f"{where}.classes", classes)
    corruptions, library = entry.get("corruptions", []), corruption_library(entry)
    known = CORRUPTION_NAMES.get(library, ())
    if isinstance(corruptions, str):
        if corruptions != IMAGENET_C:
            hint = did_you_mean(corruptions, [IMAGENET_C]) or ";"
            yield f"{where}.corruptions: {corruptions!r} is no set{hint} write imagenet-c or a list"
        elif library == "tiny-imagenet-c":
            yield (
                f"{where}.corruption_library: tiny-imagenet-c lacks most of imagenet-c; "
                "remove it, or list corruptions"
            )
        return
    for index, name in enumerate(corruptions if isinstance(corruptions, list) else ()):
        both = {n for names in CORRUPTION_NAMES.values() for n in names}
        if isinstance(name, str) and name in both and name not in known:
            hint = did_you_mean(name, known) or ";"
            yield (
                f"{where}.corruptions[{index}]: {name!r} is none of {library}{hint} "
                f"known: {', '.join(known)}; or set corruption_library"
            )


def corruption_library(eval_set: Mapping[str, Any]) -> str:
    """Return what corrupts an evaluation set, or stored its corrupted images."""
    named = eval_set.get("corruption_library")
    if isinstance(named, str):
        return named
    is_drawn = eval_set.get("source") == "openmoji"
    is_own = is_drawn and eval_set.get("corruptions") != IMAGENET_C
    return "tiny-imagenet-c" if is_own else "imagecorruptions"


def check_recipe(where: str, recipe: Mapping[str, Any]) -> Iterator[str]:
    """Yield which keys of a recipe do not go together."""

    def given(key: str) -> Any:
        return recipe.get(key, schema_at(("recipes", "any", key))["default"])

    warmup, epochs = given("warmup_epochs"), given("epochs")
    if isinstance(warmup, int) and isinstance(epochs, int) and warmup >= epochs > 0:
        yield f"{where}.warmup_epochs: {warmup} must be fewer than epochs, which is {epochs}"
    for milestone in list_of(recipe, "milestones"):
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
            hint = did_you_mean(name, known, quote="")
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
