# Scores, and the tables and figures of the report.
RUNS = [
    f"{training_set}/{recipe}/seed{seed}"
    for training_set in config["training_sets"]
    for recipe in config["recipes"]
    for seed in config["training_seeds"]
]
REPORT_FILES = []


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
        comparisons=dump_json(config["report"]["comparisons"]),
        draws=flags(draws=config["report"]["draws"]),
    shell:
        "python workflow/scripts/warm.py run {input.script:q} --predictions {input.predictions:q}"
        " --comparisons {params.comparisons:q} {params.draws} --output {output.scores:q} 2> {log:q}"
