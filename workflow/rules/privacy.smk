# Privacy: attacks on classifiers, and what synthetic images give away by themselves.


use rule train_classifier as train_reference with:
    input:
        **code("train_classifier"),
        tars=ancient(training_tars),
        manifests=training_manifests,
        held_out_tar=[],
        held_out=[],
    output:
        checkpoint="results/{dataset}/references/{training_set}/{recipe}/half{half}.safetensors",
        history="results/{dataset}/references/{training_set}/{recipe}/half{half}.json",
    log:
        "logs/train_reference/{dataset}/{training_set}/{recipe}/half{half}.log",
    benchmark:
        "results/benchmarks/train_reference/{dataset}/{training_set}/{recipe}/half{half}.tsv"
    params:
        launcher=training_launcher,
        recipe=training_recipe,
        sources=training_flags,
        model=lambda wildcards: flags(half=wildcards.half),
        measured="",


rule score_members:
    """Let one classifier answer images that may be among those it was trained on."""
    input:
        **code("evaluate_classifier"),
        checkpoint=ancient(
            "results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.safetensors"
        ),
        history="results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.json",
        tars=ancient(scored_tars),
        manifests=scored_manifests,
        arguments=scored_arguments,
    output:
        predictions="results/{dataset}/members/{training_set}/{recipe}/seed{seed}/{images}.parquet",
    log:
        "logs/score_members/{dataset}/{training_set}/{recipe}/seed{seed}/{images}.log",
    benchmark:
        "results/benchmarks/score_members/{dataset}/{training_set}/{recipe}/seed{seed}/{images}.tsv"
    wildcard_constraints:
        images="real|images/[^/]+",
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(LIBRARIES_MB),
        runtime=grows(15),
        gpu=1,
    params:
        name=scored_name,
        classes=held_out_flags,
    shell:
        f"{RUN}/evaluate_classifier.py"
        " --name {params.name:q}"
        " --checkpoint {input.checkpoint:q} @{input.arguments:q}"
        " {params.classes} --threads {threads} --output {output.predictions:q} 2> {log:q}"


use rule score_members as score_references with:
    input:
        **code("evaluate_classifier"),
        checkpoint=ancient(
            "results/{dataset}/references/{training_set}/{recipe}/half{half}.safetensors"
        ),
        history="results/{dataset}/references/{training_set}/{recipe}/half{half}.json",
        tars=ancient(scored_tars),
        manifests=scored_manifests,
        arguments=scored_arguments,
    output:
        predictions="results/{dataset}/references/{training_set}/{recipe}/half{half}/{images}.parquet",
    log:
        "logs/score_references/{dataset}/{training_set}/{recipe}/half{half}/{images}.log",
    benchmark:
        "results/benchmarks/score_references/{dataset}/{training_set}/{recipe}/half{half}/{images}.tsv"
    wildcard_constraints:
        images="real|images/[^/]+|eval_sets/[^/]+",


rule attack_membership:
    """Tell members from non-members by the answers of the models of one training set."""
    input:
        **code("attack_membership"),
        manifests=privacy_manifests,
        answers=answer_files,
        arguments=attack_arguments,
    output:
        scores="results/{dataset}/privacy/{training_set}/{recipe}.csv",
        curves="results/{dataset}/privacy/{training_set}/{recipe}-roc.csv",
    log:
        "logs/attack_membership/{dataset}/{training_set}/{recipe}.log",
    benchmark:
        "results/benchmarks/attack_membership/{dataset}/{training_set}/{recipe}.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(16000),
        runtime=grows(240),
    params:
        measured=attack_flags,
    shell:
        f"{RUN}/attack_membership.py"
        " @{input.arguments:q} --training-set {wildcards.training_set:q}"
        " --recipe {wildcards.recipe:q} {params.measured}"
        " --scores {output.scores:q} --curves {output.curves:q} 2> {log:q}"


rule collect_privacy:
    """Collect the results of all attacks."""
    input:
        **code("collect_privacy"),
        scores=[f"{name}.csv" for name in ATTACKS_ON],
        curves=[f"{name}-roc.csv" for name in ATTACKS_ON],
    output:
        scores="results/privacy.csv",
        curves="results/privacy-roc.csv",
    log:
        "logs/collect_privacy.log",
    benchmark:
        "results/benchmarks/collect_privacy.tsv"
    conda:
        "../../envs/report.yaml"
    shell:
        f"{RUN}/collect_privacy.py"
        " --scores {input.scores:q} --curves {input.curves:q}"
        " --output {output.scores:q} --curves-output {output.curves:q} 2> {log:q}"


rule measure_leakage:
    """Measure how close synthetic images come to the real images behind them."""
    input:
        **code("measure_leakage"),
        tars=ancient([f"results/{place}.tar" for place in leakage_places()]),
        manifests=[f"results/{place}.jsonl" for place in leakage_places()],
        features=leakage_features,
    output:
        leakage="results/leakage.csv",
    log:
        "logs/measure_leakage.log",
    benchmark:
        "results/benchmarks/measure_leakage.tsv"
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=grows(16000),
        runtime=grows(600),
    params:
        measured=leakage_flags,
    shell:
        f"{RUN}/measure_leakage.py" " {params.measured} --output {output.leakage:q} 2> {log:q}"


rule make_privacy_table:
    """Write the table of the attacks, as a web page and for papers."""
    input:
        **code("make_privacy_table"),
        scores="results/privacy.csv",
    output:
        page=report(
            "results/report/tables/privacy.html",
            caption="../report/privacy.rst",
            category="4. Privacy",
            labels={"what": "membership inference (table)"},
        ),
        papers=expand("results/report/tables/privacy.{format}", format=FORMATS),
    log:
        "logs/make_privacy_table.log",
    benchmark:
        "results/benchmarks/make_privacy_table.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/make_privacy_table.py"
        " --scores {input.scores:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule make_leakage_table:
    """Write the table of the leakage, as a web page and for papers."""
    input:
        **code("make_leakage_table"),
        leakage="results/leakage.csv",
    output:
        page=report(
            "results/report/tables/leakage.html",
            caption="../report/leakage.rst",
            category="4. Privacy",
            labels={"what": "leakage of images (table)"},
        ),
        papers=expand("results/report/tables/leakage.{format}", format=FORMATS),
    log:
        "logs/make_leakage_table.log",
    benchmark:
        "results/benchmarks/make_leakage_table.tsv"
    conda:
        "../../envs/report.yaml"
    shell:
        f"{RUN}/make_leakage_table.py"
        " --leakage {input.leakage:q} --output-dir results/report/tables 2> {log:q}"


rule plot_roc:
    """Plot the ROC curves of the attacks under one definition of members."""
    input:
        **code("plot_roc"),
        curves="results/privacy-roc.csv",
    output:
        png=report(
            "results/report/roc-{definition}.png",
            caption="../report/roc.rst",
            category="4. Privacy",
            labels={"what": "ROC of attacks, members: {definition} (figure)"},
        ),
        svg="results/report/roc-{definition}.svg",
    log:
        "logs/plot_roc/{definition}.log",
    benchmark:
        "results/benchmarks/plot_roc/{definition}.tsv"
    wildcard_constraints:
        definition="real|synthetic|real-half|synthetic-half",
    conda:
        "../../envs/report.yaml"
    params:
        settings=report_settings,
    shell:
        f"{RUN}/plot_roc.py"
        " --curves {input.curves:q} --definition {wildcards.definition:q}"
        " --config-json {params.settings:q} --output {output.png:q} {output.svg:q} 2> {log:q}"
