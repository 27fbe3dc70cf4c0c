# shellcheck shell=bash
# Sourced by every script of this folder: creates a temporary folder, removed at exit, and enters it.
#
#   install PACKAGE==VERSION...   creates a virtual environment with these packages; the versions of their own
#                                 dependencies are those that were published when the scripts were written
#   run - [ARGUMENT...]           runs the Python program on standard input there; it may import recorder.py

scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
uv="$("$scripts/../hack/uv.sh")"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit

install() {
  local package
  for package in "$@"; do
    if [[ $package != *==* ]]; then
      echo "$package has no version" >&2
      return 2
    fi
  done
  "$uv" venv --quiet --python ">=3.11" --python-preference only-system venv
  UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-120}" "$uv" pip install --quiet --python venv/bin/python \
    --exclude-newer 2026-11-28T00:00:00Z "$@"
}

run() {
  # Settings of the caller must not change the result.
  env -u TF_ENABLE_ONEDNN_OPTS -u OMP_NUM_THREADS -u HTTP_PROXY -u http_proxy -u NO_PROXY -u no_proxy \
    KERAS_HOME="$folder/keras" KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3 \
    PYTHONPATH="$scripts" PYTHONDONTWRITEBYTECODE=1 venv/bin/python -W ignore "$@" 2> errors || {
    local status=$?
    cat errors >&2
    return "$status"
  }
}
