# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
# shellcheck shell=bash disable=SC2034
# What the scripts in tools/ share. To be sourced; expects `set -euo pipefail`.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Everything that is needed, in one place. Debian's names.
PACKAGES_BUILD=(
    gcc libc6-dev meson ninja-build pkg-config
    libfuse3-dev libglib2.0-dev libgnutls28-dev libjson-glib-dev libsqlite3-dev libsystemd-dev
    libbpf-dev clang bpftool        # the probes
    systemd                         # systemd.pc: where units go
    libcmocka-dev                   # the tests are part of a default build
    python3 python3-cryptography    # tools/make-image
)
PACKAGES_RUN=(dbus polkitd libglib2.0-bin util-linux)
PACKAGES_TEST=(
    python3-gi python3-pytest
    gir1.2-glib-2.0
    libxml2-utils                   # xmllint
    procps strace
)
PACKAGES_CLANG=(clang)
# For the kernel in QEMU; what runs in there is in tools/lib/systembed/packages.py.
PACKAGES_SYSTEM=(qemu-system-x86 mmdebstrap e2fsprogs kmod cpio busybox-static)

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# quietly LOG COMMAND...: shows the output only when the command fails.
quietly() {
    local log=$1
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        printf '%s failed; its output:\n' "$*" >&2
        tail -n 60 "$log" >&2
        return 1
    fi
}

# One call for all: dpkg-query reads its whole database each time.
missing_packages() {
    local installed package
    # shellcheck disable=SC2016
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
    for package in "$@"; do
        grep -qxF "installed $package" <<<"$installed" || printf '%s\n' "$package"
    done
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "$@"
}

# need_packages PACKAGE...: installs what is missing, and only that.
need_packages() {
    local missing log
    command -v dpkg-query >/dev/null || return 0
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || die "these packages are missing, and only root can install them: ${missing[*]}"
    printf 'Installing %s\n' "${missing[*]}" >&2
    log=$(mktemp)
    # The package lists may be absent or old: read them only if it does not work without.
    if ! apt_install "${missing[@]}" >"$log" 2>&1 </dev/null; then
        quietly "$log" apt-get -q update || die "the package lists cannot be read"
        quietly "$log" apt_install "${missing[@]}" || die "the packages cannot be installed"
    fi
    rm -f "$log"
}

# build_tree DIR [MESON-OPTION...]: configured when it is new or the options have changed;
# without options an existing one is taken as it is.
build_tree() {
    local dir=$1 options log
    shift
    options="$*"
    mkdir -p "$dir"
    log=$dir/build.log
    if [[ ! -e $dir/build.ninja ]]; then
        quietly "$log" meson setup "$dir" "$TOP" "$@" || die "the build cannot be configured"
    elif (($#)) && [[ $(cat "$dir/options" 2>/dev/null) != "$options" ]]; then
        quietly "$log" meson setup --wipe "$dir" "$TOP" "$@" || die "the build cannot be configured"
    fi
    if (($#)); then
        printf '%s' "$options" >"$dir/options"
    fi
    quietly "$log" ninja -C "$dir" || die "the build failed"
}
