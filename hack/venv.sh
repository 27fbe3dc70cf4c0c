#!/usr/bin/env bash
# Creates or updates the development environment .venv from requirements/dev.txt. The project's code is imported in place.
set -euo pipefail
cd "$(dirname "$0")/.."
uv="$(hack/uv.sh)"
if [ ! -x .venv/bin/python ]; then
  "$uv" venv --quiet --python ">=3.11" --python-preference only-system .venv
fi
echo "installing requirements/dev.txt into .venv"
UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-120}" "$uv" pip sync --quiet --python .venv/bin/python --require-hashes requirements/dev.txt
packages="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
echo "$PWD/operator" > "$packages/keras_operator_source.pth"
touch .venv/ready
