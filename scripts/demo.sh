#!/usr/bin/env bash
# Sets up what is missing, then fine-tunes a real model by its own right answers, on two processes.
#
#   scripts/demo.sh [--short] [OPTION...]    for instance: scripts/demo.sh --seed 2
#
# The model is SmolLM2-135M-Instruct, the task sums of two-digit numbers (examples/sums/). --short runs
# one small round, to see that everything works. Other options go to `hone run`.
set -euo pipefail
# shellcheck source=scripts/lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

show_help_if_asked "$0" "$@"
options=()
for option in "$@"; do
  case $option in
    --short) options=(--num_rounds 1 --prompts.per_round 16 "${options[@]}") ;;
    *) options+=("$option") ;;
  esac
done
task=$HONE_ROOT/examples/sums
run=$HONE_ROOT/runs/sums-$(date +%Y%m%d-%H%M%S)

lock_cache
ensure_system
ensure_torch
ensure_demo_model
unlock_cache
build hone
stage "task" "$(find_python)" "$task/make_task.py"
# Two processes even where mpirun counts one core (two hardware threads of it, say).
shown_stage "demo" mpirun -q --bind-to none --oversubscribe -np 2 "$HONE_BUILD/hone" run "$task/loop.yaml" \
  --model_name_or_path "$MODEL" --output_dir "$run" "${options[@]}"
