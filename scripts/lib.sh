# What the scripts share: where things are kept, how they speak, how they get root.
# Sourced, never run.

# The repository, the build directory, and what is made once and kept.
TOP=$(cd "$(dirname "$0")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$TOP/target}
CACHE=${VELLUM_CACHE:-$TARGET/cache}
TOOLS=$TARGET/tools

say() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Starts the calling script again as root, if it is not; what it needs from the environment is
# handed over by name.
need_root() {
    [ "$(id -u)" = 0 ] && return 0
    command -v sudo >/dev/null || die "must run as root, and there is no sudo"
    say "$(basename "$0"): becoming root by sudo (chroot, device nodes and mounts need it)"
    exec sudo PATH="$PATH" CARGO_TARGET_DIR="$TARGET" VELLUM_CACHE="$CACHE" "$0" "$@"
}

# A number from a whole tree: names, types, modes, owners, times, data, extended attributes.
# Access times are left out: reading moves them. So are the names of tar's own headers, which hold
# its process id.
tree_digest() {
    tar --sort=name --numeric-owner --xattrs --xattrs-include='*' --acls --format=pax \
        --pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f \
        -C "$1" -cf - . 2>/dev/null | sha256sum | cut -d' ' -f1
}

# FUSE over io_uring is off until somebody switches it on. Who does so here puts it back at the end.
IO_URING_SWITCH=/sys/module/fuse/parameters/enable_uring

switch_io_uring_on() {
    if [ -w "$IO_URING_SWITCH" ] && [ "$(cat "$IO_URING_SWITCH")" = N ]; then
        echo Y >"$IO_URING_SWITCH"
        io_uring_was_off=1
    fi
}

switch_io_uring_back() {
    [ -z "${io_uring_was_off:-}" ] || echo N >"$IO_URING_SWITCH"
}
