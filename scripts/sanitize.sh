#!/usr/bin/env bash
# Sets up what is missing, builds with a sanitizer of the compiler and runs the tests that make sense
# under it: every report is a failure. Takes hours the first time. Safe to run again.
#
#   scripts/sanitize.sh thread  [CTEST_ARGUMENT...]   data races: all that needs no tensor library
#   scripts/sanitize.sh address [CTEST_ARGUMENT...]   memory errors and undefined behaviour: everything
#
# Builds into build-tsan and build-asan. cmake/HoneSanitize.cmake says which tests those are, and why the
# others are not; tests/sanitize/ which reports are about other libraries.
set -euo pipefail
# shellcheck source=scripts/lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

show_help_if_asked "$0" "$@"
case ${1:-} in
  thread) sanitizers=thread target=thread_tests HONE_BUILD=$HONE_ROOT/build-tsan ;;
  address) sanitizers=address,undefined target=all HONE_BUILD=$HONE_ROOT/build-asan ;;
  *) die "$EXIT_USAGE" "scripts/sanitize.sh takes thread or address, got: ${1:-nothing}" ;;
esac
shift
lock_cache
ensure_system
ensure_torch
ensure_requirements test
test_python=$VENV/bin/python
unlock_cache
build "$target" -DCMAKE_BUILD_TYPE=RelWithDebInfo "-DHONE_SANITIZE=$sanitizers" \
  -DHONE_BUILD_TESTS=ON "-DHONE_TEST_PYTHON=$test_python"
shown_stage "tests" ctest --test-dir "$HONE_BUILD" --output-on-failure -L sanitized -j1 "$@"
