# Features of images: what their rule reads and is told, and which there are to ask for.


def extractor_settings(wildcards):
    """The settings of a feature extractor as one JSON value."""
    return dump_json(with_local_path(config["feature_extractors"][wildcards.extractor]))


def extractor_mark(wildcards):
    """The name of a feature extractor's weights, if they are a local folder."""
    return local_mark(config["feature_extractors"][wildcards.extractor])


def extractor_locks(wildcards):
    """The stamps of a feature extractor's weights, if they are of the hub."""
    return model_locks(config["feature_extractors"][wildcards.extractor])


def feature_files(extractor, variant=None):
    """The features of the real images, or of those of a variant: a file each class shard."""
    images = f"{DATASET}/images/{variant}" if variant else f"{DATASET}/real"
    return [f"results/features/{extractor}/{images}/{shard}.parquet" for shard in SHARDS]


def eval_feature_files(extractor):
    """The features of the evaluation sets: a file each."""
    return [f"results/features/{extractor}/eval_sets/{name}.parquet" for name in REPORTED_EVAL_SETS]


def all_feature_files(wildcards):
    """The features of all that classifiers are trained and evaluated on, by every extractor."""
    used = {v for mix in config["training_sets"].values() for v in mix["variants"]}
    files = []
    for extractor in config["feature_extractors"]:
        files += feature_files(extractor)
        files += [file for variant in sorted(used) for file in feature_files(extractor, variant)]
        files += eval_feature_files(extractor)
    return files
