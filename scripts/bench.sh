#!/usr/bin/env bash
# Measures hone against its peers, all interleaved in one run, and prints a table with ratios.
#
#   scripts/bench.sh [--only training|start|generation|memory] [--dtype float32|bfloat16] [--short]
#                    [--rounds N] [--threads N] [--json FILE]
#
# Training: TRL's IterativeSFTTrainer, the best Python loop that we could write, and the matrix
# products alone, for GPT-2 124M and SmolLM2-135M in float32 and bfloat16. Start: TRL's trainer until
# its first step is done. Generation: transformers' generate(). Memory: the longest sequence of an
# update in 4 GB, against a Python loop. --short: training of GPT-2 in float32 alone, 2 rounds. For a
# machine that does nothing else: two cores and 20 GB of free memory; all of it takes about an hour,
# and some four without AVX-512 (--rounds 2: two).
# Where the processor has no AVX-512, the peers train in float32 also where hone trains in bfloat16, since
# PyTorch multiplies bfloat16 on one thread there; the tables say so.
# The peers get an environment of their own (6 GB) in ${XDG_CACHE_HOME:-$HOME/.cache}/hone.
# docs/performance.md says what is measured and how.
set -euo pipefail
# shellcheck source=scripts/lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

show_help_if_asked "$0" "$@"
lock_cache
ensure_system
ensure_torch
ensure_requirements bench
peers_python=$VENV/bin/python
unlock_cache
build hone
# Read once before it is timed: a cold disk is no peer's fault.
stage "peers' libraries" "$peers_python" -c 'from trl import IterativeSFTTrainer'
"$peers_python" "$HONE_ROOT/tests/bench/peers/main.py" --hone "$HONE_BUILD/hone" "$@"
