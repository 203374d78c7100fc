# Calibration, before and after temperature scaling.


rule measure_calibration:
    """Measure the calibration of all runs, before and after temperature scaling."""
    input:
        **code("measure_calibration"),
        predictions=PREDICTIONS,
        fitted=calibration_predictions,
        arguments=calibration_arguments,
    output:
        scores="results/calibration.csv",
        reliability="results/reliability.csv",
    log:
        "logs/measure_calibration.log",
    benchmark:
        "results/benchmarks/measure_calibration.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        draws=flags(draws=config["report"]["draws"]),
    shell:
        f"{RUN}/measure_calibration.py"
        " @{input.arguments:q} {params.draws}"
        " --output {output.scores:q} --reliability {output.reliability:q} 2> {log:q}"


rule make_calibration_table:
    """Write the table of calibration, as a web page and for papers."""
    input:
        **code("make_calibration_table"),
        calibration="results/calibration.csv",
    output:
        page=report(
            "results/report/tables/calibration.html",
            caption="../report/calibration.rst",
            category="3. Calibration",
            labels={"what": "calibration (table)"},
        ),
        papers=expand("results/report/tables/calibration.{format}", format=FORMATS),
    log:
        "logs/make_calibration_table.log",
    benchmark:
        "results/benchmarks/make_calibration_table.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/make_calibration_table.py"
        " --calibration {input.calibration:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule plot_reliability:
    """Plot the reliability diagrams of one evaluation set."""
    input:
        **code("plot_reliability"),
        reliability="results/reliability.csv",
    output:
        png=report(
            "results/report/reliability-{eval_set}.png",
            caption="../report/reliability.rst",
            category="3. Calibration",
            labels={"what": "reliability, {eval_set} (figure)"},
        ),
        svg="results/report/reliability-{eval_set}.svg",
    log:
        "logs/plot_reliability/{eval_set}.log",
    benchmark:
        "results/benchmarks/plot_reliability/{eval_set}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/plot_reliability.py"
        " --reliability {input.reliability:q} --eval-set {wildcards.eval_set:q}"
        " --config-json {params.settings:q} --output {output.png:q} {output.svg:q} 2> {log:q}"
