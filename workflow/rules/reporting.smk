# Scores, and the tables and figures of the report.


rule collect_scores:
    """Collect the scores of all runs on all evaluation sets."""
    input:
        **code("collect_scores"),
        predictions=PREDICTIONS,
        arguments=argument_file("predictions", ["--predictions", *PREDICTIONS]),
    output:
        scores="results/scores.csv",
    log:
        "logs/collect_scores.log",
    benchmark:
        "results/benchmarks/collect_scores.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        comparisons=dump_json(COMPARISONS),
        ablations=dump_json([[ablation.training_set, BASELINE] for ablation in ABLATIONS]),
        draws=flags(draws=config["report"]["draws"]),
        outside=flags(outside_family=OUTSIDE_FAMILY) if OUTSIDE_FAMILY else "",
    shell:
        f"{RUN}/collect_scores.py"
        " @{input.arguments:q}"
        " --comparisons {params.comparisons:q} --ablations {params.ablations:q} {params.draws}"
        " {params.outside}"
        " --output {output.scores:q} 2> {log:q}"


rule measure_budgets:
    """Measure the images, steps and epochs of all trainings."""
    input:
        **code("measure_budgets"),
        histories=HISTORIES,
        manifests=MIXED_MANIFESTS,
        arguments=budget_arguments,
    output:
        budgets="results/budgets.csv",
    log:
        "logs/measure_budgets.log",
    benchmark:
        "results/benchmarks/measure_budgets.tsv"
    conda:
        "../../envs/report.yaml"
    shell:
        f"{RUN}/measure_budgets.py" " @{input.arguments:q} --output {output.budgets:q} 2> {log:q}"


rule make_tables:
    """Write the tables of the report, as web pages and for papers."""
    input:
        **code("make_tables"),
        scores="results/scores.csv",
        budgets="results/budgets.csv",
        manifests=noted_manifests,
        arguments=noted_arguments,
    output:
        main=report(
            "results/report/tables/main.html",
            caption="../report/main_table.rst",
            category="1. Accuracy",
            labels={"what": "main table (table)"},
        ),
        comparisons=report(
            "results/report/tables/comparisons.html",
            caption="../report/comparisons.rst",
            category="1. Accuracy",
            labels={"what": "comparisons (table)"},
        ),
        per_class=report(
            "results/report/tables/per-class.html",
            caption="../report/per_class.rst",
            category="1. Accuracy",
            labels={"what": "per class (table)"},
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
        f"{RUN}/make_tables.py"
        " @{input.arguments:q} --scores {input.scores:q} --budgets {input.budgets:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule make_ablation_table:
    """Write the table of what single settings change."""
    input:
        **code("make_ablation_table"),
        scores="results/scores.csv",
        budgets="results/budgets.csv",
    output:
        page=report(
            "results/report/tables/ablations.html",
            caption="../report/ablations.rst",
            category="1. Accuracy",
            labels={"what": "ablations (table)"},
        ),
        papers=expand("results/report/tables/ablations.{format}", format=FORMATS),
    log:
        "logs/make_ablation_table.log",
    benchmark:
        "results/benchmarks/make_ablation_table.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=ablation_settings,
    shell:
        f"{RUN}/make_ablation_table.py"
        " --scores {input.scores:q} --budgets {input.budgets:q}"
        " --settings {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule plot_class_gains:
    """Plot the difference of two training sets in every class."""
    input:
        **code("plot_class_gains"),
        scores="results/scores.csv",
        budgets="results/budgets.csv",
    output:
        png=report(
            "results/report/class-gains-{comparison}.png",
            caption="../report/class_gains.rst",
            category="1. Accuracy",
            labels=lambda wildcards: {
                "what": f"gains per class, {comparison_name(wildcards)} (figure)"
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
        f"{RUN}/plot_class_gains.py"
        " --scores {input.scores:q} --budgets {input.budgets:q}"
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
        scores=GALLERY_SCORES,
        arguments=gallery_arguments,
    output:
        page=report(
            "results/report/gallery.html",
            caption="../report/gallery.rst",
            category="6. Images",
            labels={"what": "gallery (page)"},
        ),
    log:
        "logs/plot_gallery.log",
    benchmark:
        "results/benchmarks/plot_gallery.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        shown=gallery_flags,
    shell:
        f"{RUN}/plot_gallery.py"
        " @{input.arguments:q} {params.shown}"
        " --output {output.page:q} 2> {log:q}"


use rule plot_gallery as plot_senses with:
    output:
        page="results/report/senses.html",
        strip=report(
            "results/report/senses.png",
            caption="../report/senses.rst",
            category="6. Images",
            labels={"what": "senses of ambiguous names (figure)"},
        ),
    log:
        "logs/plot_senses.log",
    benchmark:
        "results/benchmarks/plot_senses.tsv"
    params:
        shown=lambda wildcards: (
            f"{gallery_flags(wildcards)} --strip results/report/senses.png "
            + flags(ambiguous=GALLERY["ambiguous"])
        ),


rule plot_examples:
    """Show the evaluation images with the largest gains and losses of the first comparison."""
    input:
        **code("plot_examples"),
        predictions=EXAMPLE_PREDICTIONS,
        images=expand(
            "results/eval_sets/{eval_set}.{suffix}",
            eval_set=REPORTED_EVAL_SETS,
            suffix=["tar", "jsonl"],
        ),
        arguments=examples_arguments,
    output:
        page=report(
            "results/report/examples.html",
            caption="../report/examples.rst",
            category="6. Images",
            labels={"what": "wins and losses (page)"},
        ),
    log:
        "logs/plot_examples.log",
    benchmark:
        "results/benchmarks/plot_examples.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        shown=flags(images=config["report"]["examples"]),
    shell:
        f"{RUN}/plot_examples.py"
        " @{input.arguments:q} {params.shown} --output {output.page:q} 2> {log:q}"


rule plot_stage_times:
    """Plot where the time went."""
    input:
        **code("plot_stage_times"),
        costs="results/costs.csv",
    output:
        png=report(
            "results/report/stage-times.png",
            caption="../report/stage_times.rst",
            category="7. Cost",
            labels={"what": "time of each stage (figure)"},
        ),
        svg="results/report/stage-times.svg",
    log:
        "logs/plot_stage_times.log",
    benchmark:
        "results/benchmarks/plot_stage_times.tsv"
    conda:
        "../../envs/report.yaml"
    shell:
        f"{RUN}/plot_stage_times.py"
        " --costs {input.costs:q} --output {output.png:q} {output.svg:q} 2> {log:q}"
