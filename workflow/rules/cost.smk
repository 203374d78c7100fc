# What stages cost, and what accuracy costs.


rule measure_costs:
    """Sum up what the jobs cost that the scores rest on."""
    input:
        **code("measure_costs"),
        benchmarks=benchmark_files,
        counted=ancient(counted_files),
        jobs=cost_jobs,
    output:
        costs="results/costs.csv",
    log:
        "logs/measure_costs.log",
    benchmark:
        "results/benchmarks/measure_costs.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    shell:
        f"{RUN}/measure_costs.py --jobs {{input.jobs:q}} --output {{output.costs:q}} 2> {{log:q}}"


rule make_cost_tables:
    """Write the tables of costs."""
    input:
        **code("make_cost_tables"),
        costs="results/costs.csv",
        scores="results/scores.csv",
    output:
        stages=report(
            "results/report/tables/cost.html",
            caption="../report/cost.rst",
            category="7. Cost",
            labels={"what": "cost of each stage (table)"},
        ),
        accuracy=report(
            "results/report/tables/cost-of-accuracy.html",
            caption="../report/cost_of_accuracy.rst",
            category="7. Cost",
            labels={"what": "cost of accuracy (table)"},
        ),
        papers=expand("results/report/tables/{table}.{format}", table=COST_TABLES, format=FORMATS),
    log:
        "logs/make_cost_tables.log",
    benchmark:
        "results/benchmarks/make_cost_tables.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=cost_settings,
    shell:
        f"{RUN}/make_cost_tables.py"
        " --costs {input.costs:q} --scores {input.scores:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"
