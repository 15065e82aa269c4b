//! A store with the image `debian:1`, which has the programs in it.

use crate::live::{debian_layers, sh};
use crate::running::{Bed, may_run};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Makes the store `$1` of what the layers `$3` show together, by the program `$2`, unless there is one that
/// is newer than the topmost layer `$4` and can be read. Made aside and renamed. Then a copy of it is `$5`:
/// hard links, since what is stored is never written to again, and all else by itself.
const STORE: &str = r#"
    store=$1 program=$2 layers=$3 top=$4 copy=$5
    exec 9>"$store.lock"; flock 9
    good() { [ "$store" -nt "$top" ] && VELLUM_ROOT=$store "$program" inspect debian:1 >/dev/null 2>&1; }
    if ! good; then
        rm -rf "$store" "$store.new"; mkdir "$store.new" "$store.new/mnt"
        unshare --mount --propagation private sh -euc '
            mount -t overlay overlay -o "lowerdir=$2" "$3/mnt"
            VELLUM_ROOT=$3/store exec "$1" import -m "Debian with programs" "$3/mnt" debian:1 >/dev/null
        ' sh "$program" "$layers" "$store.new"
        mv "$store.new/store" "$store"; rmdir "$store.new/mnt" "$store.new"; touch "$store"
    fi
    mkdir "$copy"
    for part in blobs vellum/layers vellum/objects vellum/index; do
        mkdir -p "$copy/$part"; cp -al "$store/$part/." "$copy/$part"
    done
    cp -a -n "$store/." "$copy"
"#;

/// A bed with the image, and the layers that it was made of, topmost first. None: the test is skipped.
pub fn debian() -> Option<(Bed, Vec<PathBuf>)> {
    if !may_run() {
        return None;
    }
    let layers = debian_layers(&["base", "tools", "programs"]);
    let cache = layers[0].parent().unwrap().parent().unwrap();
    let bed = Bed::within(cache);
    let list: Vec<&str> = layers.iter().map(|l| l.to_str().unwrap()).collect();
    let list = list.join(":");
    let (store, copy) = (cache.join("programs-store"), bed.at("store"));
    let args: [&OsStr; 5] = [
        store.as_os_str(),
        crate::live::VELLUM.as_ref(),
        list.as_ref(),
        layers[0].as_os_str(),
        copy.as_os_str(),
    ];
    sh(STORE, &args);
    Some((bed, layers))
}

/// What a line of shell prints in a plain root: kernel overlayfs over the same layers, and `chroot`.
pub fn in_plain_root(bed: &Bed, layers: &[PathBuf], line: &str) -> String {
    let list: Vec<&str> = layers.iter().map(|l| l.to_str().unwrap()).collect();
    let list = list.join(":");
    let dir = bed.at("plain");
    let args: [&OsStr; 3] = [dir.as_os_str(), list.as_ref(), line.as_ref()];
    sh(
        r#"mkdir -p "$1/upper" "$1/work" "$1/mnt"
           exec unshare --mount --pid --fork --propagation private sh -euc '
               cd "$1"
               mount -t overlay overlay -o "lowerdir=$2,upperdir=upper,workdir=work" mnt
               mount -t proc proc mnt/proc
               exec env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
                   chroot mnt sh -euc "$3"' sh "$@""#,
        &args,
    )
}

/// Finds a folder in the root that the layers make, by a part of its path with one `*` at the end.
pub fn folder(layers: &[PathBuf], parent: &str) -> PathBuf {
    let above = layers[0].join(parent.trim_start_matches('/'));
    let entry = std::fs::read_dir(&above).unwrap().next().unwrap().unwrap();
    Path::new(parent).join(entry.file_name())
}
