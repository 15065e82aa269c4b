#!/bin/bash
# What images cost: loading one, and committing a container with one changed file, beside the tools
# that people use for it. All take turns, in random order; medians, and from the least to the most.
#
#   scripts/bench-images.sh [ARCHIVE]      an OCI archive; none: the image of 'make demo'
#
# ROUNDS=5. Peers are those that are installed: podman over kernel overlayfs, and over each
# fuse-overlayfs that MOUNT_PROGRAMS names (default: the one in the PATH); containerd; umoci.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_root "$@"

VELLUM=${VELLUM:-$TARGET/release/vellum}
ARCHIVE=${1:-$CACHE/demo/image.tar}
[ -f "$ARCHIVE" ] || die "no $ARCHIVE; 'make demo' makes one"
ROUNDS=${ROUNDS:-5}
MOUNT_PROGRAMS=${MOUNT_PROGRAMS-$(command -v fuse-overlayfs || true)}
CONTAINERD=

stop_all() {
    ! mountpoint -q "$PLACE/mnt" || umount -l "$PLACE/mnt"
    if [ -n "$CONTAINERD" ]; then
        kill "$CONTAINERD" 2>/dev/null || true
        wait "$CONTAINERD" 2>/dev/null || true
    fi
}
. "$(dirname "$0")/bench-lib.sh"
mkdir "$PLACE/mnt"
cp "$ARCHIVE" "$FS/image.tar"

PEERS=vellum
storage podman ''
! have podman || PEERS="$PEERS podman"
if have containerd && have ctr; then
    printf 'version = 2\nroot = "%s"\nstate = "%s"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s"\n' \
        "$FS/ctr" "$PLACE/ctr" "$PLACE/ctr.sock" >"$PLACE/ctr.toml"
    containerd -c "$PLACE/ctr.toml" >"$PLACE/ctr.log" 2>&1 &
    CONTAINERD=$!
    for _ in $(seq 100); do ctr -a "$PLACE/ctr.sock" version >/dev/null 2>&1 && break || sleep 0.1; done
    PEERS="$PEERS containerd"
fi
if have umoci && have skopeo; then
    skopeo copy -q "oci-archive:$FS/image.tar" "oci:$FS/layout:t"
    PEERS="$PEERS umoci"
fi

load() {
    case $1 in
        vellum)
            rm -rf "$VELLUM_ROOT"
            measure vellum "$VELLUM" load -q --name measured:1 "$FS/image.tar" ;;
        podman)
            podman_in podman rmi -a -f >"$PLACE/log" 2>&1
            measure podman env CONTAINERS_STORAGE_CONF="$PLACE/podman.storage" podman load -q -i "$FS/image.tar" ;;
        containerd)
            ctr -a "$PLACE/ctr.sock" image ls -q | xargs -r ctr -a "$PLACE/ctr.sock" image rm --sync >"$PLACE/log"
            measure containerd ctr -a "$PLACE/ctr.sock" image import --base-name measured "$FS/image.tar" ;;
        umoci)
            rm -rf "$FS/bundle"
            measure umoci umoci unpack --image "$FS/layout:t" "$FS/bundle" ;;
    esac
}
say "bench-images: loading ($PEERS), $ROUNDS rounds"
for _ in $(seq "$ROUNDS"); do
    for peer in $(printf '%s\n' $PEERS | shuf); do load "$peer"; done
done
[ -z "$CONTAINERD" ] || PEERS_NOTE='; memory of ctr is that of the client alone'
report "Loading to mountable: $(du -h --apparent-size "$FS/image.tar" | cut -f1) archive${PEERS_NOTE:-}" vellum

COMMITS=vellum
if have podman; then
    for program in $MOUNT_PROGRAMS; do
        name=podman-$(name_of "$program")
        storage "$name" "$program"
        podman_in "$name" load -q -i "$FS/image.tar" >"$PLACE/log"
        COMMITS="$COMMITS $name"
    done
    COMMITS="$COMMITS podman"
fi
commit() {
    case $1 in
        vellum)
            "$VELLUM" mount --name changed measured:1 "$PLACE/mnt" >"$PLACE/log"
            date >"$PLACE/mnt/etc/changed"
            measure vellum "$VELLUM" commit changed "measured:$RANDOM"
            "$VELLUM" umount "$PLACE/mnt" && "$VELLUM" rm changed >"$PLACE/log" ;;
        *)
            local image container mnt
            image=$(podman_in "$1" images -q | head -1)
            container=$(podman_in "$1" create "$image" true)
            mnt=$(podman_in "$1" mount "$container")
            date >"$mnt/etc/changed"
            measure "$1" env CONTAINERS_STORAGE_CONF="$PLACE/$1.storage" podman commit -q "$container" "changed-$RANDOM"
            podman_in "$1" umount "$container" >"$PLACE/log"
            podman_in "$1" rm "$container" >"$PLACE/log" ;;
    esac
}
say "bench-images: committing one changed file ($COMMITS), $ROUNDS rounds"
# a pause: podman waits for the clock to reach the next second, wherever it began
for _ in $(seq "$ROUNDS"); do
    for peer in $(printf '%s\n' $COMMITS | shuf); do commit "$peer"; done
done
report "Committing one changed file" vellum
