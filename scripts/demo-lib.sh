# How the demos speak, and how they live in a root. Sourced; ROOM is a place to write to.

bold=; dim=; plain=
if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m'); fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
# Prints a command as one would type it, and runs it; KEEP says which lines of its output to show.
show() {
    local line
    line=$(printf '%s ' "$@" | sed "s|$VELLUM|vellum|g; s|${LAYERS:-$ROOM}/||g; s|$CACHE/debian/||g; s|$ROOM/||g; s|^inside |chroot |")
    printf '%s$ %s%s\n' "$dim" "$line" "$plain"
    "$@" 2>&1 | { grep -E "${KEEP:-}" || true; } | sed "s|$ROOM/||; s/^/  /"
}
quiet() { "$@" >"$ROOM/log" 2>&1 || { tail -20 "$ROOM/log" >&2; die "failed: $*"; }; }

# A command in the root at $1, with /proc for as long as it runs.
inside() {
    local root=$1
    shift
    unshare --mount --pid --fork --propagation private sh -c '
        mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" "$@"
}
