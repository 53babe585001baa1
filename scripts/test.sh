#!/usr/bin/env bash
# Sets up what is missing, builds everything and runs the tests. Safe to run again.
#
#   scripts/test.sh [CTEST_ARGUMENT...]      for instance: scripts/test.sh -R parity
#
# The parity tests compare with transformers, which is installed into an environment of its own in
# ${XDG_CACHE_HOME:-$HOME/.cache}/hone, and run the demo model. No daemons, and no root once set up.
set -euo pipefail
# shellcheck source=scripts/lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

show_help_if_asked "$0" "$@"
lock_cache
ensure_system
ensure_torch
ensure_requirements test
test_python=$VENV/bin/python
ensure_demo_model
unlock_cache
build all "-DHONE_BUILD_TESTS=ON" "-DHONE_TEST_PYTHON=$test_python"
export HONE_DEMO_MODEL=$MODEL
shown_stage "tests" ctest --test-dir "$HONE_BUILD" --output-on-failure -LE nightly -j1 "$@"
