# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this read its variables
# What every script uses: places, stages with their times, and stops that say what to do.

HONE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HONE_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hone
HONE_BUILD=$HONE_ROOT/build
HONE_LOGS=$HONE_CACHE/logs

# Exit codes, as the program's own: 64 usage, 66 missing input, 69 environment.
readonly EXIT_USAGE=64 EXIT_INPUT=66 EXIT_ENVIRONMENT=69

# Open MPI refuses root without both; containers and CI machines run as root.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# die CODE LINE...: prints the lines on stderr and ends the script.
die() {
  local code=$1
  shift
  printf '%s\n' "$@" >&2
  exit "$code"
}

# Of a script asked for --help: the comment at its top.
show_help_if_asked() {
  local script=$1
  shift
  [[ " $* " == *" --help "* || " $* " == *" -h "* ]] || return 0
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$script"
  exit 0
}

# One set-up at a time on a cache: a second one waits here.
lock_cache() {
  mkdir -p "$HONE_LOGS"
  exec 9>"$HONE_CACHE/setup.lock"
  if ! flock -n 9; then
    echo "another set-up is at work on $HONE_CACHE: waiting for it"
    flock 9
  fi
}

unlock_cache() { exec 9>&-; }

# On a terminal, until killed: the time and the log's last line, once a second.
show_progress() {
  local name=$1 log=$2 start=$SECONDS
  while sleep 1; do
    printf '\r%-34s     %4d s  %s\e[K' "$name" $((SECONDS - start)) \
      "$(tail -n 1 "$log" 2>/dev/null | tr -d '\r' | cut -c1-$((COLUMNS > 60 ? COLUMNS - 48 : 12)))"
  done
}

stop_progress() {
  [[ -n $progress_pid ]] || return 0
  kill "$progress_pid" 2>/dev/null || true
  wait "$progress_pid" 2>/dev/null || true
  progress_pid=
  printf '\r\e[K'
}

progress_pid=
trap stop_progress EXIT

# stage NAME COMMAND...: runs it with its output in a log and prints one line with the time it took.
# A failure shows the end of the log and ends the script with the command's exit code.
stage() {
  local name=$1 log code=0 start=$SECONDS
  shift
  log=$HONE_LOGS/${name//[^A-Za-z0-9]/-}.log
  mkdir -p "$HONE_LOGS"
  : >"$log"
  if [[ -t 1 ]]; then
    COLUMNS=$(tput cols 2>/dev/null || echo 80)
    show_progress "$name" "$log" 9>&- &
    progress_pid=$!
  fi
  "$@" >"$log" 2>&1 9>&- || code=$?
  stop_progress
  if ((code == 0)); then
    printf '%-34s ok  %4d s\n' "$name" $((SECONDS - start))
    return
  fi
  printf '%-34s failed after %d s\n' "$name" $((SECONDS - start))
  tail -n 40 "$log" >&2
  die "$code" "" "$name failed (exit code $code). The whole log: $log"
}

# shown_stage NAME COMMAND...: the same for a command whose output is the point: it goes to the screen.
shown_stage() {
  local name=$1 code=0 start=$SECONDS
  shift
  printf '%s:\n' "$name"
  "$@" || code=$?
  if ((code == 0)); then
    printf '%-34s ok  %4d s\n' "$name" $((SECONDS - start))
  else
    die "$code" "$name failed after $((SECONDS - start)) s (exit code $code)."
  fi
}
