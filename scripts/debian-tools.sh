#!/bin/sh
# Unpacks programs that the tests use from Debian's packages, once, without installing them: the
# package of a server would start it.
#
#   scripts/debian-tools.sh PACKAGE...     prints the directory; its usr/bin and usr/sbin have the programs
set -eu
. "$(dirname "$0")/lib.sh"

DIR=$CACHE/debian-tools
mkdir -p "$DIR/.packages"
exec 9>"$DIR/.lock"
flock 9
for package in "$@"; do
    [ ! -e "$DIR/.packages/$package" ] || continue
    command -v apt-get >/dev/null || die "no apt-get here, and no $package"
    rm -rf "$DIR/.new"
    mkdir "$DIR/.new"
    (
        cd "$DIR/.new"
        # apt's own user may not write here; what it fetches is verified all the same
        apt-get -o APT::Sandbox::User=root download "$package" >log 2>&1 \
            || { apt-get update >/dev/null 2>&1 && apt-get -o APT::Sandbox::User=root download "$package" >log 2>&1; }
    ) || die "apt-get could not download $package: $(tail -1 "$DIR/.new/log")"
    dpkg-deb -x "$DIR/.new"/*.deb "$DIR"
    rm -rf "$DIR/.new"
    : >"$DIR/.packages/$package"
done
printf '%s\n' "$DIR"
