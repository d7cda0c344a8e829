#!/usr/bin/env bash
# Fine-tune minDALL-E's stage 2 on four nodes of eight GPUs: sbatch deploy/train/slurm.sh
# Ten minutes before the time is over, and where Slurm wants the nodes, it saves; the same command
# goes on, and Slurm gives it itself where it took the nodes away.
#SBATCH --job-name=mindalle-train
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@600
set -euo pipefail

data=${DATA:?the folder with mindalle-1.3b, codes, shards and runs}
first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=540

srun torchrun \
  --nnodes="$SLURM_NNODES" --nproc-per-node=8 \
  --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$first_node:29400" \
  -m -- models.train stage2 \
  --init="$data/mindalle-1.3b" --codes="$data/codes" --data="$data/shards/{0000..1279}.tar" \
  --prefix=class --classes=1000 --run="$data/runs/imagenet" \
  --batch=512 --steps=20016 --precision=bfloat16 --fsdp --save-every=500 --tensorboard --resume
