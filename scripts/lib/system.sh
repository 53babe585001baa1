# shellcheck shell=bash
# Debian packages and the Rust toolchain.

DEBIAN_PACKAGES=(
  ca-certificates git g++ cmake ninja-build ccache mold
  libopenmpi-dev openmpi-bin libhdf5-dev hdf5-tools
  libboost-dev libspdlog-dev libyaml-cpp-dev
  nlohmann-json3-dev libre2-dev libssl-dev libgtest-dev libgmock-dev librapidcheck-dev libxxhash-dev jq
  python3 python3-venv
)
readonly MIN_CARGO="1.85"
readonly DEBIAN_RUST_PACKAGES=(cargo-web rustc-web)

# missing_packages NAME...: prints those that are not installed.
missing_packages() {
  local installed
  installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
    sed -n 's/ installed$//p' || true)
  printf '%s\n' "$@" | grep -vxF -e "$installed" || true
}

# at_least VERSION MINIMUM
at_least() { [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]; }

# cargo_is_new FOLDER: whether the cargo and rustc there both run and are new enough.
cargo_is_new() {
  local tool version
  for tool in cargo rustc; do
    version=$(PATH="$1:$PATH" "$1/$tool" --version 2>/dev/null) || return 1
    version=${version#* }
    at_least "${version%% *}" "$MIN_CARGO" || return 1
  done
}

# Puts a folder with a new enough cargo first on PATH; fails if there is none.
use_cargo() {
  local folder found
  found=$(command -v cargo || true)
  for folder in ${found:+"$(dirname "$found")"} "${CARGO_HOME:-$HOME/.cargo}/bin" /usr/bin; do
    if cargo_is_new "$folder"; then
      export PATH="$folder:$PATH"
      return
    fi
  done
  return 1
}

# Prints a prefix that makes a command run as root (may be empty); fails if there is none.
root_prefix() {
  if ((EUID == 0)); then
    return
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
    echo sudo
  else
    return 1
  fi
}

install_packages() {
  local prefix=$1
  shift
  $prefix apt-get update &&
    $prefix env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# Installs what is missing of the Debian packages, Rust included where no new enough cargo is there.
ensure_system() {
  local -a missing=()
  local prefix
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "not a Debian system: taking for granted what ${DEBIAN_PACKAGES[*]} would bring"
  else
    mapfile -t missing < <(missing_packages "${DEBIAN_PACKAGES[@]}")
    use_cargo || missing+=("${DEBIAN_RUST_PACKAGES[@]}")
  fi
  if ((${#missing[@]})); then
    prefix=$(root_prefix) || die "$EXIT_ENVIRONMENT" \
      "Debian packages are missing, and installing them needs root. Run this, then start again:" "" \
      "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" ""
    [[ -z $prefix ]] || sudo true  # asks for a password here, where it is seen
    stage "Debian packages (${#missing[@]})" install_packages "$prefix" "${missing[@]}"
  fi
  use_cargo || die "$EXIT_ENVIRONMENT" \
    "cargo and rustc $MIN_CARGO or later are needed (found: $(cargo --version 2>/dev/null || echo none))." \
    "On Debian 12: apt-get install cargo-web rustc-web; elsewhere your distribution's, or rustup's."
}
