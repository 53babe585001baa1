# shellcheck shell=bash
# All the pieces, for the scripts to source.
hone_lib=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=scripts/lib/common.sh
source "$hone_lib/common.sh"
# shellcheck source=scripts/lib/system.sh
source "$hone_lib/system.sh"
# shellcheck source=scripts/lib/python.sh
source "$hone_lib/python.sh"
# shellcheck source=scripts/lib/build.sh
source "$hone_lib/build.sh"
