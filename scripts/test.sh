#!/usr/bin/env bash
# Sets up what is missing, builds everything and runs the tests. Safe to run again.
#
#   scripts/test.sh [--system] [CTEST_ARGUMENT...]      for instance: scripts/test.sh -R parity
#
# --system: also the tests that are root's, which mount file systems from images and cut their power.
# The parity tests compare with transformers, which is installed into an environment of its own in
# ${XDG_CACHE_HOME:-$HOME/.cache}/hone, and run the demo model. No daemons, and no root once set up.
set -euo pipefail
# shellcheck source=scripts/lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

show_help_if_asked "$0" "$@"
left_out="nightly|root"
if [[ ${1:-} == --system ]]; then
  shift
  left_out=nightly
  export HONE_TEST_SYSTEM=1
  DEBIAN_PACKAGES+=(e2fsprogs xfsprogs)
fi
lock_cache
ensure_system
ensure_torch
ensure_requirements test
test_python=$VENV/bin/python
ensure_demo_model
unlock_cache
build all "-DHONE_BUILD_TESTS=ON" "-DHONE_TEST_PYTHON=$test_python"
export HONE_DEMO_MODEL=$MODEL
shown_stage "tests" ctest --test-dir "$HONE_BUILD" --output-on-failure --no-tests=error -LE "$left_out" -j1 "$@"
