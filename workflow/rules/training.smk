# Classifiers.


rule train_classifier:
    """Train a classifier on one training set with one recipe and seed."""
    input:
        **code("train_classifier"),
        tars=ancient(training_tars),
        manifests=training_manifests,
        held_out_tar=ancient(training_held_out("tar")),
        held_out=training_held_out("jsonl"),
    output:
        checkpoint="results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.safetensors",
        history="results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.json",
    log:
        "logs/train_classifier/{dataset}/{training_set}/{recipe}/seed{seed}.log",
    benchmark:
        "results/benchmarks/train_classifier/{dataset}/{training_set}/{recipe}/seed{seed}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: training_threads
    resources:
        mem_mb=grows(training_mb),
        runtime=grows(360),
        gpu=training_gpus,
    params:
        launcher=training_launcher,
        recipe=training_recipe,
        sources=training_flags,
        model=lambda wildcards: flags(seed=wildcards.seed),
        measured=training_measured,
    shell:
        "{params.launcher} --recipe {params.recipe:q}"
        " {params.model} --code {input.code:q} {params.sources} {params.measured}"
        " --threads {threads} --checkpoint {output.checkpoint:q} --history {output.history:q}"
        " 2> {log:q}"
