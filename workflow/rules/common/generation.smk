# Synthetic images: what their rule is told.
from capsynth.generators import lora_file


def variant_generator(wildcards):
    """The generator of a variant with the variant's own settings put over it."""
    variant = config["variants"][wildcards.variant]
    generator = with_local_path(config["generators"][variant["generator"]])
    return {name: variant.get(name, value) for name, value in generator.items()}


def lora_inputs(wildcards):
    """The files of LoRA weights of a variant's generator, as far as they are local."""
    generator = config["generators"][config["variants"][wildcards.variant]["generator"]]
    loras = [lora for lora in generator["lora"] if is_local(lora["path"])]
    return [lora_file(model_path(lora["path"]), lora["weight_name"]) for lora in loras]


def generator_settings(wildcards):
    """The settings of a variant's generator as one JSON value."""
    return dump_json(variant_generator(wildcards))


def generator_mark(wildcards):
    """The name of the weights of a variant's generator, as far as they are local."""
    return local_mark(config["generators"][config["variants"][wildcards.variant]["generator"]])


def generator_locks(wildcards):
    """The stamps of the weights of a variant's generator, as far as they are of the hub."""
    return model_locks(config["generators"][config["variants"][wildcards.variant]["generator"]])
