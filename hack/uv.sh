#!/usr/bin/env bash
# Prints the path of uv. Installs uv into .build/uv if it is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
if command -v uv; then exit 0; fi
if [ ! -x .build/uv/bin/uv ]; then
  echo "installing uv into .build/uv" >&2
  # Debian's python3 does not include ensurepip, which installs pip into a virtual environment.
  if ! python3 -c "import ensurepip" 2> /dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
      echo "python3 has no ensurepip: install the package python3-venv, or uv" >&2
      exit 1
    fi
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends python3-venv; } >&2
  fi
  rm -rf .build/uv
  python3 -m venv .build/uv
  .build/uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.8" >&2 || { rm -rf .build/uv; exit 1; }
fi
echo "$PWD/.build/uv/bin/uv"
