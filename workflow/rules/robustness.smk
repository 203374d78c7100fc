# Robustness: effective robustness, corruptions, curves, sources of variance.


rule measure_robustness:
    """Measure effective robustness and corruption errors of all runs."""
    input:
        **code("measure_robustness"),
        predictions=PREDICTIONS,
        arguments=argument_file("robustness", ["--predictions", *PREDICTIONS]),
    output:
        scores="results/robustness.csv",
        lines="results/robustness-lines.csv",
    log:
        "logs/measure_robustness.log",
    benchmark:
        "results/benchmarks/measure_robustness.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        measured=robustness_settings,
        draws=flags(draws=config["report"]["draws"]),
    shell:
        f"{RUN}/measure_robustness.py"
        " @{input.arguments:q} --settings {params.measured:q} {params.draws}"
        " --output {output.scores:q} --lines {output.lines:q} 2> {log:q}"


rule make_robustness_tables:
    """Write the tables of effective robustness and corruptions, as web pages and for papers."""
    input:
        **code("make_robustness_tables"),
        scores="results/scores.csv",
        robustness="results/robustness.csv",
        lines="results/robustness-lines.csv",
    output:
        pages=[
            report(
                f"results/report/tables/{table}.html",
                caption=f"../report/{table}_table.rst",
                category="2. Robustness",
                labels={"what": f"{table} (table)"},
            )
            for table in ROBUSTNESS_TABLES
        ],
        papers=expand(
            "results/report/tables/{table}.{format}", table=ROBUSTNESS_TABLES, format=FORMATS
        ),
    log:
        "logs/make_robustness_tables.log",
    benchmark:
        "results/benchmarks/make_robustness_tables.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
        measured=robustness_settings,
    shell:
        f"{RUN}/make_robustness_tables.py"
        " --scores {input.scores:q} --robustness {input.robustness:q} --lines {input.lines:q}"
        " --config-json {params.settings:q} --settings {params.measured:q}"
        " --output-dir results/report/tables 2> {log:q}"


rule plot_robustness:
    """Plot accuracy out of distribution against accuracy in distribution."""
    input:
        **code("plot_robustness"),
        scores="results/scores.csv",
        lines="results/robustness-lines.csv",
    output:
        png=report(
            "results/report/robustness.png",
            caption="../report/robustness.rst",
            category="2. Robustness",
            labels={"what": "out of against in distribution (figure)"},
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
        measured=robustness_settings,
    shell:
        f"{RUN}/plot_robustness.py"
        " --scores {input.scores:q} --lines {input.lines:q}"
        " --config-json {params.settings:q} --settings {params.measured:q}"
        " --output {output.png:q} {output.svg:q} 2> {log:q}"


rule plot_corruptions:
    """Plot the errors of one corruption set as heat maps."""
    input:
        **code("plot_corruptions"),
        scores="results/scores.csv",
    output:
        png=report(
            "results/report/corruptions-{eval_set}.png",
            caption="../report/corruptions.rst",
            category="2. Robustness",
            labels={"what": "corruptions, {eval_set} (figure)"},
        ),
        svg="results/report/corruptions-{eval_set}.svg",
    log:
        "logs/plot_corruptions/{eval_set}.log",
    benchmark:
        "results/benchmarks/plot_corruptions/{eval_set}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/plot_corruptions.py"
        " --scores {input.scores:q} --eval-set {wildcards.eval_set:q}"
        " --config-json {params.settings:q} --output {output.png:q} {output.svg:q} 2> {log:q}"


rule plot_curves:
    """Plot accuracy against the share of real images."""
    input:
        **code("plot_curves"),
        scores="results/scores.csv",
        histories=[],
    output:
        png=report(
            "results/report/real-fraction.png",
            caption="../report/real_fraction.rst",
            category="1. Accuracy",
            labels={"what": "share of real images (figure)"},
        ),
        svg="results/report/real-fraction.svg",
    log:
        "logs/plot_curves/real-fraction.log",
    benchmark:
        "results/benchmarks/plot_curves/real-fraction.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
        points=dump_json(REAL_CURVE),
    shell:
        f"{RUN}/plot_curves.py"
        " --scores {input.scores:q} --points {params.points:q} --histories {input.histories:q}"
        " --config-json {params.settings:q} --output {output.png:q} {output.svg:q} 2> {log:q}"


use rule plot_curves as plot_scaling with:
    input:
        **code("plot_curves"),
        scores="results/scores.csv",
        histories=SYNTHETIC_HISTORIES,
    output:
        png=report(
            "results/report/scaling.png",
            caption="../report/scaling.rst",
            category="1. Accuracy",
            labels={"what": "number of synthetic images (figure)"},
        ),
        svg="results/report/scaling.svg",
    log:
        "logs/plot_curves/scaling.log",
    benchmark:
        "results/benchmarks/plot_curves/scaling.tsv"
    params:
        settings=report_settings,
        points=dump_json(SYNTHETIC_CURVE),


rule measure_variance:
    """Measure how much images, seeds and the draw of the real sample vary accuracy."""
    input:
        **code("measure_variance"),
        predictions=replicate_predictions,
        arguments=replicate_arguments,
    output:
        variance="results/variance.csv",
    log:
        "logs/measure_variance.log",
    benchmark:
        "results/benchmarks/measure_variance.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        groups=dump_json(GENERATION_REPLICATES),
        draws=flags(draws=config["report"]["draws"]),
    shell:
        f"{RUN}/measure_variance.py"
        " @{input.arguments:q} --groups {params.groups:q} {params.draws}"
        " --output {output.variance:q} 2> {log:q}"


rule make_variance_table:
    """Write the table of variances, as a web page and for papers."""
    input:
        **code("make_variance_table"),
        variance="results/variance.csv",
    output:
        page=report(
            "results/report/tables/variance.html",
            caption="../report/variance.rst",
            category="1. Accuracy",
            labels={"what": "sources of variance (table)"},
        ),
        papers=expand("results/report/tables/variance.{format}", format=FORMATS),
    log:
        "logs/make_variance_table.log",
    benchmark:
        "results/benchmarks/make_variance_table.tsv"
    conda:
        "../../envs/report.yaml"
    shell:
        f"{RUN}/make_variance_table.py"
        " --variance {input.variance:q} --output-dir results/report/tables 2> {log:q}"
