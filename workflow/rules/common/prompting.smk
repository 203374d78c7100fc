# Prompts: what their rule reads and is told.
from dataclasses import asdict

from capsynth.class_words import class_fields
from capsynth.prompting import CLASS_WORDS, STRATEGIES, templates_of

# By variant: the templates, its own or those of its strategy, and the words they take of a class.
PROMPT_TEMPLATES = {
    name: templates_of(variant["strategy"], variant["template"], variant["templates"])
    for name, variant in config["variants"].items()
}
PROMPT_WORDS = {name: class_fields([v]) for name, v in config["variants"].items()}


def needs_captions(variant):
    """Whether a variant's prompts are made from captions."""
    return STRATEGIES[config["variants"][variant]["strategy"]].needs_captions


def variant_captions(wildcards):
    """The captions that a variant's prompts are made from, if any."""
    if not needs_captions(wildcards.variant):
        return []
    captioner = config["variants"][wildcards.variant]["captioner"]
    return [f"results/{DATASET}/captions/{captioner}/{wildcards.shard}.jsonl"]


def counted_manifests(wildcards):
    """The real images of a shard's class, of which a variant without captions has as many."""
    variant = wildcards.variant
    if needs_captions(variant) or config["variants"][variant]["images_per_class"] is not None:
        return []
    class_id, _ = split_shard_name(wildcards.shard)
    return [f"results/{DATASET}/real/{shard_name(class_id, part)}.jsonl" for part in range(PARTS)]


def prompt_flags(wildcards):
    """The class, and what the variant's prompts are made from: captions, or real images to count."""
    class_id, _ = split_shard_name(wildcards.shard)
    about = asdict(CLASSES[class_id])
    # What the templates do not take is left out: another definition then reruns nothing.
    about |= {word: None for word in CLASS_WORDS if word not in PROMPT_WORDS[wildcards.variant]}
    told = {"captions": path for path in variant_captions(wildcards)}
    if told:
        # No part of the settings, and so of no fingerprint: another bound draws nothing anew.
        max_fallback = config["variants"][wildcards.variant]["max_fallback"]
        told |= {"max_fallback": max_fallback, "variant": wildcards.variant}
    counted = {"real": found} if (found := counted_manifests(wildcards)) else {}
    return flags(class_info=dump_json(about), **told, **counted)


def prompt_settings(wildcards):
    """The prompt settings of a variant as one JSON value."""
    variant = config["variants"][wildcards.variant]
    names = (
        "strategy",
        "backgrounds",
        "images_per_class",
        "images_per_caption",
        "on_classless",
        "seed",
    )
    return dump_json(
        {
            "dataset": DATASET,
            "templates": PROMPT_TEMPLATES[wildcards.variant],
            **{name: variant[name] for name in names},
        }
    )
