# Parts of evaluation sets: the worst class, groups, and images of no class.


rule make_class_tables:
    """Write the tables of the worst class and of precision, as web pages and for papers."""
    input:
        **code("make_class_tables"),
        scores="results/scores.csv",
    output:
        worst=report(
            "results/report/tables/worst-class.html",
            caption="../report/worst_class.rst",
            category="1. Accuracy",
            labels={"what": "worst class (table)"},
        ),
        precision=report(
            "results/report/tables/precision.html",
            caption="../report/precision.rst",
            category="1. Accuracy",
            labels={"what": "precision per class (table)"},
        ),
        papers=expand(
            "results/report/tables/{table}.{format}",
            table=["worst-class", "precision"],
            format=FORMATS,
        ),
    log:
        "logs/make_class_tables.log",
    benchmark:
        "results/benchmarks/make_class_tables.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/make_class_tables.py"
        " --scores {input.scores:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule measure_groups:
    """Measure all runs on the groups of evaluation sets."""
    input:
        **code("measure_groups"),
        predictions=predictions_on(GROUPED_EVAL_SETS),
        manifests=expand("results/eval_sets/{eval_set}.jsonl", eval_set=GROUPED_EVAL_SETS),
        arguments=group_arguments,
    output:
        groups="results/groups.csv",
    log:
        "logs/measure_groups.log",
    benchmark:
        "results/benchmarks/measure_groups.tsv"
    conda:
        "../../envs/workflow.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        measured=flags(draws=config["report"]["draws"], least_images=LEAST_GROUP_IMAGES),
        files=group_files,  # for Snakemake alone
    shell:
        f"{RUN}/measure_groups.py"
        " @{input.arguments:q} {params.measured} --output {output.groups:q} 2> {log:q}"


rule make_group_tables:
    """Write the tables of groups, as web pages and for papers."""
    input:
        **code("make_group_tables"),
        groups="results/groups.csv",
    output:
        groups=report(
            "results/report/tables/groups.html",
            caption="../report/groups.rst",
            category="1. Accuracy",
            labels={"what": "groups (table)"},
        ),
        accuracy=report(
            "results/report/tables/group-accuracy.html",
            caption="../report/groups.rst",
            category="1. Accuracy",
            labels={"what": "accuracy by group (table)"},
        ),
        papers=expand(
            "results/report/tables/{table}.{format}",
            table=["groups", "group-accuracy"],
            format=FORMATS,
        ),
    log:
        "logs/make_group_tables.log",
    benchmark:
        "results/benchmarks/make_group_tables.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        shown=flags(eval_sets=GROUPED_EVAL_SETS, least_images=LEAST_GROUP_IMAGES),
        settings=report_settings,
    shell:
        f"{RUN}/make_group_tables.py"
        " --groups {input.groups:q} {params.shown}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule measure_unknown:
    """Measure how well all runs tell images of their classes from images of none."""
    input:
        **code("measure_unknown"),
        inside=predictions_on([IN_DISTRIBUTION]),
        unknown=predictions_on(UNKNOWN_EVAL_SETS),
        arguments=unknown_arguments,
    output:
        unknown="results/unknown.csv",
    log:
        "logs/measure_unknown.log",
    benchmark:
        "results/benchmarks/measure_unknown.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        draws=flags(draws=config["report"]["draws"]),
    shell:
        f"{RUN}/measure_unknown.py"
        " @{input.arguments:q} {params.draws} --output {output.unknown:q} 2> {log:q}"


rule make_unknown_table:
    """Write the table of unknown images, as a web page and for papers."""
    input:
        **code("make_unknown_table"),
        unknown="results/unknown.csv",
    output:
        page=report(
            "results/report/tables/unknown.html",
            caption="../report/unknown.rst",
            category="2. Robustness",
            labels={"what": "unknown images (table)"},
        ),
        papers=expand("results/report/tables/unknown.{format}", format=FORMATS),
    log:
        "logs/make_unknown_table.log",
    benchmark:
        "results/benchmarks/make_unknown_table.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        shown=flags(eval_sets=UNKNOWN_EVAL_SETS),
        settings=report_settings,
    shell:
        f"{RUN}/make_unknown_table.py"
        " --unknown {input.unknown:q} {params.shown}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"
