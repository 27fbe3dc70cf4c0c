#!/usr/bin/env bash
# Builds the three images, pushes them to $IMAGE_REGISTRY (default: the registry of `make cluster`), prints their sizes.
#
# The tag is a hash of what goes into them, so a tag never changes its meaning; TAG=0.1.0 sets another one.
# .build/images.env then holds IMAGE_PREFIX and TAG, for hack/install.sh.
# BASE=image takes another base than this machine's: with CLUSTER=current it is python:3.12-slim.
set -euo pipefail
cd "$(dirname "$0")/.."
images=(operator server pipeline)
prefix="${IMAGE_REGISTRY:-127.0.0.1:5000}/keras-operator"
mkdir -p .build

if [ "${CLUSTER:-}" = current ]; then
  base="${BASE:-python:3.12-slim}"
else
  # Made by debootstrap, so that no image hub is needed. Installs buildah where it is missing.
  base="${BASE:-$(python3 hack/cluster base-image)}"
fi

# What the package installer inside of the build needs to work behind a mirror, from this machine's own configuration.
secrets=(--secret "id=pip.conf,src=.build/pip.conf")
index="${PIP_INDEX_URL:-${UV_DEFAULT_INDEX:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}}"
{
  echo "[global]"
  echo "retries = 10"
  if [ -n "$index" ]; then echo "index-url = $index"; fi
  if [ -n "${SSL_CERT_FILE:-}" ]; then echo "cert = /run/secrets/ca.pem"; fi
} > .build/pip.conf
if [ -n "${SSL_CERT_FILE:-}" ]; then secrets+=(--secret "id=ca.pem,src=$SSL_CERT_FILE"); fi

buildah="$(PATH="$PWD/hack/cluster/bin:$PATH" command -v buildah || true)"
if [ -n "$buildah" ]; then
  # The cluster's own keeps its layers in the cache that all clones share.
  builder=("$buildah")
  build=("$buildah" bud --layers)
elif command -v docker > /dev/null; then
  builder=(docker)
  # Before version 23 its old builder is the default, which knows no secrets.
  build=(env DOCKER_BUILDKIT=1 docker build)
else
  echo "neither buildah nor docker is installed: install one of them to build images" >&2
  exit 1
fi
push=("${builder[@]}" push --quiet)
# Registries on this machine speak plain HTTP (docker knows that by itself), and compressing for them takes a minute.
case "${builder[0]} $prefix" in
  *"buildah 127.0.0.1:"* | *"buildah localhost:"*) push+=(--tls-verify=false --disable-compression) ;;
esac

inputs() {
  echo "$base"
  find images operator requirements -type f ! -path '*/__pycache__/*' ! -name dev.txt -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}
tag="${TAG:-$(inputs | sha256sum | cut -c1-12)}"

for image in "${images[@]}"; do
  name="$prefix/$image:$tag"
  start=$SECONDS
  echo "building $name (log: .build/image-$image.log)"
  if ! nice "${build[@]}" -f images/Containerfile --build-arg "IMAGE=$image" --build-arg "BASE=$base" "${secrets[@]}" \
    -t "$name" . > ".build/image-$image.log" 2>&1; then
    tail -n 30 ".build/image-$image.log" >&2
    echo "the $image image cannot be built; its log is above" >&2
    exit 1
  fi
  if ! timeout 900 "${push[@]}" "$name"; then
    echo "$name cannot be pushed: is the registry there? (make cluster starts one; IMAGE_REGISTRY names another)" >&2
    exit 1
  fi
  echo "  $((SECONDS - start)) s"
done

printf 'IMAGE_PREFIX=%s\nTAG=%s\n' "$prefix" "$tag" > .build/images.env
echo
echo "TAG=$tag"
for image in "${images[@]}"; do
  printf "%-10s%s\n" "$image" "$("${builder[@]}" images --format "{{.Size}}" "$prefix/$image:$tag" | head -n 1)"
done
