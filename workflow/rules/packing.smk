# Real images and evaluation sets: drawn or given, then packed.


rule render_openmoji:
    """Draw the real images of one class of the embedded data set."""
    input:
        **code("render_openmoji"),
    output:
        folder=directory("results/{dataset}/source/{class_id}"),
        stamp="results/{dataset}/source/{class_id}.json",
    log:
        "logs/render_openmoji/{dataset}/{class_id}.log",
    benchmark:
        "results/benchmarks/render_openmoji/{dataset}/{class_id}.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        scenes=train_scene_flags,
    shell:
        "python {input.warm:q} run {input.script:q} {params.scenes}"
        " --class-ids {wildcards.class_id:q} --output results/{wildcards.dataset:q}/source"
        " --stamp {output.stamp:q} 2> {log:q}"


rule pack_real:
    """Pack the real images of one class shard."""
    input:
        **code("pack_real"),
        folder=ancient(class_folder),
        stamp=class_folder_stamp,
    output:
        tar="results/{dataset}/real/{shard}.tar",
        manifest="results/{dataset}/real/{shard}.jsonl",
    log:
        "logs/pack_real/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/pack_real/{dataset}/{shard}.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        format=IMAGE_FORMAT,
        place=place_flags,
        token=class_token,
    shell:
        "python {input.warm:q} run {input.script:q} --folder {input.folder:q}"
        " --shard {wildcards.shard:q} {params.place} --format {params.format:q}"
        " --source-token {params.token:q}"
        " --index results/{wildcards.dataset:q}/real/.{wildcards.shard:q}.sources.json"
        " --tar {output.tar:q} --manifest {output.manifest:q} 2> {log:q}"


rule render_eval_set:
    """Draw an evaluation set of the embedded data set."""
    input:
        **code("render_openmoji"),
    output:
        folder=directory("results/eval_sets/source/{eval_set}"),
        stamp="results/eval_sets/source/{eval_set}.json",
    log:
        "logs/render_eval_set/{eval_set}.log",
    benchmark:
        "results/benchmarks/render_eval_set/{eval_set}.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        scenes=eval_scene_flags,
    shell:
        "python {input.warm:q} run {input.script:q} {params.scenes}"
        " --output {output.folder:q} --stamp {output.stamp:q} 2> {log:q}"


rule pack_eval_set:
    """Pack an evaluation set."""
    input:
        **code("pack_eval_set"),
        folder=ancient(eval_folder),
        stamp=eval_folder_stamp,
    output:
        tar="results/eval_sets/{eval_set}.tar",
        manifest="results/eval_sets/{eval_set}.jsonl",
    log:
        "logs/pack_eval_set/{eval_set}.log",
    benchmark:
        "results/benchmarks/pack_eval_set/{eval_set}.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        format=IMAGE_FORMAT,
        class_ids=CLASS_IDS,
        corruptions=eval_corruption_flags,
        token=eval_token,
    shell:
        "python {input.warm:q} run {input.script:q} --folder {input.folder:q}"
        " --class-ids {params.class_ids:q} --format {params.format:q}"
        " {params.corruptions} --source-token {params.token:q}"
        " --index results/eval_sets/.{wildcards.eval_set:q}.sources.json"
        " --tar {output.tar:q} --manifest {output.manifest:q} 2> {log:q}"
