# Captions: what their rules are told, and which of them makes what.
import re


def one_of(names):
    """A wildcard constraint: one of the names, or nothing at all."""
    return "|".join(map(re.escape, names)) or "(?!)"


def captioner_settings(wildcards):
    """The settings of a captioner as one JSON value."""
    return dump_json(with_local_path(config["captioners"][wildcards.captioner]))


def captioner_mark(wildcards):
    """The name of a captioner's weights, if they are a local folder."""
    return local_mark(config["captioners"][wildcards.captioner])


def captioner_locks(wildcards):
    """The stamps of a captioner's weights, if they are of the hub."""
    return model_locks(config["captioners"][wildcards.captioner])


def rewritten_captions(wildcards):
    """The captions that a rewriter rewrites."""
    captioner = config["rewriters"][wildcards.rewriter]["captioner"]
    return f"results/{DATASET}/captions/{captioner}/{wildcards.shard}.jsonl"


def rewriter_settings(wildcards):
    """The settings of a rewriter as one JSON value; its captioner is told by the input."""
    rewriter = with_local_path(config["rewriters"][wildcards.rewriter])
    return dump_json({name: value for name, value in rewriter.items() if name != "captioner"})


def rewriter_mark(wildcards):
    """The name of a rewriter's weights, if they are a local folder."""
    return local_mark(config["rewriters"][wildcards.rewriter])


def rewriter_locks(wildcards):
    """The stamps of a rewriter's weights, if they are of the hub."""
    return model_locks(config["rewriters"][wildcards.rewriter])


def rewriter_flags(wildcards):
    """The class whose captions are rewritten."""
    class_id, _ = split_shard_name(wildcards.shard)
    return flags(class_name=CLASS_NAMES[class_id])
