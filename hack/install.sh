#!/usr/bin/env bash
# Installs or upgrades the chart with the images that hack/images.sh pushed. Further arguments are passed to helm.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${CLUSTER:-}" != current ]; then
  export KUBECONFIG="$PWD/hack/cluster/kubeconfig" PATH="$PWD/hack/cluster/bin:$PATH"
fi
if [ ! -f .build/images.env ]; then
  echo "the images are not built yet: run make images" >&2
  exit 1
fi
# shellcheck source=/dev/null
. .build/images.env
if ! helm upgrade --install keras-operator charts/keras-operator --namespace keras-system --create-namespace \
  --set "image.registry=$IMAGE_PREFIX" --set-string "image.tag=$TAG" --wait --timeout 3m "$@" > .build/install.log 2>&1; then
  cat .build/install.log >&2
  kubectl --namespace keras-system get pods >&2
  kubectl --namespace keras-system logs --tail=20 --prefix --selector app.kubernetes.io/part-of=keras-operator >&2
  exit 1
fi
helm list --namespace keras-system
