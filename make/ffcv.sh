#!/bin/sh
# Installs FFCV into .venv, and first the system libraries that it is built from, where the machine allows it.
# Otherwise FFCV is left out with one line, or an error if LIGHTNING_NAS_REQUIRE_FFCV is set.
set -eu

packages="g++ pkg-config libopencv-dev libturbojpeg0-dev python3-dev"

left_out() {
    echo "FFCV is left out: $1. To get it, install $packages (Debian's names), then run: make ffcv" >&2
    if [ -n "${LIGHTNING_NAS_REQUIRE_FFCV:-}" ]; then exit 1; fi
    exit 0
}

python_header_exists() {
    test -f "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"
}

libraries_exist() {
    command -v c++ >/dev/null && pkg-config --exists opencv4 libturbojpeg 2>/dev/null && python_header_exists
}

if .venv/bin/python -c 'import ffcv' 2>/dev/null; then
    exit
fi
if ! libraries_exist; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        left_out "the libraries that it is built from are missing"
    fi
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of words
    { apt-get -qq update && apt-get -qq install --no-install-recommends $packages; } >/dev/null ||
        left_out "apt-get could not install the libraries that it is built from"
fi
.venv/bin/uv pip install --python .venv --constraint constraints.txt --editable '.[ffcv]' ||
    left_out "its build failed, as told above"
