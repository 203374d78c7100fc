# Captions: what their rule is told.


def captioner_settings(wildcards):
    """The settings of a captioner as one JSON value."""
    return dump_json(with_local_path(config["captioners"][wildcards.captioner]))


def captioner_mark(wildcards):
    """The name of a captioner's weights, if they are a local folder."""
    return local_mark(config["captioners"][wildcards.captioner])


def captioner_locks(wildcards):
    """The stamps of a captioner's weights, if they are of the hub."""
    return model_locks(config["captioners"][wildcards.captioner])
