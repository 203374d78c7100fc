# Scores, and the tables and figures of the report.

RUNS = [
    f"{training_set}/{recipe}/seed{seed}"
    for training_set in config["training_sets"]
    for recipe in config["recipes"]
    for seed in config["training_seeds"]
]
TABLES = {"main": "main_table", "comparisons": "comparisons", "per-class": "per_class"}
FORMATS = ["csv", "md", "tex"]
COMPARISONS = config["report"]["comparisons"]
# Captions, and the first part of each class: what a gallery can show.
GALLERY = config["report"]["gallery"]
GALLERY_SHARDS = [shard_name(class_id, 0) for class_id in CLASS_IDS]
GALLERY_CAPTIONERS = [
    config["variants"][variant]["captioner"]
    for variant in GALLERY["variants"]
    if needs_captions(variant)
][:1]
REPORT_FILES = [
    *(f"results/report/tables/{table}.html" for table in TABLES),
    "results/report/robustness.png",
    *(f"results/report/class-gains-{i}.png" for i in range(len(COMPARISONS))),
    *(["results/report/gallery.html"] if GALLERY_CAPTIONERS else []),
    *(["results/report/senses.png"] if GALLERY_CAPTIONERS and GALLERY["ambiguous"] else []),
    "results/report/stage-times.png",
]


def report_settings(wildcards):
    """What tables and figures show, and in which order, as one JSON value."""
    return dump_json(
        {
            "in_distribution": config["report"]["in_distribution"],
            "training_sets": list(config["training_sets"]),
            "eval_sets": list(config["eval_sets"]),
            "comparisons": COMPARISONS,
        }
    )


def gallery_flags(wildcards):
    """The shards that a gallery shows."""
    words = []
    for shard in GALLERY_SHARDS:
        real = f"results/{DATASET}/real/{shard}"
        words += ["--real", f"{real}.tar", f"{real}.jsonl"]
        for variant in GALLERY["variants"]:
            drawn = f"results/{DATASET}/images/{variant}/{shard}"
            words += ["--variant", variant, f"{drawn}.tar", f"{drawn}.jsonl"]
    names = flags(columns=GALLERY["variants"], images_per_class=GALLERY["images_per_class"])
    return f"{shlex.join(words)} {names}"


def benchmark_files(wildcards):
    """The benchmarks of all jobs that the scores rest on."""
    root = "results/benchmarks"
    drawn = config["dataset"]["source"] == "openmoji"
    captioners = {v["captioner"] for name, v in config["variants"].items() if needs_captions(name)}
    used = sorted({v for t in config["training_sets"].values() for v in t["variants"]})
    files = [f"{root}/collect_scores.tsv"]
    files += [f"{root}/render_openmoji/{DATASET}/{c}.tsv" for c in CLASS_IDS if drawn]
    files += [f"{root}/pack_real/{DATASET}/{shard}.tsv" for shard in SHARDS]
    files += [f"{root}/pack_eval_set/{eval_set}.tsv" for eval_set in config["eval_sets"]]
    for shard in SHARDS:
        files += [f"{root}/caption_images/{DATASET}/{c}/{shard}.tsv" for c in sorted(captioners)]
        for variant, rule in itertools.product(used, ("write_prompts", "generate_images")):
            files.append(f"{root}/{rule}/{DATASET}/{variant}/{shard}.tsv")
    files += [f"{root}/train_classifier/{DATASET}/{run}.tsv" for run in RUNS]
    for run, eval_set in itertools.product(RUNS, config["eval_sets"]):
        files.append(f"{root}/evaluate_classifier/{DATASET}/{run}/{eval_set}.tsv")
    return files


rule collect_scores:
    """Collect the scores of all runs on all evaluation sets."""
    input:
        **code("collect_scores"),
        predictions=expand(
            "results/{dataset}/predictions/{run}/{eval_set}.parquet",
            dataset=DATASET,
            run=RUNS,
            eval_set=config["eval_sets"],
        ),
    output:
        scores="results/scores.csv",
    log:
        "logs/collect_scores.log",
    benchmark:
        "results/benchmarks/collect_scores.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        comparisons=dump_json(COMPARISONS),
        draws=flags(draws=config["report"]["draws"]),
    shell:
        "python {SCRIPTS}/warm.py run {input.script:q} --predictions {input.predictions:q}"
        " --comparisons {params.comparisons:q} {params.draws} --output {output.scores:q} 2> {log:q}"


rule make_tables:
    """Write the tables of the report, as web pages and for papers."""
    input:
        **code("make_tables"),
        scores="results/scores.csv",
    output:
        main=report(
            "results/report/tables/main.html",
            caption="../report/main_table.rst",
            category="1. Accuracy",
            labels={"what": "main table"},
        ),
        comparisons=report(
            "results/report/tables/comparisons.html",
            caption="../report/comparisons.rst",
            category="1. Accuracy",
            labels={"what": "comparisons"},
        ),
        per_class=report(
            "results/report/tables/per-class.html",
            caption="../report/per_class.rst",
            category="1. Accuracy",
            labels={"what": "per class"},
        ),
        papers=expand("results/report/tables/{table}.{format}", table=TABLES, format=FORMATS),
    log:
        "logs/make_tables.log",
    benchmark:
        "results/benchmarks/make_tables.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        "python {SCRIPTS}/warm.py run {input.script:q} --scores {input.scores:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule plot_robustness:
    """Plot accuracy out of distribution against accuracy in distribution."""
    input:
        **code("plot_robustness"),
        scores="results/scores.csv",
    output:
        png=report(
            "results/report/robustness.png",
            caption="../report/robustness.rst",
            category="2. Robustness",
            labels={"what": "out of against in distribution"},
        ),
        svg="results/report/robustness.svg",
    log:
        "logs/plot_robustness.log",
    benchmark:
        "results/benchmarks/plot_robustness.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        "python {SCRIPTS}/warm.py run {input.script:q} --scores {input.scores:q}"
        " --config-json {params.settings:q} --output {output.png:q} {output.svg:q} 2> {log:q}"


rule plot_class_gains:
    """Plot the difference of two training sets in every class."""
    input:
        **code("plot_class_gains"),
        scores="results/scores.csv",
    output:
        png=report(
            "results/report/class-gains-{comparison}.png",
            caption="../report/class_gains.rst",
            category="1. Accuracy",
            labels=lambda wildcards: {
                "what": "gains per class, {} - {}".format(*COMPARISONS[int(wildcards.comparison)])
            },
        ),
        svg="results/report/class-gains-{comparison}.svg",
    log:
        "logs/plot_class_gains/{comparison}.log",
    benchmark:
        "results/benchmarks/plot_class_gains/{comparison}.tsv"
    wildcard_constraints:
        comparison=r"\d+",
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
        comparison=lambda wildcards: flags(comparison=COMPARISONS[int(wildcards.comparison)]),
    shell:
        "python {SCRIPTS}/warm.py run {input.script:q} --scores {input.scores:q}"
        " --config-json {params.settings:q} {params.comparison}"
        " --output {output.png:q} {output.svg:q} 2> {log:q}"


rule plot_gallery:
    """Show real images, their captions and what was drawn from them."""
    input:
        **code("plot_gallery"),
        real=expand("results/{dataset}/real/{shard}.jsonl", dataset=DATASET, shard=GALLERY_SHARDS),
        captions=expand(
            "results/{dataset}/captions/{captioner}/{shard}.jsonl",
            dataset=DATASET,
            captioner=GALLERY_CAPTIONERS,
            shard=GALLERY_SHARDS,
        ),
        drawn=expand(
            "results/{dataset}/images/{variant}/{shard}.jsonl",
            dataset=DATASET,
            variant=GALLERY["variants"],
            shard=GALLERY_SHARDS,
        ),
    output:
        page=report(
            "results/report/gallery.html",
            caption="../report/gallery.rst",
            category="3. Images",
            labels={"what": "gallery"},
        ),
    log:
        "logs/plot_gallery.log",
    benchmark:
        "results/benchmarks/plot_gallery.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        shards=gallery_flags,
    shell:
        "python {SCRIPTS}/warm.py run {input.script:q} {params.shards}"
        " --captions {input.captions:q} --output {output.page:q} 2> {log:q}"


use rule plot_gallery as plot_senses with:
    output:
        page="results/report/senses.html",
        strip=report(
            "results/report/senses.png",
            caption="../report/senses.rst",
            category="3. Images",
            labels={"what": "senses of ambiguous names"},
        ),
    log:
        "logs/plot_senses.log",
    benchmark:
        "results/benchmarks/plot_senses.tsv"
    params:
        shards=lambda wildcards: (
            f"{gallery_flags(wildcards)} --strip results/report/senses.png "
            + flags(ambiguous=GALLERY["ambiguous"])
        ),


rule plot_stage_times:
    """Plot where the time went."""
    input:
        **code("plot_stage_times"),
        benchmarks=benchmark_files,
    output:
        png=report(
            "results/report/stage-times.png",
            caption="../report/stage_times.rst",
            category="4. Cost",
            labels={"what": "time of each stage"},
        ),
        svg="results/report/stage-times.svg",
        csv="results/report/stage-times.csv",
    log:
        "logs/plot_stage_times.log",
    conda:
        "../../envs/report.yaml"
    shell:
        "python {SCRIPTS}/warm.py run {input.script:q} --benchmarks {input.benchmarks:q}"
        " --csv {output.csv:q} --output {output.png:q} {output.svg:q} 2> {log:q}"
