# Data sets to publish: which variants are exported, and what their cards say.
import json

EXPORT = config["export"]
EXPORTED = EXPORT["variants"] or sorted(
    {name for mix in config["training_sets"].values() for name in mix["variants"]}
)
EXPORT_FOLDER = f"results/export/{DATASET}-{{variant}}"


def model_source(role, entry):
    """A model as a card names it: by its hub identifier, or by the name of its folder."""
    name, revision = entry["model"], entry.get("revision")
    is_folder = is_local(name)
    path = model_path(name, revision)
    unsaid = ("model", "revision", "lora", "captioner")
    return {
        "role": role,
        "name": Path(path).resolve().name if is_folder else name,
        "mark": weights_of(path) if is_folder else None,
        "path": path,
        "settings": {key: value for key, value in entry.items() if key not in unsaid},
    }


def variant_models(wildcards):
    """What drew a variant's images and wrote its captions, as cards name it."""
    generator = variant_generator(wildcards)
    variant = config["variants"][wildcards.variant]
    # variant_generator gives local paths; the card names what the configuration does.
    named = config["generators"][variant["generator"]]
    models = [model_source("generator", {**generator, "model": named["model"]})]
    for lora in named["lora"]:
        entry = {"model": lora["path"], "revision": lora.get("revision"), "scale": lora["scale"]}
        models.append(model_source("LoRA weights", entry))
    name = variant["captioner"] if needs_captions(wildcards.variant) else None
    while name:
        is_rewriter = name in config["rewriters"]
        entry = config["rewriters" if is_rewriter else "captioners"][name]
        models.append(model_source("rewriter" if is_rewriter else "captioner", entry))
        name = entry["captioner"] if is_rewriter else None
    return models


def export_stamps(wildcards):
    """The stamps of the hub models behind a variant: cards give their commits and licences."""
    return [f"{m['path']}.json" for m in variant_models(wildcards) if not m["mark"]]


def export_settings(wildcards):
    """What the card of a variant says and how its tars are cut, as one JSON value."""
    models = variant_models(wildcards)
    return dump_json(
        {
            "dataset": DATASET,
            "variant": wildcards.variant,
            "source": config["dataset"]["source"],
            "classes": [],  # given one by one: a command cannot hold thousands
            "prompts": json.loads(prompt_settings(wildcards)),
            "generator": {**models[0]["settings"], "model": models[0]["name"]},
            "models": models,
            **{name: EXPORT[name] for name in ("images_per_shard", "license", "attribution")},
        }
    )


def export_arguments(wildcards):
    """The classes and shards of an export."""
    words = []
    for class_id, class_name in CLASS_NAMES.items():
        words += ["--class", class_id, class_name]
    for shard in SHARDS:
        drawn = f"results/{DATASET}/images/{wildcards.variant}/{shard}"
        prompts = f"results/{DATASET}/prompts/{wildcards.variant}/{shard}.jsonl"
        words += ["--shard", f"{drawn}.tar", f"{drawn}.jsonl", prompts]
    return argument_file(f"export-{wildcards.variant}", words)
