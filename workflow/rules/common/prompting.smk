# Prompts: what their rule reads and is told.


def needs_captions(variant):
    """Whether a variant's prompts are made from captions."""
    return STRATEGIES[config["variants"][variant]["strategy"]].needs_captions


def variant_captions(wildcards):
    """The captions that a variant's prompts are made from, if any."""
    if not needs_captions(wildcards.variant):
        return []
    captioner = config["variants"][wildcards.variant]["captioner"]
    return [f"results/{DATASET}/captions/{captioner}/{wildcards.shard}.jsonl"]


def prompt_templates(variant):
    """The templates of a variant: its own or those of its strategy."""
    settings = config["variants"][variant]
    return templates_of(settings["strategy"], settings["template"], settings["templates"])


def prompt_flags(wildcards):
    """The class, and the captions if the variant's prompts are made from captions."""
    class_id, _ = split_shard_name(wildcards.shard)
    about = asdict(CLASSES[class_id])
    # What the templates do not take is left out: another definition then reruns nothing.
    used = placeholders(*prompt_templates(wildcards.variant))
    about |= {word: None for word in CLASS_WORDS if word not in used}
    captions = {"captions": path for path in variant_captions(wildcards)}
    return flags(class_info=dump_json(about), **captions)


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
            "templates": prompt_templates(wildcards.variant),
            **{name: variant[name] for name in names},
        }
    )
