#!/usr/bin/env bash
# Installs or upgrades the chart with the images that hack/images.sh pushed. More arguments go to helm.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${CLUSTER:-}" != current ]; then
  export KUBECONFIG="$PWD/hack/cluster/kubeconfig" PATH="$PWD/hack/cluster/bin:$PATH"
fi
if [ ! -f .build/images.env ]; then
  echo "there are no images yet: run make images" >&2
  exit 1
fi
# shellcheck source=/dev/null
. .build/images.env
helm upgrade --install keras-operator charts/keras-operator --namespace keras-system --create-namespace \
  --set image.registry="$IMAGE_PREFIX" --set image.tag="$TAG" --wait --timeout 5m "$@"
