# Fidelity of synthetic images, what captions add to prompts, and what guidance trades.


rule judge_images:
    """Let one classifier trained on real images say what the images of a variant show."""
    input:
        **code("evaluate_classifier"),
        checkpoint=ancient(
            "results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.safetensors"
        ),
        history="results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.json",
        tars=ancient(judged_files("tar")),
        manifests=judged_files("jsonl"),
        arguments=judged_arguments,
    output:
        predictions="results/{dataset}/judgements/{variant}/{training_set}/{recipe}/seed{seed}.parquet",
    log:
        "logs/judge_images/{dataset}/{variant}/{training_set}/{recipe}/seed{seed}.log",
    benchmark:
        "results/benchmarks/judge_images/{dataset}/{variant}/{training_set}/{recipe}/seed{seed}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(LIBRARIES_MB),
        runtime=grows(60),
        gpu=1,
    params:
        name=judged_name,
    shell:
        f"{RUN}/evaluate_classifier.py"
        " --name {params.name:q}"
        " --checkpoint {input.checkpoint:q} @{input.arguments:q}"
        " --threads {threads} --output {output.predictions:q} 2> {log:q}"


rule measure_prompts:
    """Measure what captions add to prompts, and how often judges see another class."""
    input:
        **code("measure_prompts"),
        prompts=all_prompt_files,
        judgements=JUDGEMENTS,
        references=JUDGES_ON_REAL,
        arguments=prompt_arguments,
    output:
        prompts="results/prompts.csv",
    log:
        "logs/measure_prompts.log",
    benchmark:
        "results/benchmarks/measure_prompts.tsv"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=grows(8000),
        runtime=grows(120),
    shell:
        f"{RUN}/measure_prompts.py"
        " @{input.arguments:q} --output {output.prompts:q} 2> {log:q}"


rule make_prompt_tables:
    """Write the tables of prompts."""
    input:
        **code("make_prompt_tables"),
        prompts="results/prompts.csv",
    output:
        overall=report(
            "results/report/tables/prompts.html",
            caption="../report/prompts.rst",
            category="5. Fidelity",
            labels={"what": "prompts (table)"},
        ),
        per_class=report(
            "results/report/tables/prompts-per-class.html",
            caption="../report/prompts.rst",
            category="5. Fidelity",
            labels={"what": "prompts per class (table)"},
        ),
        papers=expand("results/report/tables/{table}.{format}", table=PROMPT_TABLES, format=FORMATS),
    log:
        "logs/make_prompt_tables.log",
    benchmark:
        "results/benchmarks/make_prompt_tables.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=prompt_table_settings,
    shell:
        f"{RUN}/make_prompt_tables.py"
        " --prompts {input.prompts:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule measure_fidelity:
    """Compare the images of variants with real ones, in each feature space."""
    input:
        **code("measure_fidelity"),
        features=fidelity_features,
        arguments=fidelity_arguments,
    output:
        fidelity="results/fidelity.csv",
    log:
        "logs/measure_fidelity.log",
    benchmark:
        "results/benchmarks/measure_fidelity.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=grows(8000),
        runtime=grows(360),
    params:
        comparison=fidelity_flags,
    shell:
        f"{RUN}/measure_fidelity.py"
        " @{input.arguments:q} {params.comparison} --output {output.fidelity:q} 2> {log:q}"


rule make_fidelity_tables:
    """Write the tables of fidelity."""
    input:
        **code("make_fidelity_tables"),
        fidelity="results/fidelity.csv",
    output:
        overall=report(
            "results/report/tables/fidelity.html",
            caption="../report/fidelity.rst",
            category="5. Fidelity",
            labels={"what": "fidelity (table)"},
        ),
        per_class=report(
            "results/report/tables/fidelity-per-class.html",
            caption="../report/fidelity.rst",
            category="5. Fidelity",
            labels={"what": "fidelity per class (table)"},
        ),
        papers=expand(
            "results/report/tables/{table}.{format}", table=FIDELITY_TABLES, format=FORMATS
        ),
    log:
        "logs/make_fidelity_tables.log",
    benchmark:
        "results/benchmarks/make_fidelity_tables.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=fidelity_settings,
    shell:
        f"{RUN}/make_fidelity_tables.py"
        " --fidelity {input.fidelity:q}"
        " --config-json {params.settings:q} --output-dir results/report/tables 2> {log:q}"


rule plot_fidelity:
    """Plot precision against recall, and density against coverage."""
    input:
        **code("plot_fidelity"),
        fidelity="results/fidelity.csv",
    output:
        png=report(
            "results/report/fidelity.png",
            caption="../report/fidelity_figure.rst",
            category="5. Fidelity",
            labels={"what": "precision, recall, density, coverage (figure)"},
        ),
        svg="results/report/fidelity.svg",
    log:
        "logs/plot_fidelity.log",
    benchmark:
        "results/benchmarks/plot_fidelity.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=fidelity_settings,
    shell:
        f"{RUN}/plot_fidelity.py"
        " --fidelity {input.fidelity:q}"
        " --config-json {params.settings:q} --output {output.png:q} {output.svg:q} 2> {log:q}"


rule plot_guidance:
    """Plot accuracy, precision and recall against the guidance scale."""
    input:
        **code("plot_guidance"),
        scores="results/scores.csv",
        fidelity="results/fidelity.csv",
    output:
        png=report(
            "results/report/guidance.png",
            caption="../report/guidance.rst",
            category="5. Fidelity",
            labels={"what": "what guidance trades (figure)"},
        ),
        svg="results/report/guidance.svg",
    log:
        "logs/plot_guidance.log",
    benchmark:
        "results/benchmarks/plot_guidance.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        settings=guidance_settings,
    shell:
        f"{RUN}/plot_guidance.py"
        " --scores {input.scores:q} --fidelity {input.fidelity:q}"
        " --config-json {params.settings:q} --output {output.png:q} {output.svg:q} 2> {log:q}"
