#!/bin/bash
# The second half of `make demo`: an image. A real Debian image of several layers is made once, by
# Vellum itself, and kept in target/cache as an OCI archive; then it is loaded, mounted, changed,
# committed and saved, and another tool looks at the result.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_root "$@"

VELLUM=${VELLUM:-$TARGET/release/vellum}
[ -x "$VELLUM" ] || die "no $VELLUM; 'make demo' builds it"
ARCHIVE=$CACHE/demo/image.tar
ROOM=$(mktemp -d "${TMPDIR:-/tmp}/vellum-demo.XXXXXX")
MNT=$ROOM/mnt
mkdir "$MNT"
export VELLUM_ROOT=$ROOM/store DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes LC_ALL=C
. "$(dirname "$0")/demo-lib.sh"

tidy() {
    local status=$?
    "$VELLUM" rm -f web >/dev/null 2>&1 || true
    ! mountpoint -q "$MNT" || "$VELLUM" umount "$MNT" || umount -l "$MNT"
    rm -rf "$ROOM"
    [ $status = 0 ] || say "demo: failed; nothing stays mounted"
}
trap tidy EXIT
trap 'exit 130' INT TERM

# A layer: what $2 changes in a container over image $1, which becomes image $3.
make_layer() {
    "$VELLUM" mount --name step "$1" "$MNT" >/dev/null
    cat /etc/resolv.conf >"$MNT/etc/resolv.conf"
    quiet inside "$MNT" sh -euc "$2"
    "$VELLUM" commit -m "$2" step "$3" >/dev/null
    "$VELLUM" umount "$MNT"
    "$VELLUM" rm step >/dev/null
}

make_image() {
    say "demo: making a Debian image of four layers, once (about a minute)"
    "$VELLUM" import -m "debootstrap --variant=minbase" "$("$TOP/scripts/debian-root.sh" base)" debian:base >/dev/null
    # hello is only downloaded here, so that the installation below needs no network
    make_layer debian:base 'apt-get update && apt-get install -y nano less && apt-get clean' debian:editor
    make_layer debian:editor 'apt-get install -y --download-only hello' debian:more
    make_layer debian:more 'rm -rf /usr/share/doc /usr/share/man /usr/share/locale && mkdir /usr/share/man' debian:slim
    mkdir -p "$CACHE/demo"
    "$VELLUM" save -o "$ARCHIVE.new" debian:slim >/dev/null
    mv "$ARCHIVE.new" "$ARCHIVE"
    rm -rf "$VELLUM_ROOT"
}

[ -f "$ARCHIVE" ] && [ -z "${DEMO_FRESH:-}" ] || make_image

step "An image: loaded, verified, indexed"
show "$VELLUM" load -i "$ARCHIVE"
show "$VELLUM" images
show "$VELLUM" history debian:slim

step "Mounted under a name, and changed"
began=$(date +%s%N)
show "$VELLUM" mount --name web debian:slim "$MNT"
ls "$MNT" >/dev/null
printf '  ready, root listed: %d ms after the command\n' $((($(date +%s%N) - began) / 1000000))
KEEP='^(Unpacking|Setting up)' show inside "$MNT" apt-get install -y -q --no-download hello
show inside "$MNT" rm -r /usr/share/zoneinfo
show inside "$MNT" mv /usr/share/perl5 /usr/share/perl-modules
show "$VELLUM" mounts

step "What changed: found from the changes alone, however large the image is"
"$VELLUM" diff web >"$ROOM/diff"
printf '%s$ vellum diff web | cut -c1 | sort | uniq -c%s\n' "$dim" "$plain"
cut -c1 "$ROOM/diff" | sort | uniq -c
printf '%s$ vellum diff web | grep hello%s\n' "$dim" "$plain"
grep hello "$ROOM/diff" | head -5 | sed 's/^/  /'

step "Committed as a layer of its own, saved, and read by another tool"
began=$(date +%s%N)
show "$VELLUM" commit -m "hello, and Perl moved" web mine/web:1
printf '  %d ms\n' $((($(date +%s%N) - began) / 1000000))
KEEP='hello|LAYER' show "$VELLUM" history mine/web:1
show "$VELLUM" save -o "$ROOM/web.tar" mine/web:1
KEEP='"Layers"|sha256:.*",?$|Created"' show skopeo inspect "oci-archive:$ROOM/web.tar"
show "$VELLUM" umount "$MNT"
"$VELLUM" mount --read-only mine/web:1 "$MNT"
printf '  the new image, mounted: %s\n' "$(chroot "$MNT" hello)"
show "$VELLUM" umount "$MNT"
show "$VELLUM" rm web
show "$VELLUM" df

step "Run: the new image's command in a container, by an OCI runtime"
began=$(date +%s%N)
show "$VELLUM" run --rm mine/web:1 hello
printf '  %d ms\n' $((($(date +%s%N) - began) / 1000000))
show "$VELLUM" run -d --name web mine/web:1 sleep 1000
show "$VELLUM" exec web cat /etc/debian_version
show "$VELLUM" ps
show "$VELLUM" rm -f web
echo
