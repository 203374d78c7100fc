# Captions: what their rule is told.


def captioner_settings(wildcards):
    """The settings of a captioner as one JSON value."""
    return dump_json(with_local_path(config["captioners"][wildcards.captioner]))


def captioner_mark(wildcards):
    """The name of a captioner's weights."""
    captioner = with_local_path(config["captioners"][wildcards.captioner])
    return model_mark(captioner["model"], captioner["revision"])
