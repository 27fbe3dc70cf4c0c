#!/bin/sh
# Removes files that no running program reads from a virtual environment: `slim.sh VENV`.
set -eu
venv=${1:?usage: slim.sh VENV}
packages=$(echo "$venv"/lib/python3*/site-packages)

# C++ headers, static libraries, type stubs, and sources of extension modules.
rm -rf "$packages"/tensorflow/include "$packages"/numpy/_core/include "$packages"/onnxruntime/include
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' -o -name '*.h' \
  -o -name '*.hpp' -o -name '*.cc' -o -name '*.proto' \) -delete

# Only for the build of TensorFlow, and folders that some wheels install beside their package.
rm -rf "$packages"/clang "$packages"/tests "$packages"/examples

# Tests. Folders named `testing` are kept, because other modules import numpy.testing and keras.src.testing.
find "$packages" -depth -type d \( -name tests -o -name test \) -path '*/site-packages/*/*' \
  ! -path '*/tensorflow/*' -exec rm -rf {} +
find "$packages" -type f -name '*_test.py' ! -path '*/tensorflow/*' -delete

# Tools that install packages. TensorFlow requires setuptools only for its own build.
for name in pip setuptools wheel; do rm -rf "$packages/$name" "$packages/$name"-*.dist-info; done
rm -rf "$packages"/pkg_resources "$packages"/_distutils_hack "$packages"/distutils-precedence.pth
find "$venv"/bin -type f -exec rm -f {} +
