#!/bin/bash
# What containers cost: a command in a new one, a build of ten steps, the start of programs of
# thousands of files, and fifty containers at once; beside podman and buildah over kernel overlayfs
# and over fuse-overlayfs. All take turns, in random order.
#
#   scripts/bench-containers.sh [run|build|programs|fifty]...      (default: all)
#
# RUNS=20 of a command, ROUNDS=5 of a build, STARTS=40 of a program, TIMES=3 fifty containers.
# MOUNT_PROGRAMS names fuse-overlayfs programs (default: 2.0, which cargo installs for this).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_root "$@"

# In namespaces of its own: crun refuses a machine that shows both versions of cgroups, and podman
# waits for a process of its own to be reaped, which not every init does.
if [ -z "${VELLUM_BENCH_INSIDE:-}" ]; then
    export VELLUM_BENCH_INSIDE=1
    exec unshare --mount --propagation slave --pid --fork --mount-proc sh -c \
        '! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; exec "$@"' sh "$0" "$@"
fi

VELLUM=${VELLUM:-$TARGET/release/vellum}
ARCHIVE=$CACHE/demo/image.tar
[ -f "$ARCHIVE" ] || die "no $ARCHIVE; 'make demo' makes one"
RUNS=${RUNS:-20} ROUNDS=${ROUNDS:-5} STARTS=${STARTS:-40} TIMES=${TIMES:-3}
if [ -z "${MOUNT_PROGRAMS+set}" ]; then
    MOUNT_PROGRAMS=$TOOLS/bin/fuse-overlayfs
    [ -x "$MOUNT_PROGRAMS" ] || cargo install --locked --quiet --root "$TOOLS" fuse-overlayfs@2.0.0 \
        || die "cargo install fuse-overlayfs failed"
fi

stop_all() {
    "$VELLUM" ps -aq 2>/dev/null | xargs -r "$VELLUM" rm -f >/dev/null 2>&1
    for conf in "$PLACE"/podman*.storage; do
        [ ! -f "$conf" ] || CONTAINERS_STORAGE_CONF=$conf podman rm -a -f -t 0 >/dev/null 2>&1
    done
    umount -l "$PLACE/overlayfs" "$PLACE/vellum" 2>/dev/null
    ! mountpoint -q "$FS/apt/root" || umount -lR "$FS/apt/root"
}
. "$(dirname "$0")/bench-lib.sh"
switch_io_uring_on
. "$(dirname "$0")/bench-containers-parts.sh"

[ $# -gt 0 ] || set -- run build programs fifty
for part in "$@"; do
    case $part in
        run | build | programs | fifty) "bench_$part" ;;
        *) die "run, build, programs or fifty, not '$part'" ;;
    esac
done
