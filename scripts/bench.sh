#!/bin/sh
# Runs a benchmark, given as a command, with FUSE over io_uring switched on, so that it is measured
# as well. Scratch is a file system of its own in memory: what the machine's disk does at the
# moment would be measured otherwise. BENCH_SCRATCH=DIR names another place.
set -eu
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" != 0 ]; then
    say "bench: not root; some peers are left out"
    exec "$@"
fi
place=
clean_up() {
    if [ -n "$place" ]; then
        umount "$place/fs" 2>/dev/null || true # it may not have got that far
        rm -rf "$place"
    fi
    switch_io_uring_back
}
trap clean_up EXIT
switch_io_uring_on
scratch=${BENCH_SCRATCH:-}
if [ -z "$scratch" ]; then
    place=$(mktemp -d /dev/shm/vellum-bench.XXXXXX)
    truncate -s 8G "$place/ext4"
    mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$place/ext4"
    mkdir "$place/fs"
    mount -o loop "$place/ext4" "$place/fs"
    scratch=$place/fs
fi
"$@" --scratch "$scratch"
