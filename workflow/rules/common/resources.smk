# What jobs need: minutes, and memory. Each retry of a job gets as much again as its first attempt.
# Minutes of captions, images, trainings and evaluations are no estimates: what is not done goes on in a
# retry. The third attempt of a training and an evaluation asks for less than a day, which most clusters
# grant.
from capsynth.models import model_bytes

# Memory of a process that has loaded torch, a model's libraries and a GPU's driver, without weights.
LIBRARIES_MB = 4000
# Weights are read in the precision of their file and turned into that of the computation.
COPIES_OF_WEIGHTS = 2
# A model that is not fetched yet: the captioners and generators of the paper fit.
UNKNOWN_WEIGHTS_MB = 14000
# A network of random weights: VGG16 without its last layers has 60.
DRAWN_WEIGHTS_MB = 500


def grows(amount):
    """A resource that grows with each retry; the amount may depend on the wildcards."""

    def of(wildcards, attempt):
        return attempt * (amount(wildcards) if callable(amount) else amount)

    return of


@functools.cache
def weights_mb(model, revision):
    """The size of a model's weights, a guess if they are not there, or are drawn."""
    if model is None:
        return DRAWN_WEIGHTS_MB
    size = model_bytes(Path(model_path(model, revision)))
    return UNKNOWN_WEIGHTS_MB if size is None else size // 10**6


def model_mb(entry):
    """Memory for a job that runs the model of an entry with its LoRA weights."""
    models = [entry, *({**lora, "model": lora["path"]} for lora in entry.get("lora") or [])]
    weights = sum(weights_mb(model["model"], model.get("revision")) for model in models)
    return LIBRARIES_MB + COPIES_OF_WEIGHTS * weights


def captioner_mb(wildcards):
    """Memory for a captioner."""
    return model_mb(config["captioners"][wildcards.captioner])


def rewriter_mb(wildcards):
    """Memory for a rewriter."""
    return model_mb(config["rewriters"][wildcards.rewriter])


def generator_mb(wildcards):
    """Memory for the generator of a variant."""
    return model_mb(config["generators"][config["variants"][wildcards.variant]["generator"]])


def extractor_mb(wildcards):
    """Memory for a feature extractor."""
    return model_mb(config["feature_extractors"][wildcards.extractor])


def training_mb(wildcards):
    """Memory for each process that computes, and for each that reads."""
    recipe = config["recipes"][wildcards.recipe]
    return recipe["gpus"] * (LIBRARIES_MB + 1000 * recipe["workers"])


def training_gpus(wildcards):
    """One GPU for each process that computes."""
    return config["recipes"][wildcards.recipe]["gpus"]


def eval_packing_mb(wildcards):
    """Memory for each process of a packing."""
    return 2000 + 500 * eval_threads(wildcards)
