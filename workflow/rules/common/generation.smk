# Synthetic images: what their rule is told.


def variant_generator(wildcards):
    """The generator of a variant with the variant's own settings put over it."""
    variant = config["variants"][wildcards.variant]
    generator = with_local_path(config["generators"][variant["generator"]])
    bound = "max_rejected"  # what may be set aside is no part of what is drawn
    return {name: variant.get(name, value) for name, value in generator.items() if name != bound}


def generator_max_rejected(wildcards):
    """The share of a shard's images that may be set aside."""
    variant = config["variants"][wildcards.variant]
    return str(config["generators"][variant["generator"]]["max_rejected"])


def generator_settings(wildcards):
    """The settings of a variant's generator as one JSON value."""
    return dump_json(variant_generator(wildcards))


def generator_mark(wildcards):
    """The name of the weights of a variant's generator, as far as they are local."""
    return local_mark(config["generators"][config["variants"][wildcards.variant]["generator"]])


def generator_locks(wildcards):
    """The stamps of the weights of a variant's generator, as far as they are of the hub."""
    return model_locks(config["generators"][config["variants"][wildcards.variant]["generator"]])
