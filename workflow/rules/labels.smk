# Label quality: how many synthetic images are not what they were drawn for.


rule measure_label_quality:
    """Estimate how many labels of synthetic images are wrong, by confident learning."""
    input:
        **code("measure_label_quality"),
        judgements=JUDGEMENTS,
        references=JUDGES_ON_REAL,
        arguments=label_arguments,
    output:
        labels="results/label-quality.csv",
    log:
        "logs/measure_label_quality.log",
    benchmark:
        "results/benchmarks/measure_label_quality.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        draws=flags(draws=config["report"]["draws"]),
    shell:
        f"{RUN}/measure_label_quality.py"
        " @{input.arguments:q} {params.draws} --output {output.labels:q} 2> {log:q}"


rule make_label_tables:
    """Write the tables of label quality."""
    input:
        **code("make_label_tables"),
        labels="results/label-quality.csv",
    output:
        overall=report(
            "results/report/tables/label-quality.html",
            caption="../report/label_quality.rst",
            category="5. Fidelity",
            labels={"what": "label quality (table)"},
        ),
        per_class=report(
            "results/report/tables/label-quality-per-class.html",
            caption="../report/label_quality.rst",
            category="5. Fidelity",
            labels={"what": "label quality per class (table)"},
        ),
        papers=expand("results/report/tables/{table}.{format}", table=LABEL_TABLES, format=FORMATS),
    log:
        "logs/make_label_tables.log",
    benchmark:
        "results/benchmarks/make_label_tables.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=prompt_table_settings,
    shell:
        f"{RUN}/make_label_tables.py"
        " --labels {input.labels:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"
