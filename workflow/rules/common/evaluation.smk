# Predictions: what their rule is told.


def run_name(wildcards):
    """The names that predictions carry, as one JSON value."""
    names = ("dataset", "training_set", "recipe", "eval_set")
    values = {name: getattr(wildcards, name) for name in names}
    return dump_json({**values, "seed": int(wildcards.seed)})
