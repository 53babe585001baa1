#!/usr/bin/env bash
# Sets up all that hone needs on a Debian 12 machine and builds build/hone. Safe to run again.
#
#   scripts/setup.sh
#
# Installs the missing Debian packages (as root, or with sudo), LibTorch and the Rust crates; downloads
# and caches live in ${XDG_CACHE_HOME:-$HOME/.cache}/hone. Your own LibTorch: HONE_TORCH_DIR=<folder> or
# CMAKE_PREFIX_PATH.
set -euo pipefail
# shellcheck source=scripts/lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

show_help_if_asked "$0" "$@"
(($# == 0)) || die "$EXIT_USAGE" "scripts/setup.sh takes no arguments, got: $*"
lock_cache
ensure_system
ensure_torch
unlock_cache
build hone
echo "build/hone is ready. Next: scripts/demo.sh, scripts/test.sh, or build/hone --help"
