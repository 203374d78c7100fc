# Synthetic images: what their rule is told.


def local_lora(lora):
    """LoRA weights whose path, if it is in the checkout, is found from here."""
    path = Path(workflow.basedir) / lora["path"]
    return {**lora, "path": os.path.relpath(path)} if path.exists() else lora


def variant_generator(wildcards):
    """The generator of a variant with the variant's own settings put over it."""
    variant = config["variants"][wildcards.variant]
    generator = with_local_path(config["generators"][variant["generator"]])
    generator = {**generator, "lora": [local_lora(lora) for lora in generator["lora"]]}
    return {name: variant.get(name, value) for name, value in generator.items()}


def lora_inputs(wildcards):
    """The files of LoRA weights of a variant's generator, as far as they are local."""
    loras = variant_generator(wildcards)["lora"]
    return [
        lora_file(lora["path"], lora["weight_name"])
        for lora in loras
        if Path(lora["path"]).exists()
    ]


def generator_settings(wildcards):
    """The settings of a variant's generator as one JSON value."""
    return dump_json(variant_generator(wildcards))


def generator_mark(wildcards):
    """The name of the weights of a variant's generator."""
    generator = variant_generator(wildcards)
    return model_mark(generator["model"], generator["revision"])
