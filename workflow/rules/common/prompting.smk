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


def prompt_flags(wildcards):
    """The class, and the captions if the variant's prompts are made from captions."""
    class_id, _ = split_shard_name(wildcards.shard)
    captions = {"captions": path for path in variant_captions(wildcards)}
    return flags(class_name=CLASS_NAMES[class_id], **captions)


def prompt_settings(wildcards):
    """The prompt settings of a variant as one JSON value."""
    variant = config["variants"][wildcards.variant]
    names = ("strategy", "template", "images_per_class", "seed")
    return dump_json({"dataset": DATASET, **{name: variant.get(name) for name in names}})
