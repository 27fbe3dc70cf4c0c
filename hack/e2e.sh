#!/usr/bin/env bash
# Runs the end-to-end tests on the cluster of `make cluster`, or with CLUSTER=current on that of the current context.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${CLUSTER:-}" != current ]; then
  # In CI, a cluster of an earlier run is replaced.
  python3 hack/cluster up ${CI:+--take-over}
  export KUBECONFIG="$PWD/hack/cluster/kubeconfig"
elif [ -z "${IMAGE_REGISTRY:-}" ]; then
  echo "CLUSTER=current needs IMAGE_REGISTRY: a registry that the cluster can pull from" >&2
  exit 2
fi
hack/images.sh
python3 hack/cluster addon monitoring
python3 hack/cluster addon s3
hack/install.sh
exec .venv/bin/python -m pytest tests/e2e "$@"
