#!/bin/bash
# Shows what Vellum does, on a real Debian root cut into layers. See `make demo`.
#
# What is downloaded and built is kept in target/cache; DEMO_FRESH=1 makes the layers anew.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_root "$@"

VELLUM=${VELLUM:-$TARGET/release/vellum}
[ -x "$VELLUM" ] || die "no $VELLUM; 'make demo' builds it"
[ -e /dev/fuse ] || die "no /dev/fuse: the kernel's fuse module is not loaded, or this container was not given it"
LAYERS=$CACHE/demo
ROOM=$(mktemp -d "${TMPDIR:-/tmp}/vellum-demo.XXXXXX")
MNT=$ROOM/mnt
export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes LC_ALL=C

. "$(dirname "$0")/demo-lib.sh"

# ---- leaving nothing behind

tidy() {
    local status=$?
    for m in "$MNT" "$LAYERS"/.*.mnt; do
        ! mountpoint -q "$m" 2>/dev/null || "$VELLUM" umount "$m" || umount -l "$m"
    done
    rm -rf "$ROOM"
    [ $status = 0 ] || say "demo: failed; nothing stays mounted"
}
trap tidy EXIT
trap 'exit 130' INT TERM

# ---- life inside a mount

# Makes layer $1 above the layers $2: what $3... changes inside a mount of Vellum.
make_layer() {
    local out=$LAYERS/$1 lowers=$2 lower args=()
    shift 2
    [ ! -d "$out" ] || [ -n "${DEMO_FRESH:-}" ] || return 0
    local tmp=$LAYERS/.$(basename "$out")
    rm -rf "$out" "$tmp" "$tmp.work" "$tmp.mnt"
    mkdir -p "$tmp" "$tmp.work" "$tmp.mnt"
    for lower in $lowers; do args+=(--lower "$lower"); done
    "$VELLUM" mount "${args[@]}" --upper "$tmp" --work "$tmp.work" "$tmp.mnt"
    cat /etc/resolv.conf >"$tmp.mnt/etc/resolv.conf"
    quiet inside "$tmp.mnt" sh -euc "$*"
    "$VELLUM" umount "$tmp.mnt"
    rm -rf "$tmp.work" "$tmp.mnt"
    mv "$tmp" "$out"
}

# ---- 1. layers

step "A Debian root, cut into three layers"
mkdir -p "$LAYERS"
BASE=$("$TOP/scripts/debian-root.sh" base)
if [ -n "${DEMO_FRESH:-}" ]; then rm -rf "$LAYERS/editor" "$LAYERS/slim"; fi
# hello is only downloaded here, so that the installation below needs no network
make_layer editor "$BASE" 'apt-get update && apt-get install -y nano less && apt-get clean \
    && apt-get install -y --download-only hello'
make_layer slim "$LAYERS/editor $BASE" 'rm -rf /usr/share/doc /usr/share/man /usr/share/locale && mkdir /usr/share/man'
layers=("$LAYERS/slim" "$LAYERS/editor" "$BASE")
what=("removals: /usr/share/doc, man, locale" "apt-get install nano less" "debootstrap --variant=minbase")
for i in 0 1 2; do
    printf '  %-8s %6s entries %6s   %s\n' "$(basename "${layers[$i]}")" \
        "$(find "${layers[$i]}" -mindepth 1 | wc -l)" "$(du -sh "${layers[$i]}" | cut -f1)" "${what[$i]}"
done
for i in 0 1 2; do tree_digest "${layers[$i]}"; done >"$ROOM/before"

# ---- 2. the mount

step "Mounted as one root file system, with a writable sheet on top"
mkdir "$ROOM/upper" "$ROOM/work" "$MNT"
args=()
for l in "${layers[@]}"; do args+=(--lower "$l"); done
began=$(date +%s%N)
show "$VELLUM" mount "${args[@]}" --upper "$ROOM/upper" --work "$ROOM/work" "$MNT"
ls "$MNT" >/dev/null
printf '  ready, root listed: %d ms after the command\n' $((($(date +%s%N) - began) / 1000000))
show findmnt -o TARGET,SOURCE,FSTYPE,OPTIONS "$MNT"
show df -h "$MNT"

# ---- 3. life inside

step "Life inside: apt installs, apt removes, and directories of a layer are renamed"
KEEP='^(Unpacking|Setting up)' show inside "$MNT" apt-get install -y -q --no-download hello
show inside "$MNT" hello
KEEP='^(Removing|Purging)' show inside "$MNT" apt-get purge -y -q nano
show inside "$MNT" chmod 700 /usr/bin/perl
show inside "$MNT" mv /usr/share/perl5 /usr/share/perl-modules
show inside "$MNT" sh -c 'rm -rf /usr/share/zoneinfo && mkdir /usr/share/zoneinfo && ls -A /usr/share/zoneinfo | wc -l'

# ---- 4. what the upper holds

in_a_layer() { # the path is in one of the read-only layers
    local l
    for l in "${layers[@]}"; do [ -e "$l/$1" ] || [ -L "$l/$1" ] && return 0; done
    return 1
}
has_mark() { getfattr -h --absolute-names -n "trusted.overlay.$2" "$ROOM/upper/$1" >/dev/null 2>&1; }
some() { # title, file: how many, and the first of them
    printf '  %-46s %5d   ' "$1" "$(wc -l <"$2")"
    head -3 "$2" | tr '\n' ' '
    [ "$(wc -l <"$2")" -le 3 ] || printf '...'
    echo
}

step "What that left in the upper layer: only what changed"
sync -f "$MNT"
cd "$ROOM"
for list in whiteout copied meta new opaque redirect merged; do : >"$list"; done
while IFS=' ' read -r type path; do
    if [ "$type" = c ] && [ "$(stat -c %t:%T "upper/$path")" = 0:0 ]; then echo "/$path" >>whiteout
    elif [ "$type" = d ] && has_mark "$path" opaque; then echo "/$path" >>opaque
    elif [ "$type" = d ] && has_mark "$path" redirect; then echo "/$path" >>redirect
    elif [ "$type" = d ] && in_a_layer "$path"; then echo "/$path" >>merged
    elif has_mark "$path" metacopy; then echo "/$path" >>meta
    elif in_a_layer "$path"; then echo "/$path" >>copied
    else echo "/$path" >>new
    fi
done < <(find upper -mindepth 1 -printf '%y %P\n' | sort)
some "new" new
some "copied up, because it was changed" copied
some "attributes only, the data is still below" meta
some "whited out, because it was removed" whiteout
some "opaque: made anew where one was removed" opaque
some "renamed directory, contents still below" redirect
some "directories on the way" merged
printf '  %s in all, of a root of %s\n' "$(du -sh upper | cut -f1)" "$(du -sh "$MNT" 2>/dev/null | cut -f1)"
cd /

# ---- 5. the proof

step "Unmounted; and not one byte of a layer has changed"
show "$VELLUM" umount "$MNT"
for i in 0 1 2; do tree_digest "${layers[$i]}"; done >"$ROOM/after"
for i in 0 1 2; do
    before=$(sed -n "$((i + 1))p" "$ROOM/before") after=$(sed -n "$((i + 1))p" "$ROOM/after")
    [ "$before" = "$after" ] || die "layer $(basename "${layers[$i]}") changed: $before, then $after"
    printf '  %-8s sha256 of all names, data, owners, times, attributes: %.16s...  as before\n' "$(basename "${layers[$i]}")" "$before"
done
"$VELLUM" mount "${args[@]}" --upper "$ROOM/upper" --work "$ROOM/work" "$MNT"
printf '  mounted again, hello is still installed: %s\n' "$(inside "$MNT" hello)"
"$VELLUM" umount "$MNT"
echo
