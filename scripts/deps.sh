#!/bin/sh
# Installs what the build, the demo and the tests need on a Debian machine, and only what is
# missing. Without root it asks sudo; on another distribution it says what to install by hand.
#
#   scripts/deps.sh [build|demo|test|conformance|bench-images|bench-containers]...      (default: build)
set -eu
. "$(dirname "$0")/lib.sh"

# package:the command (or file) that tells that it is there
BUILD="gcc:cc libc6-dev:/usr/include/stdio.h"
# an OCI runtime
RUN="runc:runc"
DEMO="$RUN debootstrap:debootstrap fuse3:fusermount3 attr:getfattr mount:mount util-linux:unshare tar:tar skopeo:skopeo"
TEST="$DEMO acl:setfacl rsync:rsync git:git sqlite3:sqlite3 strace:strace umoci:umoci libcap2-bin:setcap zstd:zstd
    podman:podman buildah:buildah containerd:containerd crun:crun busybox-static:busybox catatonit:catatonit uidmap:newuidmap iproute2:ip
    unionfs-fuse:unionfs mergerfs:mergerfs"
BENCH_IMAGES="podman:podman containerd:containerd umoci:umoci skopeo:skopeo time:/usr/bin/time"
BENCH_CONTAINERS="$DEMO podman:podman buildah:buildah crun:crun time:/usr/bin/time procps:pgrep e2fsprogs:mkfs.ext4"
CONFORMANCE="$DEMO stress-ng:stress-ng fio:fio e2fsprogs:mkfs.ext4 acl:setfacl"

have() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
    esac
}

missing() {
    for pair in $1; do
        have "${pair#*:}" || printf '%s ' "${pair%%:*}"
    done
}

apt_install() {
    as=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "not root and no sudo; as root: apt-get install $*"
        as=sudo
    fi
    command -v apt-get >/dev/null || die "no apt-get here; install by other means: $*"
    say "deps: installing $*"
    log=$(mktemp)
    # a machine without package lists needs them first; one with old lists needs them on failure
    $as apt-get install -y --no-install-recommends "$@" >"$log" 2>&1 \
        || { $as apt-get update >>"$log" 2>&1 \
            && $as env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1; } \
        || { cat "$log" >&2; rm -f "$log"; die "apt-get could not install: $*"; }
    rm -f "$log"
}

# A Rust that is new enough; rustup where there is none.
rust() {
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$TOP/Cargo.toml")
    PATH="$PATH:$HOME/.cargo/bin"
    if ! command -v cargo >/dev/null; then
        say "deps: no cargo; trying Debian's rustup"
        apt_install rustup
        rustup toolchain install stable --profile minimal -c clippy -c rustfmt
    fi
    got=$(cargo --version | cut -d' ' -f2)
    newest=$(printf '%s\n%s\n' "$want" "$got" | sort -V | tail -1)
    [ "$newest" = "$got" ] || die "cargo $got is too old, $want is needed: 'rustup update stable'
(or rustup from https://rustup.rs where cargo came from the distribution)"
}

[ $# -gt 0 ] || set -- build
for what in "$@"; do
    case $what in
        build) list=$BUILD ;;
        demo) list=$DEMO ;;
        test) list=$TEST ;;
        conformance) list=$CONFORMANCE ;;
        bench-images) list=$BENCH_IMAGES ;;
        bench-containers) list=$BENCH_CONTAINERS ;;
        *) die "build, demo, test, conformance, bench-images or bench-containers, not '$what'" ;;
    esac
    lacking=$(missing "$list")
    # shellcheck disable=SC2086  # a list of package names
    [ -z "$lacking" ] || apt_install $lacking
    [ "$what" != build ] || rust
done
