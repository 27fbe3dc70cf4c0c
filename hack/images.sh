#!/usr/bin/env bash
# Builds the three images, pushes them to $IMAGE_REGISTRY (default: the registry of `make cluster`), and prints their sizes.
#
# The default tag is a hash of all inputs, so a tag always names the same content. TAG=0.1.0 sets another tag.
# The script writes IMAGE_PREFIX and TAG to .build/images.env, for hack/install.sh.
# BASE=image sets another base image. The default with CLUSTER=current is python:3.12-slim.
set -euo pipefail
cd "$(dirname "$0")/.."
images=(operator server pipeline)
prefix="${IMAGE_REGISTRY:-127.0.0.1:5000}/keras-operator"
mkdir -p .build

if [ "${CLUSTER:-}" = current ]; then
  base="${BASE:-python:3.12-slim}"
else
  # Built by debootstrap, so that no image hub is needed. This installs buildah if it is missing.
  base="${BASE:-$(python3 hack/cluster base-image)}"
fi

# The configuration of pip inside of the build, from that of this machine, for machines behind a mirror.
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
  # The buildah of the cluster keeps its layers in the cache that all clones share.
  builder=("$buildah")
  build=("$buildah" bud --layers)
elif command -v docker > /dev/null; then
  builder=(docker)
  # Before version 23, the default builder does not support secrets.
  build=(env DOCKER_BUILDKIT=1 docker build)
else
  echo "neither buildah nor docker is installed: install one of them to build images" >&2
  exit 1
fi
push=("${builder[@]}" push --quiet)
# Registries on this machine use plain HTTP, which docker detects. Compression for them takes a minute.
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
    echo "the build of the $image image failed; its log is above" >&2
    exit 1
  fi
  if ! timeout 900 "${push[@]}" "$name"; then
    echo "$name cannot be pushed: check the registry (make cluster starts one; IMAGE_REGISTRY sets another one)" >&2
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
