# Predictions of classifiers on evaluation sets.


rule evaluate_classifier:
    """Evaluate one classifier on all evaluation sets; a set that it has answered is not answered again."""
    input:
        **code("evaluate_on_sets"),
        checkpoint=ancient(
            "results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.safetensors"
        ),
        history="results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.json",
        tars=ancient(evaluated_files("tar")),
        manifests=evaluated_files("jsonl"),
        views=eval_views,
    output:
        predictions=expand(
            "results/{{dataset}}/predictions/{{training_set}}/{{recipe}}/seed{{seed}}/{eval_set}.parquet",
            eval_set=EVALUATED,
        ),
    log:
        "logs/evaluate_classifier/{dataset}/{training_set}/{recipe}/seed{seed}.log",
    benchmark:
        "results/benchmarks/evaluate_classifier/{dataset}/{training_set}/{recipe}/seed{seed}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(LIBRARIES_MB),
        runtime=grows(evaluation_minutes),
        gpu=1,
    params:
        run=run_names,
    shell:
        f"{RUN}/evaluate_on_sets.py"
        " --run {params.run:q} --checkpoint {input.checkpoint:q} --views {input.views:q}"
        " --code {input.code:q} --threads {threads} --outputs {output.predictions:q} 2> {log:q}"
