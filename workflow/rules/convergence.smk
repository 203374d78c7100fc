# Learning curves, and the gap between training and test.


rule measure_convergence:
    """Measure learning curves and train-test gaps of all runs."""
    input:
        **code("measure_convergence"),
        histories=convergence_histories,
        predictions=convergence_predictions,
        arguments=convergence_arguments,
    output:
        curves="results/learning-curves.csv",
        convergence="results/convergence.csv",
    log:
        "logs/measure_convergence.log",
    benchmark:
        "results/benchmarks/measure_convergence.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    shell:
        f"{RUN}/measure_convergence.py"
        " @{input.arguments:q}"
        " --curves {output.curves:q} --output {output.convergence:q} 2> {log:q}"


rule make_convergence_table:
    """Write the table of late gains and train-test gaps, as a web page and for papers."""
    input:
        **code("make_convergence_table"),
        curves="results/learning-curves.csv",
        convergence="results/convergence.csv",
    output:
        page=report(
            "results/report/tables/convergence.html",
            caption="../report/convergence.rst",
            category="1. Accuracy",
            labels={"what": "convergence and train-test gap (table)"},
        ),
        papers=expand("results/report/tables/convergence.{format}", format=FORMATS),
    log:
        "logs/make_convergence_table.log",
    benchmark:
        "results/benchmarks/make_convergence_table.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/make_convergence_table.py"
        " --curves {input.curves:q} --convergence {input.convergence:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule plot_learning_curves:
    """Plot accuracy on held-out real images by optimisation step."""
    input:
        **code("plot_learning_curves"),
        curves="results/learning-curves.csv",
    output:
        png=report(
            "results/report/learning-curves.png",
            caption="../report/learning_curves.rst",
            category="1. Accuracy",
            labels={"what": "learning curves (figure)"},
        ),
        svg="results/report/learning-curves.svg",
    log:
        "logs/plot_learning_curves.log",
    benchmark:
        "results/benchmarks/plot_learning_curves.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/plot_learning_curves.py"
        " --curves {input.curves:q}"
        " --config-json {params.settings:q} --output {output.png:q} {output.svg:q} 2> {log:q}"
