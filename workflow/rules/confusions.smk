# Confusions: which classes are taken for which, and how that differs between training sets.


rule compare_confusions:
    """Compare how often classes are taken for each other after training on two training sets."""
    input:
        **code("compare_confusions"),
        predictions=COMPARED_PREDICTIONS,
        arguments=argument_file("compared-predictions", ["--predictions", *COMPARED_PREDICTIONS]),
    output:
        confusions="results/confusions.csv",
    log:
        "logs/compare_confusions.log",
    benchmark:
        "results/benchmarks/compare_confusions.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        comparisons=dump_json(COMPARISONS),
    shell:
        f"{RUN}/compare_confusions.py"
        " @{input.arguments:q}"
        " --comparisons {params.comparisons:q}"
        " --output {output.confusions:q} 2> {log:q}"


rule make_confusion_table:
    """Write the table of changed confusions."""
    input:
        **code("make_confusion_table"),
        confusions="results/confusions.csv",
        budgets="results/budgets.csv",
    output:
        page=report(
            "results/report/tables/confusions.html",
            caption="../report/confusions.rst",
            category="1. Accuracy",
            labels={"what": "changes of confusions (table)"},
        ),
        papers=expand("results/report/tables/confusions.{format}", format=FORMATS),
    log:
        "logs/make_confusion_table.log",
    benchmark:
        "results/benchmarks/make_confusion_table.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/make_confusion_table.py"
        " --confusions {input.confusions:q} --budgets {input.budgets:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule plot_confusions:
    """Plot how the confusions of two training sets differ."""
    input:
        **code("plot_confusions"),
        confusions="results/confusions.csv",
        budgets="results/budgets.csv",
    output:
        png=report(
            "results/report/confusions-{comparison}.png",
            caption="../report/confusion_changes.rst",
            category="1. Accuracy",
            labels=lambda wildcards: {
                "what": f"changes of confusions, {comparison_name(wildcards)} (figure)"
            },
        ),
        svg="results/report/confusions-{comparison}.svg",
    log:
        "logs/plot_confusions/{comparison}.log",
    benchmark:
        "results/benchmarks/plot_confusions/{comparison}.tsv"
    wildcard_constraints:
        comparison=r"\d+",
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
        comparison=lambda wildcards: flags(comparison=COMPARISONS[int(wildcards.comparison)]),
    shell:
        f"{RUN}/plot_confusions.py"
        " --confusions {input.confusions:q} --budgets {input.budgets:q}"
        " --config-json {params.settings:q} {params.comparison}"
        " --output {output.png:q} {output.svg:q} 2> {log:q}"
