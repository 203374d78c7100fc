# Probes: how well the features of classifiers tell things that they never saw.


rule probe_classifier:
    """Probe the features of one classifier with the images of one evaluation set."""
    input:
        **code("probe_classifier"),
        checkpoint=ancient(
            "results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.safetensors"
        ),
        history="results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.json",
        tar=ancient("results/eval_sets/{eval_set}.tar"),
        manifest="results/eval_sets/{eval_set}.jsonl",
    output:
        linear="results/{dataset}/probes/{training_set}/{recipe}/seed{seed}/{eval_set}.linear.parquet",
        knn="results/{dataset}/probes/{training_set}/{recipe}/seed{seed}/{eval_set}.knn.parquet",
    log:
        "logs/probe_classifier/{dataset}/{training_set}/{recipe}/seed{seed}/{eval_set}.log",
    benchmark:
        "results/benchmarks/probe_classifier/{dataset}/{training_set}/{recipe}/seed{seed}/{eval_set}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(LIBRARIES_MB),
        runtime=grows(30),
        gpu=1,
    params:
        name=run_name,
    shell:
        f"{RUN}/probe_classifier.py"
        " --name {params.name:q}"
        " --checkpoint {input.checkpoint:q} --tar {input.tar:q} --manifest {input.manifest:q}"
        " --threads {threads}"
        " --linear {output.linear:q} --knn {output.knn:q} 2> {log:q}"


rule measure_probes:
    """Measure the accuracy of the probes of all runs."""
    input:
        **code("measure_probes"),
        predictions=probe_predictions,
        arguments=probe_arguments,
    output:
        probes="results/probes.csv",
    log:
        "logs/measure_probes.log",
    benchmark:
        "results/benchmarks/measure_probes.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    shell:
        f"{RUN}/measure_probes.py" " @{input.arguments:q} --output {output.probes:q} 2> {log:q}"


rule make_probe_table:
    """Write the table of probes, as a web page and for papers."""
    input:
        **code("make_probe_table"),
        probes="results/probes.csv",
    output:
        page=report(
            "results/report/tables/probes.html",
            caption="../report/probes.rst",
            category="2. Robustness",
            labels={"what": "probes of features (table)"},
        ),
        papers=expand("results/report/tables/probes.{format}", format=FORMATS),
    log:
        "logs/make_probe_table.log",
    benchmark:
        "results/benchmarks/make_probe_table.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/make_probe_table.py"
        " --probes {input.probes:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"
