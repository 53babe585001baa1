#!/usr/bin/env bash
# Runs a command of a Slurm job; if hone left early and can go on, puts the job back in the queue.
#
#   run_or_requeue.sh OUTPUT_DIR COMMAND...
#
# Decides by OUTPUT_DIR/exit/*.json, where each rank writes how it left: the code that srun or mpirun
# returns can be that of a rank which was killed after another's stop. 75 means: stopped early (a stop
# signal, everything saved; or a lost peer), run again to go on. A job is put back at most
# HONE_MAX_RESTARTS times (default 20). Exit code: the command's.
set -uo pipefail

(($# >= 2)) || {
  echo "usage: run_or_requeue.sh OUTPUT_DIR COMMAND..." >&2
  exit 64
}
output_dir=$1
shift

rm -rf "$output_dir/exit" # what an earlier start left says nothing about this one
"$@"
code=$?

rank_codes=$(sed -n 's/^ *"code": *\([0-9]*\).*/\1/p' "$output_dir"/exit/*.json 2>/dev/null | sort -u)
restarts=${SLURM_RESTART_COUNT:-0}
if [[ $rank_codes != 75 && $rank_codes != $'0\n75' ]]; then
  ((code == 0)) || echo "not put back in the queue: the ranks' exit codes: ${rank_codes:-none recorded}" >&2
elif ((restarts >= ${HONE_MAX_RESTARTS:-20})); then
  echo "not put back in the queue: restarted $restarts times already" >&2
else
  echo "stopped early: back in the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
