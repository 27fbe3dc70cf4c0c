#!/bin/sh
# Removes from a virtual environment what a running program never reads: `slim.sh VENV`.
set -eu
venv=${1:?usage: slim.sh VENV}
packages=$(echo "$venv"/lib/python3*/site-packages)

# TensorFlow's and other C++ headers, static libraries, type stubs, sources of extension modules.
rm -rf "$packages"/tensorflow/include "$packages"/numpy/_core/include "$packages"/onnxruntime/include
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' -o -name '*.h' \
  -o -name '*.hpp' -o -name '*.cc' -o -name '*.proto' \) -delete

# Only used to build TensorFlow itself; and what some wheels leave lying beside their package.
rm -rf "$packages"/clang "$packages"/tests "$packages"/examples

# Tests. Folders named `testing` stay: numpy.testing and keras.src.testing are imported by other modules.
find "$packages" -depth -type d \( -name tests -o -name test \) -path '*/site-packages/*/*' \
  ! -path '*/tensorflow/*' -exec rm -rf {} +
find "$packages" -type f -name '*_test.py' ! -path '*/tensorflow/*' -delete

# The installed code is not installed again: no tools for it remain. TensorFlow asks for setuptools only to build itself.
for name in pip setuptools wheel; do rm -rf "$packages/$name" "$packages/$name"-*.dist-info; done
rm -rf "$packages"/pkg_resources "$packages"/_distutils_hack "$packages"/distutils-precedence.pth
find "$venv"/bin -type f -exec rm -f {} +
