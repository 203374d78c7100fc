#!/usr/bin/env bash
# Runs the workflow inside one allocation: sbatch profiles/slurm-single-node/job.sh [TARGETS, FLAGS]
# Give sbatch what your cluster wants beside or instead of these: --partition, --account, --gpus=4 ...
#SBATCH --job-name=capsynth
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --gpus=1
#SBATCH --time=24:00:00
# Two minutes before the time limit SLURM signals this shell, which signals the stages: they save their work.
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=capsynth-%j.log
set -euo pipefail

cpus=${SLURM_CPUS_PER_TASK:-1}
# Every job sees all GPUs of the allocation and takes the first: they take turns, one at a time.
# A training with several takes them all. Without a GPU nothing has to wait for one.
if [ "${SLURM_GPUS_ON_NODE:-0}" -gt 0 ]; then gpu_jobs=1; else gpu_jobs=$cpus; fi
limits=("gpu=$gpu_jobs")
if [ -n "${SLURM_MEM_PER_NODE:-}" ]; then limits+=("mem_mb=$SLURM_MEM_PER_NODE"); fi

command=(snakemake --cores "$cpus" --resources "${limits[@]}"
  --workflow-profile profiles/slurm-single-node "$@")
# A job that was killed, as a rule by its time limit, leaves a lock; beside a living one this one ends.
python workflow/scripts/take_folder.py -- "${command[@]}"
"${command[@]}" &
snakemake=$!
# To the whole group but this shell: Snakemake starts nothing more and waits for the stages to save.
trap 'trap "" TERM; kill -TERM 0' TERM
status=0
wait "$snakemake" || status=$?
if kill -0 "$snakemake" 2>/dev/null; then wait "$snakemake" || status=$?; fi # it was the signal
exit "$status"
