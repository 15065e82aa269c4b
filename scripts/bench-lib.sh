# What the benchmarks of images and of containers share: a file system of their own in memory, podman
# with storages of its own in it, samples and tables. Sourced by bash after lib.sh, never run.

# Everything on one ext4 in memory: the machine's disk would be measured otherwise. What the caller
# has to stop first goes into a function `stop_all`.
PLACE=$(mktemp -d /dev/shm/vellum-bench.XXXXXX)
FS=$PLACE/fs
export VELLUM_ROOT=$FS/vellum TMPDIR=$FS/tmp CONTAINERS_CONF=$PLACE/containers.conf

tidy() {
    local status=$?
    trap - EXIT INT TERM
    [ $status = 0 ] || tail -5 "$PLACE/log" >&2 || true # what the last command said
    ! declare -F stop_all >/dev/null || stop_all || true
    for conf in "$PLACE"/*.storage; do
        [ ! -f "$conf" ] || CONTAINERS_STORAGE_CONF=$conf podman umount -a -f >"$PLACE/log" 2>&1 || true
    done
    ! mountpoint -q "$FS" || umount -R "$FS" || umount -lR "$FS"
    rm -rf "$PLACE"
    switch_io_uring_back
    exit $status
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir "$FS"
truncate -s 12G "$PLACE/ext4"
mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$PLACE/ext4"
mount -o loop "$PLACE/ext4" "$FS"
mkdir "$FS/tmp"
printf '%s\n' '[containers]' 'default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]' \
    '[engine]' 'cgroup_manager = "cgroupfs"' 'events_logger = "none"' 'lock_type = "file"' >"$CONTAINERS_CONF"

have() { command -v "$1" >/dev/null; }

# The storage of podman by a mount program; none: kernel overlayfs.
storage() { # name, program
    # podman refuses a runroot of more than 50 characters when it cleans up, where nobody sees it
    local run=$PLACE/run.$(printf %s "$1" | cksum | cut -d' ' -f1)
    {
        printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' "$FS/$1" "$run"
        [ -z "$2" ] || printf '[storage.options.overlay]\nmount_program = "%s"\n' "$2"
    } >"$PLACE/$1.storage"
}
# Runs podman or buildah in a storage.
by() { # name of the storage, program and its arguments
    local conf=$PLACE/$1.storage
    shift
    CONTAINERS_STORAGE_CONF=$conf "$@"
}
podman_in() { # name of the storage, arguments
    local name=$1
    shift
    by "$name" podman "$@"
}
# A name for a fuse-overlayfs, with its version.
name_of() {
    printf '%s-%s\n' "$(basename "$1")" "$("$1" --version 2>&1 | sed -n 's/^.*overlayfs[^0-9]*\([0-9.]*\).*/\1/p' | head -1)"
}

# Runs "$@" and writes down how long it took and how much memory it had, under $1.
measure() {
    local name=$1 began ended
    shift
    sync -f "$FS"
    began=$EPOCHREALTIME
    /usr/bin/time -q -f %M -o "$PLACE/peak" "$@" >"$PLACE/log" 2>&1 || die "failed: $*"
    ended=$EPOCHREALTIME
    sample "$name" "$((${ended/./} - ${began/./}))" "$(cat "$PLACE/peak")"
}
sample() { # name, microseconds, KiB
    printf '%s %s %s\n' "$1" "$2" "$3" >>"$PLACE/samples"
}

# A table from the samples: median, spread, memory, and how many times as long as the one to compare
# with. That is the median over the rounds, each of which has all of them one after the other, with the
# interval in which it is with 95 per cent (of the ranks: no distribution is assumed).
report() { # title, name of the one to compare with
    printf '\n%s\n' "$1"
    awk -v base="$2" '
        function sorted(n,   i, j, x) { # v[1..n]
            for (i = 2; i <= n; i++) {
                x = v[i]
                for (j = i - 1; j && v[j] > x; j--) v[j + 1] = v[j]
                v[j + 1] = x
            }
        }
        function median(n) { return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }
        !($1 in runs) { names[++k] = $1 }
        { t[$1, ++runs[$1]] = $2 / 1e6; if ($3 > peak[$1]) peak[$1] = $3 }
        END {
            printf "  %-28s %5s %10s %21s %23s %12s\n", "", "runs", "median", "spread", "times (95 %)", "memory"
            for (i = 1; i <= k; i++) {
                x = names[i]; n = runs[x]
                for (j = 1; j <= n; j++) v[j] = t[x, j]
                sorted(n)
                printf "  %-28s %5d %8.3f s %8.3f to %7.3f s", x, n, median(n), v[1], v[n]
                for (j = 1; j <= n; j++) v[j] = t[x, j] / t[base, j]
                sorted(n)
                low = int((n - 1.96 * sqrt(n)) / 2); if (low < 1) low = 1
                printf " %7.2fx (%4.2f to %5.2f) %8.1f MiB\n", median(n), v[low], v[n + 1 - low], peak[x] / 1024
            }
        }' "$PLACE/samples"
    : >"$PLACE/samples"
}
