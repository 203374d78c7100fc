# Predictions of classifiers on evaluation sets.


rule evaluate_classifier:
    """Evaluate one classifier on one evaluation set."""
    input:
        **code("evaluate_classifier"),
        checkpoint=ancient(
            "results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.safetensors"
        ),
        history="results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.json",
        tar=ancient("results/eval_sets/{eval_set}.tar"),
        manifest="results/eval_sets/{eval_set}.jsonl",
    output:
        predictions="results/{dataset}/predictions/{training_set}/{recipe}/seed{seed}/{eval_set}.parquet",
    log:
        "logs/evaluate_classifier/{dataset}/{training_set}/{recipe}/seed{seed}/{eval_set}.log",
    benchmark:
        "results/benchmarks/evaluate_classifier/{dataset}/{training_set}/{recipe}/seed{seed}/{eval_set}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(LIBRARIES_MB),
        runtime=grows(15),
        gpu=1,
    params:
        name=run_name,
        classes=eval_view_flags,
        images=lambda wildcards, input: flags(tar=input.tar, manifest=input.manifest),
    shell:
        f"{RUN}/evaluate_classifier.py"
        " --name {params.name:q}"
        " --checkpoint {input.checkpoint:q} {params.images}"
        " {params.classes} --threads {threads} --output {output.predictions:q} 2> {log:q}"
