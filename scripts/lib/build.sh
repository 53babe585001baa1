# shellcheck shell=bash
# Configuring and building.

# A unit with LibTorch's headers takes up to 2 GB to compile: as many jobs as cores and memory allow.
build_jobs() {
  local cores memory_gb
  cores=$(nproc)
  memory_gb=$(awk '/^MemAvailable:/ { print int($2 / 1048576 / 2) }' /proc/meminfo)
  echo $((memory_gb < 1 ? 1 : memory_gb < cores ? memory_gb : cores))
}

# configure CMAKE_ARGUMENT...: only if the build folder was configured with other arguments.
configure() {
  local stamp=$HONE_BUILD/.configured
  [[ -e $HONE_BUILD/build.ninja && $(cat "$stamp" 2>/dev/null) == "$*" ]] && return
  cmake -G Ninja -S "$HONE_ROOT" -B "$HONE_BUILD" "$@" && printf '%s\n' "$*" >"$stamp"
}

# build TARGET [CMAKE_ARGUMENT...]: configures and builds; needs TORCH_DIR.
build() {
  local target=$1
  shift
  stage "configure" configure "-DHONE_TORCH_DIR=$TORCH_DIR" "$@"
  stage "build" cmake --build "$HONE_BUILD" --target "$target" \
    --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(build_jobs)}"
}
