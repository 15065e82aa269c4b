#!/bin/sh
# Makes the Debian root file systems that the demo and the tests stack, once, and keeps them.
#
#   scripts/debian-root.sh base|tools|programs|testing...     prints one directory a line
#
# base    debootstrap's minbase variant, from the mirror that this machine's own apt uses
# tools   what changes in base when a compiler, git, SQLite and rsync are installed: a layer
# programs    what changes in base and tools when servers, interpreters with many small files and a
#         C++ compiler with a cache are installed: a layer above
# testing     debootstrap of Debian testing, with the newest Python and packages of many modules
#
# The layers are made by the kernel's overlayfs: a fault of ours cannot be hidden in its own input.
set -eu
. "$(dirname "$0")/lib.sh"
need_root "$@"

DEBIAN=$CACHE/debian
TOOLS_PACKAGES="git gcc make libc6-dev sqlite3 rsync python3-minimal"
PROGRAMS_PACKAGES="postgresql nodejs npm node-express node-lodash nginx-light curl"
PROGRAMS_PACKAGES="$PROGRAMS_PACKAGES python3-django python3-sympy g++ ccache"
TESTING_PACKAGES="python3,python3-django,python3-sympy,python3-sqlalchemy,python3-networkx,python3-pygments"
# downloaded into the layer, so that a test can install it without a network
OFFLINE_PACKAGE=hello

# The mirror and the release of this machine.
release() { . /etc/os-release && printf '%s\n' "$VERSION_CODENAME"; }
mirror() {
    code=$(release)
    apt-get indextargets --format '$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)' \
        'Created-By: Packages' 2>/dev/null \
        | awk -F'|' -v c="$code" '$3 == "main" && ($1 == c || $2 == c) { print $4; exit }'
}

make_base() {
    url=$(mirror)
    [ -n "$url" ] || die "apt's sources name no mirror for $(release)"
    say "debian-root: debootstrap of $(release), once (about a minute)"
    debootstrap --variant=minbase "$(release)" "$1" "$url" >"$DEBIAN/debootstrap.log" 2>&1 \
        || { tail -20 "$DEBIAN/debootstrap.log" >&2; die "debootstrap failed"; }
    # apt's sandbox user cannot reach a cache below a private home; nothing here is secret from it
    printf 'APT::Sandbox::User "root";\nAPT::Install-Recommends "false";\n%s\n' \
        'DPkg::Use-Pty "false";' >"$1/etc/apt/apt.conf.d/90vellum"
    printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" # no daemon is started by its package
    chmod 755 "$1/usr/sbin/policy-rc.d"
    rm -rf "$1/var/cache/apt/archives/"*.deb
}

# $1: where the layer goes; $2: lowerdir; the rest: a shell line for the chroot.
make_layer() {
    out=$1 lower=$2
    shift 2
    rm -rf "$out.work" "$out.mnt"
    mkdir -p "$out" "$out.work" "$out.mnt"
    # in a mount namespace of its own, so that nothing stays mounted whatever happens
    unshare --mount --propagation private sh -euc '
        out=$1 lower=$2; shift 2
        mount -t overlay overlay -o "lowerdir=$lower,upperdir=$out,workdir=$out.work" "$out.mnt"
        mount -t proc proc "$out.mnt/proc"
        rm -f "$out.mnt/etc/resolv.conf"
        cp /etc/resolv.conf "$out.mnt/etc/resolv.conf"
        export DEBIAN_FRONTEND=noninteractive LC_ALL=C
        chroot "$out.mnt" sh -euc "$*"' sh "$out" "$lower" "$@" >"$DEBIAN/layer.log" 2>&1 \
        || { tail -20 "$DEBIAN/layer.log" >&2; die "could not make the layer $out"; }
    rm -rf "$out.work"
    rmdir "$out.mnt"
}

make_tools() {
    "$0" base >/dev/null
    say "debian-root: installing $TOOLS_PACKAGES, once"
    make_layer "$1" "$DEBIAN/base" "apt-get update && apt-get install -y $TOOLS_PACKAGES \
        && apt-get clean && apt-get install -y --download-only $OFFLINE_PACKAGE"
}

make_programs() {
    "$0" tools >/dev/null
    say "debian-root: installing $PROGRAMS_PACKAGES, once"
    make_layer "$1" "$DEBIAN/tools:$DEBIAN/base" "apt-get install -y $PROGRAMS_PACKAGES \
        && rm -f /var/cache/apt/archives/[!$(printf %.1s $OFFLINE_PACKAGE)]*.deb"
}

make_testing() {
    url=$(mirror)
    [ -n "$url" ] || die "apt's sources name no mirror for $(release)"
    say "debian-root: debootstrap of testing with Python, once (about a minute)"
    debootstrap --variant=minbase --include="$TESTING_PACKAGES" testing "$1" "$url" >"$DEBIAN/testing.log" 2>&1 \
        || { tail -20 "$DEBIAN/testing.log" >&2; die "debootstrap of testing failed"; }
    rm -rf "$1/var/cache/apt/archives/"*.deb
}

# Made aside and renamed: half a root is never taken for a whole one.
ensure() {
    if [ ! -d "$DEBIAN/$1" ]; then
        rm -rf "$DEBIAN/.$1"
        "make_$1" "$DEBIAN/.$1"
        mv "$DEBIAN/.$1" "$DEBIAN/$1"
    fi
    printf '%s\n' "$DEBIAN/$1"
}

mkdir -p "$DEBIAN"
for part in "$@"; do
    case $part in
        base | tools | programs | testing) ;;
        *) die "base, tools, programs or testing, not '$part'" ;;
    esac
    exec 9>"$DEBIAN/$part.lock"
    flock 9
    ensure "$part"
    exec 9>&-
done
