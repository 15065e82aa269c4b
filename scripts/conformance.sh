#!/bin/bash
# Runs public file system suites on a Vellum mount, and on what it must be as good as.
#
#   scripts/conformance.sh short|full|self-test
#
# Suites: pjdfstest and fsx (crates), stress-ng's filesystem class with --verify, fio with verify.
# Beds:   plain     ext4 in a file, the reference
#         kernel    the kernel's overlayfs on it (full, or BEDS names it)
#         cached, passthrough   vellum on it, in both I/O modes
#         image     vellum mount of an image in a store on it, as a container has it: without the
#                   writeback cache
#         (these three are judged)
#         fuse-overlayfs        if BEDS names it
# A test that plain passes and vellum does not is a fault, unless
# tests/conformance/known-failures.txt has it with a reason; then the script exits 1.
#
# BEDS="plain cached" SUITES="fsx fio" GATED="cached" narrow a run down.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
FORM=${1:-short}
LISTS=$TOP/tests/conformance
COMPARE=$TOP/scripts/conformance-compare.awk

compare() { # known, results, gated beds
    awk -v plain=plain -v gated="$3" -f "$COMPARE" "$1" "$2"
}

# The gate must be able to fail: made-up results, each with the verdict that it must get.
self_test() {
    local name want got
    for f in "$LISTS"/gate/*.tsv; do
        name=$(basename "$f" .tsv)
        compare "$LISTS/gate/known.txt" "$f" "cached" >"$TARGET/gate.out"
        got=$?
        case $name in pass-*) want=0 ;; *) want=1 ;; esac
        [ "$got" = "$want" ] || { cat "$TARGET/gate.out" >&2; die "the gate is broken: $name gave $got"; }
    done
    say "conformance: the gate lets pass what it must, and fails what it must ($(ls "$LISTS"/gate/*.tsv | wc -l) cases)"
}

case $FORM in
    short)
        BEDS=${BEDS:-plain cached passthrough image}
        FSX_SEEDS=2 FSX_OPS=15000 STRESS_SECONDS=1 FIO_SIZE=24m ;;
    full)
        BEDS=${BEDS:-plain kernel cached passthrough image}
        # many runs, not long ones: fsx keeps its mappings, and each operation looks through all of them
        FSX_SEEDS=20 FSX_OPS=20000 STRESS_SECONDS=10 FIO_SIZE=512m ;;
    self-test) mkdir -p "$TARGET"; self_test; exit 0 ;;
    *) die "short, full or self-test, not '$FORM'" ;;
esac
SUITES=${SUITES:-pjdfstest fsx fio stress-ng}
GATED=${GATED:-$(for b in $BEDS; do case $b in cached|passthrough|image) printf '%s ' "$b" ;; esac; done)}
mkdir -p "$TARGET"
self_test
need_root "$@"

VELLUM=${VELLUM:-$TARGET/release/vellum}
DIR=$TARGET/conformance
LOGS=$DIR/logs
RESULTS=$DIR/results.tsv
# short: the name of a socket may have 108 bytes, with all directories
DISK=$(mktemp -d /tmp/vlm.XXXX)

# ---- tools

tool() { # crate
    [ -x "$TOOLS/bin/$1" ] && return
    say "conformance: building $1, once"
    cargo install --locked --quiet --root "$TOOLS" "$1" || die "cargo install $1 failed"
}

# ---- the file system beneath, and the beds on it

unmount_all() {
    local m
    # ours lie below DIR; the innermost first
    awk -v d="$DISK" '$2 == d || index($2, d "/") == 1 { print $2 }' /proc/self/mounts | sort -r |
        while read -r m; do
            umount "$m" 2>/dev/null || umount -l "$m"
        done
}

clean_up() {
    switch_io_uring_back
    unmount_all
    rmdir "$DISK"
}

setup() {
    rm -rf "$DIR"
    mkdir -p "$LOGS"
    truncate -s 16G "$DIR/disk.img"
    mkfs.ext4 -q -F "$DIR/disk.img" || die "mkfs.ext4 failed"
    # no test cuts the power: nothing needs to reach the disk beneath
    mount -o loop,barrier=0 "$DIR/disk.img" "$DISK" || die "cannot mount a file by a loop device"
    chmod 755 "$DISK"
    # another file system, for the tests that must meet EXDEV
    mkdir "$DISK/second"
    mount -t tmpfs tmpfs "$DISK/second"
    : >"$RESULTS"
}

# A small lower: names for the suites to copy up, and some of every kind beside.
make_lower() {
    local d=$1 i
    mkdir -p "$d/dir/sub" "$d/etc"
    for i in $(seq 100); do echo "file $i" >"$d/dir/f$i"; done
    # an image has small files in a pack, and large ones by themselves
    for i in $(seq "$FSX_SEEDS"); do
        head -c $((i % 2 ? 30000 : 300000)) /dev/urandom >"$d/fsx-lower-$i"
    done
    for i in seq rand direct mmap libaio; do head -c "$FIO_SIZE" /dev/zero >"$d/fio-lower-$i"; done
    ln -s dir "$d/link"
    mkfifo "$d/fifo"
    ln "$d/dir/f1" "$d/dir/hard"
    chmod 755 "$d"
}

# An image of the lower, in a store; the upper is in the store too.
mount_image() { # bed's folder, mountpoint
    export VELLUM_ROOT=$1/store
    "$VELLUM" import "$1/lower" bed:1 >/dev/null &&
        "$VELLUM" mount -o writeback=0 --name bed bed:1 "$2" >/dev/null || return
    STORE=$VELLUM_ROOT
    DIGEST=$(image_digest)
}

# What of a store must never change, whatever is done in a mount.
image_digest() {
    for part in blobs vellum/layers vellum/objects vellum/index; do tree_digest "$STORE/$part"; done
}

# Prints nothing; M is where the bed is.
start_bed() {
    local bed=$1 b=$DISK/$1
    M=$b/mnt
    mkdir -p "$b/lower" "$b/upper" "$b/work" "$M" || die "cannot make the bed $bed"
    make_lower "$b/lower"
    [ "$bed" = plain ] || DIGEST=$(tree_digest "$b/lower")
    case $bed in
        plain) rmdir "$M"; M=$b/lower ;;
        kernel) mount -t overlay overlay -o "lowerdir=$b/lower,upperdir=$b/upper,workdir=$b/work" "$M" ;;
        cached | passthrough)
            # one by io_uring, where the kernel has that, and one by /dev/fuse
            [ "$bed" = cached ] && io_uring=auto || io_uring=off
            "$VELLUM" mount --io "$bed" -o "io_uring=$io_uring" \
                --lower "$b/lower" --upper "$b/upper" --work "$b/work" "$M" ;;
        image) mount_image "$b" "$M" ;;
        fuse-overlayfs)
            fuse-overlayfs -o "lowerdir=$b/lower,upperdir=$b/upper,workdir=$b/work" "$M" ;;
        *) die "no bed '$bed'" ;;
    esac || die "cannot mount the bed $bed"
}

stop_bed() {
    local bed=$1 b=$DISK/$1
    [ "$bed" = plain ] && { make_room "$b"; return; }
    umount "$b/mnt" || { say "conformance: $bed is busy"; umount -l "$b/mnt"; }
    local now
    [ "$bed" = image ] && now=$(image_digest) || now=$(tree_digest "$b/lower")
    if [ "$now" = "$DIGEST" ]; then
        result lowers unchanged ok
    else
        result lowers unchanged fail
    fi
    make_room "$b"
}

# For the next bed, which has as much.
make_room() {
    rm -rf --one-file-system "$1" || die "cannot remove $1"
}

result() { printf '%s\t%s\t%s\t%s\n' "$BED" "$1" "$2" "$3" >>"$RESULTS"; }

# ---- the suites; each works below M and calls `result suite test ok|fail|skip`

run_pjdfstest() {
    local d=$M/pjdfstest log=$LOGS/$BED-pjdfstest.log
    mkdir -p "$d"
    chmod 755 "$d"
    # its EROFS cases call `mount -o remount,ro`, which for a FUSE type starts a helper that wants the
    # program installed; -i leaves helpers out, on every bed alike
    mkdir -p "$DIR/bin"
    printf '#!/bin/sh\nexec %s -i "$@"\n' "$(command -v mount)" >"$DIR/bin/mount"
    chmod 755 "$DIR/bin/mount"
    PATH="$DIR/bin:$PATH" NO_COLOR=1 timeout -k 10 600 "$TOOLS/bin/pjdfstest" -c "$LISTS/pjdfstest.toml" \
        -s "$DISK/second" -p "$d" >"$log" 2>&1
    awk '/^[a-z_0-9]+::.* (ok|FAILED|skipped)$/ {
            r = $NF; print $1 "\t" (r == "ok" ? "ok" : r == "FAILED" ? "fail" : "skip") }' "$log" |
        while IFS=$'\t' read -r test r; do result pjdfstest "$test" "$r"; done
}

run_fsx() {
    local seed kind
    for seed in $(seq "$FSX_SEEDS"); do
        for kind in new lower; do
            # a seed has the same operations in every bed
            if timeout -k 10 900 "$TOOLS/bin/fsx" -q -S "$seed" -N "$FSX_OPS" -f "$LISTS/fsx.toml" \
                -P "$LOGS" "$M/fsx-$kind-$seed" >"$LOGS/$BED-fsx-$kind-$seed.log" 2>&1; then
                result fsx "$kind-$seed" ok
            else
                result fsx "$kind-$seed" fail
            fi
        done
    done
}

fio_job() { # name, options
    local name=$1 kind
    shift
    for kind in new lower; do
        if timeout -k 10 900 fio --name="$name" --filename="$M/fio-$kind-$name" --size="$FIO_SIZE" \
            --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=7 --output-format=terse \
            "$@" >"$LOGS/$BED-fio-$kind-$name.log" 2>&1; then
            result fio "$kind-$name" ok
        else
            result fio "$kind-$name" fail
        fi
    done
}

run_fio() {
    fio_job seq --rw=write --bs=128k --ioengine=psync --end_fsync=1
    fio_job rand --rw=randrw --bs=512-64k --bs_unaligned=1 --ioengine=psync
    fio_job direct --rw=randwrite --bs=4k --direct=1 --ioengine=psync
    fio_job mmap --rw=randwrite --bs=4k --ioengine=mmap
    fio_job libaio --rw=randwrite --bs=16k --direct=1 --ioengine=libaio --iodepth=16
}

run_stress_ng() {
    local name status
    mkdir -p "$M/stress"
    for name in $(stress-ng --class 'filesystem?' 2>&1 | sed -n "s/^class 'filesystem' stressors: //p"); do
        # some stressors make files where they stand
        (cd "$M/stress" && exec timeout -k 10 180 stress-ng "--$name" 2 --timeout "$STRESS_SECONDS" \
            --verify --temp-path "$M/stress") >"$LOGS/$BED-stress-$name.log" 2>&1 </dev/null
        status=$?
        case $status in
            0) if grep -q 'skipped\|not implemented' "$LOGS/$BED-stress-$name.log"; then
                   result stress-ng "$name" skip; else result stress-ng "$name" ok; fi ;;
            3 | 4) result stress-ng "$name" skip ;;
            *) result stress-ng "$name" fail ;;
        esac
        rm -rf "$M/stress/"*
    done
}

# ---- the run

for suite in $SUITES; do
    case $suite in
        pjdfstest | fsx) tool "$suite" ;;
        fio | stress-ng) command -v "$suite" >/dev/null || die "no $suite; scripts/deps.sh conformance" ;;
        *) die "no suite '$suite'" ;;
    esac
done
trap clean_up EXIT
trap 'exit 130' INT TERM
switch_io_uring_on
setup
for BED in $BEDS; do
    start_bed "$BED"
    for suite in $SUITES; do
        began=$SECONDS
        "run_${suite//-/_}"
        say "conformance: $BED: $suite: $((SECONDS - began)) s"
    done
    stop_bed "$BED"
done

# what the lowers were is only asked where there are lowers: give the reference its line
printf 'plain\tlowers\tunchanged\tok\n' >>"$RESULTS"
compare "$LISTS/known-failures.txt" "$RESULTS" "$GATED" | tee "$DIR/table.txt"
verdict=${PIPESTATUS[0]}

# full: also the larger programs, lived with in a mount and beside it
if [ "$FORM" = full ] && [ -z "${NO_LIFE:-}" ]; then
    (cd "$TOP" && cargo test --locked --test inside -- --ignored --nocapture) || verdict=1
fi
[ "$verdict" = 0 ] && say "conformance ($FORM): no fault" \
    || say "conformance ($FORM): FAULTS; the suites' output is in $LOGS"
exit "$verdict"
