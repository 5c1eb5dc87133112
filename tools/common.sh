# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# What the scripts in this directory share. Source it: it also moves to the root of the checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() {
    printf '==> %s\n' "$*"
}

die() {
    printf 'ERROR: %s\n' "$*" >&2
    exit 1
}

# as_root <reason> <command...>
as_root() {
    local reason=$1
    shift
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "Root is needed to $reason, and there is no sudo. Run make as root, or install sudo and add $(id -un) to it."
    fi
}

# need_space <GiB> <directory> <purpose>
need_space() {
    local free
    free=$(df --output=avail -BG "$2" | tail -n 1 | tr -dc '0-9')
    ((free >= $1)) || die "$2 has $free GiB free, but $3 needs $1 GiB. Make room there and call make again."
}
