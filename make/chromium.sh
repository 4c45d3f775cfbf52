#!/bin/sh
# Installs Chromium, in which a test opens a report, where the machine allows it.
# Otherwise it is left out with one line, or an error if LIGHTNING_NAS_REQUIRE_CHROMIUM is set.
set -eu

left_out() {
    echo "Chromium is left out: $1. To get it, install chromium (Debian's name), then run: make chromium" >&2
    if [ -n "${LIGHTNING_NAS_REQUIRE_CHROMIUM:-}" ]; then exit 1; fi
    exit 0
}

if command -v chromium >/dev/null; then
    exit
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    left_out "only root can install it, by apt-get"
fi
export DEBIAN_FRONTEND=noninteractive
{ apt-get -qq update && apt-get -qq install --no-install-recommends chromium; } >/dev/null ||
    left_out "apt-get could not install it"
