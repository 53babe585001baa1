#!/usr/bin/env bash
# Sets up what is missing, builds the parsers of bytes from outside with clang's sanitizers, and feeds
# each from its corpus on. Safe to run again.
#
#   scripts/fuzz.sh [SECONDS [TARGET...]]       5 seconds for each of all targets is the default
#
# Targets and seeds are in tests/fuzz. What breaks one is left in build-fuzz/TARGET/ and named.
set -euo pipefail
# shellcheck source=scripts/lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

show_help_if_asked "$0" "$@"
seconds=${1:-5}
[[ $seconds =~ ^[0-9]+$ ]] || die "$EXIT_USAGE" "scripts/fuzz.sh takes a number of seconds, got: $seconds"
shift || true
DEBIAN_PACKAGES+=(clang-14 libclang-rt-14-dev)
lock_cache
ensure_system
ensure_torch
unlock_cache
build hone_hf_rust_build
fuzz=$HONE_ROOT/build-fuzz
stage "configure the targets" cmake -S "$HONE_ROOT/tests/fuzz" -B "$fuzz" -G Ninja \
  -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_C_COMPILER=clang-14 \
  "-DHONE_HF_ARCHIVE=$HONE_BUILD/core/hf/libhone_hf_rust.a"
stage "build the targets" cmake --build "$fuzz"
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cd "$HONE_ROOT/tests/fuzz/corpus" && printf '%s\n' *)
for target in "${targets[@]}"; do
  mkdir -p "$fuzz/$target"
  # New inputs go to the first folder, the committed ones are only read.
  stage "fuzz $target" "$fuzz/fuzz_$target" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 \
    -artifact_prefix="$fuzz/$target/" "$fuzz/$target" "$HONE_ROOT/tests/fuzz/corpus/$target"
done
