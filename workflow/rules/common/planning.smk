# Planning: what keeps the plan of ten thousand jobs short.
import gc
import inspect

# Planning makes millions of objects and hardly one that is garbage: looking for it at every 700th,
# as Python does, is a tenth of the time.
gc.set_threshold(100_000, 50, 100)


def keep_signatures():
    """Let Snakemake look up what a function of a rule takes once, not for every job.

    It reads the attribute that its own ``overwrite_function_params`` sets; without it, it inspects
    the function each time, which is another tenth of the time.
    """
    for rule in workflow.rules:
        for value in (*rule._input, *rule._params, *rule.resources.values()):
            if inspect.isfunction(value):
                value._overwrite_params = inspect.signature(value).parameters
