# Cost: the jobs whose times are reported, and what their rules are told.
import functools
import itertools
from types import SimpleNamespace

COST_TABLES = ["cost", "cost-of-accuracy"]
# Stages whose jobs ask for one GPU; trainings ask for as many as their recipe says.
GPU_STAGES = ("caption_images", "rewrite_captions", "generate_images", "evaluate_classifier")
COST_REPORT = [f"results/report/tables/{table}.html" for table in COST_TABLES]


def measured_jobs():
    """Stage, what it was for, and wildcards of all jobs that the scores rest on."""
    of_data = {"dataset": DATASET}
    if config["dataset"]["source"] == "openmoji":
        for class_id in CLASS_IDS:
            yield "render_openmoji", "", {**of_data, "class_id": class_id}
    for shard in SHARDS:
        yield "pack_real", "", {**of_data, "shard": shard}
    for eval_set in config["eval_sets"]:
        yield "pack_eval_set", eval_set, {"eval_set": eval_set}
    for stage, name in caption_stages(filter(needs_captions, USED_VARIANTS)):
        wildcard = "rewriter" if stage == "rewrite_captions" else "captioner"
        for shard in SHARDS:
            yield stage, name, {**of_data, wildcard: name, "shard": shard}
    for variant in USED_VARIANTS:
        for stage in ("write_prompts", "generate_images"):
            for shard in SHARDS:
                yield stage, variant, {**of_data, "variant": variant, "shard": shard}
    for training_set, recipe, seed in itertools.product(
        config["training_sets"], config["recipes"], config["training_seeds"]
    ):
        run = {**of_data, "training_set": training_set, "recipe": recipe, "seed": seed}
        yield "train_classifier", training_set, run
        yield "evaluate_classifier", training_set, run
    yield "collect_scores", "", {}


def caption_stages(variants):
    """The stages behind the captions of variants, each with its captioner or rewriter."""
    names = {config["variants"][variant]["captioner"] for variant in variants}
    rewriters = sorted(names & {*config["rewriters"]})
    behind = {config["rewriters"][name]["captioner"] for name in rewriters}
    captioners = sorted((names | behind) - {*rewriters})
    return [("caption_images", name) for name in captioners] + [
        ("rewrite_captions", name) for name in rewriters
    ]


@functools.cache
def files_of(stage):
    """The patterns of benchmark, log and outputs of a stage's jobs."""
    proxy = getattr(rules, stage)
    return str(proxy.benchmark), str(proxy.log[0]), [*map(str, proxy.output)]


def benchmark_files(wildcards):
    """The benchmarks of all jobs that the scores rest on."""
    return [files_of(stage)[0].format(**values) for stage, _, values in measured_jobs()]


def counted_files(wildcards):
    """The results of these jobs that say how many images they hold or saw.

    Inputs, since a result may be missing although all that was made of it is there: the outputs of a
    job that was killed when it was done anew are deleted.
    """
    return [
        output.format(**values)
        for stage, _, values in measured_jobs()
        for output in files_of(stage)[2]
        if output.endswith((".json", ".jsonl", ".parquet"))
    ]


def cost_jobs(wildcards):
    """A file of all jobs that the scores rest on: what each was for, was given and has made."""
    rows = []
    for stage, name, values in measured_jobs():
        benchmark, log, outputs = files_of(stage)
        rows.append(
            {
                "stage": stage,
                "name": name,
                "recipe": values.get("recipe", ""),
                **given_to(stage, values),
                "benchmark": benchmark.format(**values),
                "log": log.format(**values),
                "outputs": [output.format(**values) for output in outputs],
            }
        )
    return argument_file("costs", map(dump_json, rows))


def given_to(stage, values):
    """The threads and GPUs that a job of a stage asks for."""
    wildcards = SimpleNamespace(**values)
    if stage == "train_classifier":
        return {"threads": training_threads(wildcards), "gpus": training_gpus(wildcards)}
    threads = eval_threads(wildcards) if stage == "pack_eval_set" else 1
    return {"threads": threads, "gpus": int(stage in GPU_STAGES)}


def cost_settings(wildcards):
    """The training sets, and what the images of each rest on from captions on, as one JSON value."""
    made = {}
    for name, mix in config["training_sets"].items():
        made[name] = caption_stages(filter(needs_captions, mix["variants"]))
        for variant in mix["variants"]:
            made[name] += [("write_prompts", variant), ("generate_images", variant)]
    told = {"eval_set": IN_DISTRIBUTION, "training_sets": list(made), "stages": made}
    return dump_json(told)
