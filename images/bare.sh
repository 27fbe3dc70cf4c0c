#!/bin/sh
# Removes the tools that install or build Python packages from a base image. apt and dpkg stay, because scanners read their records.
set -eu
standard=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
rm -rf "$standard"/ensurepip /usr/share/python-wheels /usr/bin/pip* /usr/local/bin/pip*
for packages in "$standard"/site-packages /usr/lib/python3/dist-packages; do
  for name in pip setuptools wheel; do
    rm -rf "$packages/$name" "$packages/$name"-*.dist-info "$packages/$name"-*.egg-info
  done
  rm -rf "$packages"/pkg_resources "$packages"/_distutils_hack "$packages"/distutils-precedence.pth
done
