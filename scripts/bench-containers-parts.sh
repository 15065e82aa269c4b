# The parts of bench-containers.sh; sourced by it.

# Storages for podman: kernel overlayfs and each program of MOUNT_PROGRAMS. Their names.
storages() { # prefix
    storage "$1-overlayfs" ''
    printf '%s ' "$1-overlayfs"
    local program
    for program in $MOUNT_PROGRAMS; do
        storage "$1-$(name_of "$program")" "$program"
        printf '%s ' "$1-$(name_of "$program")"
    done
}
# Rounds, in each of which the function is called with every peer, in random order.
in_turn() { # rounds, function, peers
    local rounds=$1 once=$2 round peer
    shift 2
    for round in $(seq "$rounds"); do
        for peer in $(printf '%s\n' "$@" | shuf); do "$once" "$peer"; done
    done
}

# The demo's image, in the store and in each storage.
IMAGE=measured:1
load_image() { # storages
    "$VELLUM" load -q --name "$IMAGE" "$ARCHIVE" >"$PLACE/log"
    local name
    for name; do
        podman_in "$name" load -q -i "$ARCHIVE" >"$PLACE/log" 2>&1
        podman_in "$name" tag "$(podman_in "$name" images -q | head -1)" "localhost/$IMAGE"
    done
}

# A command in a new container that is removed after it.
bench_run() {
    local peers
    peers=$(storages podman)
    load_image $peers
    in_turn 1 run_once vellum $peers # what a first run makes is there then
    : >"$PLACE/samples"
    say "bench-containers: run --rm IMAGE true ($RUNS runs)"
    in_turn "$RUNS" run_once vellum $peers
    report "run --rm --network none IMAGE true" vellum
}
run_once() {
    sleep 0.3 # podman's clean-up goes on after its end
    case $1 in
        vellum) measure vellum "$VELLUM" run --rm --network none "$IMAGE" true ;;
        *) measure "$1" env CONTAINERS_STORAGE_CONF="$PLACE/$1.storage" \
            podman run --rm --network none "localhost/$IMAGE" true ;;
    esac
}

# Fifty containers of one image at once: until all of them run, and the memory of what keeps them.
bench_fifty() {
    local peers
    peers=$(storages podman)
    load_image $peers
    say "bench-containers: fifty containers at once ($TIMES times)"
    in_turn "$TIMES" fifty_once vellum $peers
    report "50 containers at once (run -d IMAGE sleep 1000): until all run; memory of all processes beside theirs" vellum
}
fifty_once() {
    local began ended n started=()
    sync -f "$FS"
    began=$EPOCHREALTIME
    for n in $(seq 50); do
        case $1 in
            vellum) "$VELLUM" run -d --network none "$IMAGE" sleep 1000 ;;
            *) podman_in "$1" run -d --network none "localhost/$IMAGE" sleep 1000 ;;
        esac >"$PLACE/log.$n" 2>&1 &
        started+=($!)
    done
    for n in $(seq 50); do
        wait "${started[n - 1]}" || { tail -5 "$PLACE/log.$n" >&2; die "$1: container $n of 50 failed"; }
    done
    # the runtime ends when the container's first process is about to execute its program
    for n in $(seq 100); do
        [ "$(pgrep -c -x sleep)" -lt 50 ] || break
        sleep 0.01
    done
    ended=$EPOCHREALTIME
    [ "$(pgrep -c -x sleep)" -ge 50 ] || die "$1: not all of 50 containers run"
    sleep 3 # what is needed for a start alone is given back by then
    # the proportional set size: what is shared counts once
    sample "$1" "$((${ended/./} - ${began/./}))" "$(
        pgrep -x 'vellum|conmon|fuse-overlayfs' | sed 's|.*|/proc/&/smaps_rollup|' \
            | xargs -r cat 2>/dev/null | awk '/^Pss:/ { sum += $2 } END { print sum + 0 }')"
    case $1 in
        vellum) "$VELLUM" ps -aq | xargs "$VELLUM" rm -f ;;
        *) podman_in "$1" rm -a -f -t 0 ;;
    esac >"$PLACE/log" 2>&1
}

# The ten steps: packages, removed and emptied directories of layers below, renamed ones, a hard link,
# owners, a capability, many small files. dpkg by itself, as apt-get fails over fuse-overlayfs 2.0.
containerfile() {
    cat <<'END'
FROM localhost/base
COPY debs /tmp/debs
RUN dpkg -i --force-depends /tmp/debs/*.deb && rm -rf /tmp/debs
RUN rm -rf /usr/share/doc /usr/share/man && mkdir /usr/share/man && echo new >/usr/share/man/README
RUN mv /usr/share/perl5 /usr/share/modules && mv /usr/share/modules/Debconf /usr/share/ && mv /usr/share/modules /opt/
RUN useradd -m -u 4321 sailor && install -d -o sailor -m 2770 /srv/ship && ln /etc/passwd /srv/ship/passwd && echo '# x' >>/srv/ship/passwd
RUN chown -R sailor /usr/share/bash-completion /var/lib/dpkg/info && chmod 4711 /var/lib/dpkg/info/bash.list
RUN cp /usr/bin/env /opt/capable && setcap cap_net_raw+ep /opt/capable && ln /opt/capable /usr/sbin/capable
COPY --chown=4321:4321 app /srv/app
RUN rm -r /srv/app/sub && ln -s /etc /srv/app/sub && rm -rf /usr/share/zoneinfo && cp -a /opt/modules /opt/copy && rm -r /opt/modules && mv /opt/copy /opt/modules
RUN mkdir -p /var/many && cd /var/many && for i in $(seq 200); do echo $i >f$i; done && rm f1?? && truncate -s 1M sparse && echo end >>sparse
END
}
# What an image of a Python application installs, downloaded once.
PACKAGES="curl procps netbase tzdata iputils-ping less xz-utils sudo python3 python3-venv python3-flask python3-requests gunicorn"
packages() { # the base root; prints where they are
    local debs=$CACHE/bench/debs
    if [ ! -d "$debs" ]; then
        rm -rf "$debs.new"
        mkdir -p "$debs.new/partial" "$FS/apt"/{upper,work,root}
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$FS/apt/upper,workdir=$FS/apt/work" "$FS/apt/root"
        cat /etc/resolv.conf >"$FS/apt/root/etc/resolv.conf"
        mount --bind "$debs.new" "$FS/apt/root/var/cache/apt/archives"
        chroot "$FS/apt/root" sh -c "apt-get update && apt-get install -y --download-only $PACKAGES" >"$PLACE/log" 2>&1 \
            || die "apt-get could not download packages"
        umount -R "$FS/apt/root"
        rm -rf "$FS/apt" "$debs.new/partial" "$debs.new/lock"
        mv "$debs.new" "$debs"
    fi
    printf '%s\n' "$debs"
}
bench_build() {
    local base context=$FS/context peers peer container n
    base=$("$TOP/scripts/debian-root.sh" base)
    mkdir -p "$context/app/sub"
    cp -r "$(packages "$base")" "$context/debs"
    for n in $(seq 300); do echo "x = $n" >"$context/app/module_$n.py"; done
    echo s >"$context/app/sub/s"
    containerfile >"$context/Containerfile"
    tar -C "$base" --numeric-owner --xattrs --sort=name -cf "$FS/base.tar" .

    ln -sf "$VELLUM" "$PLACE/vellum-overlayfs"
    storage buildah-vellum "$PLACE/vellum-overlayfs"
    peers="buildah-vellum $(storages buildah)"
    for peer in $peers; do
        container=$(by "$peer" buildah from scratch)
        by "$peer" buildah add -q "$container" "$FS/base.tar" / >"$PLACE/log"
        by "$peer" buildah commit -q "$container" localhost/base >"$PLACE/log"
        by "$peer" buildah rm "$container" >"$PLACE/log"
    done
    say "bench-containers: a build of ten steps, $(ls "$context/debs" | wc -l) packages ($ROUNDS rounds)"
    in_turn "$ROUNDS" build_once $peers
    report "Ten steps built by buildah, from a Debian root" buildah-vellum
}
build_once() {
    measure "$1" env CONTAINERS_STORAGE_CONF="$PLACE/$1.storage" BUILDAH_ISOLATION=chroot \
        buildah bud -q --no-cache -t localhost/built "$FS/context"
    by "$1" buildah rmi localhost/built >"$PLACE/log"
}

# Programs that load thousands of files, when everything is in memory. All modules of some
# packages that can be loaded here: the list is made once, and is the same for all.
LIST='
import os, sys
def inside(directory, package):
    for name in sorted(os.listdir(directory)):
        path, module = os.path.join(directory, name), package + "." + name.removesuffix(".py")
        if name.startswith("_") or name in ("tests", "test", "testing", "benchmarks", "gis", "migrations"):
            continue
        if os.path.exists(os.path.join(path, "__init__.py")):
            yield module
            yield from inside(path, module)
        elif name.endswith(".py"):
            yield module
for package in sys.argv[1:]:
    for module in [package, *inside(os.path.dirname(__import__(package).__file__), package)]:
        try:
            __import__(module)
            print(module, file=sys.stderr)
        except Exception:
            pass
'
START='
import sys
for module in open("/root/modules").read().split():
    try:
        __import__(module)
    except Exception:
        pass
print(len(sys.modules))
'
NODE='
const fs = require("fs"), path = require("path"); let loaded = 0;
function inside(directory) {
    for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
        const at = path.join(directory, entry.name);
        if (entry.isDirectory()) inside(at);
        else if (entry.name.endsWith(".js")) try { require(at); loaded++; } catch (e) { }
    }
}
for (const name of ["lodash", "es-abstract", "caniuse-lite", "express"]) inside("/usr/share/nodejs/" + name);
console.log(loaded);
'
bench_programs() {
    local top=$FS/programs/top
    mkdir -p "$top/root"
    printf '%s' "$LIST" >"$top/root/list.py"
    printf '%s' "$START" >"$top/root/start.py"
    printf '%s' "$NODE" >"$top/root/start.js"
    mount_programs "$top:$("$TOP/scripts/debian-root.sh" programs tools base | paste -sd :)"
    list_modules sympy mpmath django sqlparse
    start_programs python3 -W ignore /root/start.py
    start_programs node /root/start.js
    umount_programs
    # a Python that does not ask of each file it opens whether it is a terminal
    mount_programs "$top:$("$TOP/scripts/debian-root.sh" testing)"
    list_modules sympy mpmath django sqlalchemy networkx pygments
    start_programs python3 -W ignore /root/start.py
    umount_programs
}
mount_programs() { # lowerdir
    rm -rf "$FS/programs"/{upper,work}-*
    mkdir -p "$FS/programs"/{upper,work}-{overlayfs,vellum} "$PLACE/overlayfs" "$PLACE/vellum"
    local at=$FS/programs
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$at/upper-overlayfs,workdir=$at/work-overlayfs" "$PLACE/overlayfs"
    ln -sf "$VELLUM" "$PLACE/vellum-overlayfs"
    "$PLACE/vellum-overlayfs" -o "lowerdir=$1,upperdir=$at/upper-vellum,workdir=$at/work-vellum" "$PLACE/vellum"
}
umount_programs() { umount "$PLACE/overlayfs" "$PLACE/vellum"; }
list_modules() { # packages
    local peer
    chroot "$PLACE/overlayfs" python3 -W ignore /root/list.py "$@" 2>"$FS/programs/modules" >"$PLACE/log"
    for peer in overlayfs vellum; do cp "$FS/programs/modules" "$PLACE/$peer/root/modules"; done
}
start_programs() { # the program and its arguments
    local loaded version program=("$@")
    loaded=$(chroot "$PLACE/vellum" "$@" 2>"$PLACE/log" | tail -1)
    in_turn 3 start_once overlayfs vellum # all is in memory then
    : >"$PLACE/samples"
    version="$1 $(chroot "$PLACE/vellum" "$1" --version | tr -dc 0-9.)"
    say "bench-containers: start of $version ($STARTS starts)"
    in_turn "$STARTS" start_once overlayfs vellum
    report "Start of $version, $loaded modules, everything in memory, in a chroot over directories" vellum
}
start_once() { measure "$1" chroot "$PLACE/$1" "${program[@]}"; }
