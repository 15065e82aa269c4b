//! apt in a container: installed, upgraded, removed; what changed is shown, committed, and runs as an image.

use crate::bed::debian;

/// An archive of packages, made in the image: a newer `hello`, and one with many files and a
/// configuration file.
const ARCHIVE: &str = r#"
    cd /repo
    dpkg-deb -R /var/cache/apt/archives/hello_*.deb h
    sed -i 's/^Version:.*/Version: 99/' h/DEBIAN/control
    sed -i 's/Hello, world!/Hello, there!/' h/usr/bin/hello
    (cd h; find usr -type f -print0 | xargs -0 md5sum >DEBIAN/md5sums); dpkg-deb -b h hello_99.deb
    mkdir -p g/DEBIAN g/etc g/usr/share/greetings
    echo polite >g/etc/greet.conf; echo /etc/greet.conf >g/DEBIAN/conffiles
    for i in $(seq 500); do echo "greeting $i" >g/usr/share/greetings/$i; done
    printf 'Package: greet\nVersion: 1\nArchitecture: all\nMaintainer: n <n@localhost>\nDepends: hello (>= 99)\nDescription: many files\n' >g/DEBIAN/control
    (cd g; find usr -type f -print0 | xargs -0 md5sum >DEBIAN/md5sums); dpkg-deb -b g greet_1.deb
    for deb in hello_99.deb greet_1.deb; do
        dpkg-deb -f $deb
        printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' $deb $(stat -c %s $deb) $(sha256sum $deb | cut -d' ' -f1)
    done >Packages
    rm -rf h g
"#;

const INSTALL: &str = r#"
    apt-get install -y -q --no-download hello >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
    hello; dpkg -V hello
"#;

/// Upgrades by `apt-get upgrade`, which keeps what it need not change, and installs and removes.
const UPGRADE: &str = r#"
    rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
    echo 'deb [trusted=yes] file:/repo ./' >/etc/apt/sources.list
    apt() { apt-get -y -q "$@" >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }; }
    apt update
    apt upgrade; hello
    apt install greet; cat /etc/greet.conf
    echo rude >/etc/greet.conf
    apt purge rsync sqlite3
    dpkg -V hello greet || true
    dpkg --audit; dpkg-query -W hello greet
"#;

#[test]
fn apt_installs_and_upgrades_and_the_result_is_an_image() {
    let Some((bed, _)) = debian() else {
        return;
    };
    std::fs::create_dir(bed.at("repo")).unwrap();
    let repo = format!("{}:/repo", bed.path("repo"));
    let make = [
        "run", "--rm", "-v", &repo, "debian:1", "sh", "-euc", ARCHIVE,
    ];
    bed.ok(&make);
    let options = [
        "-d",
        "--name",
        "apt",
        "-v",
        &repo,
        "-e",
        "DEBIAN_FRONTEND=noninteractive",
        "-e",
        "LC_ALL=C",
    ];
    bed.ok(&[&["run"], &options[..], &["debian:1", "sleep", "1000"]].concat());
    let exec = |line: &str| bed.ok(&["exec", "apt", "sh", "-euc", line]);
    assert_eq!(exec(INSTALL), "Hello, world!\n");
    let changed = "Hello, there!\npolite\n??5?????? c /etc/greet.conf\ngreet\t1\nhello\t99\n";
    assert_eq!(exec(UPGRADE), changed);
    bed.ok(&["stop", "-t", "0", "apt"]);

    let diff = bed.ok(&["diff", "apt"]);
    for line in [
        "A /usr/bin/hello",
        "A /etc/greet.conf",
        "A /usr/share/greetings/500",
        "C /var/lib/dpkg/status",
        "D /usr/bin/rsync",
        "D /usr/bin/sqlite3",
    ] {
        assert!(diff.lines().any(|l| l == line), "{line}: {diff}");
    }
    for other in ["/usr/bin/gcc", "/usr/share/perl5"] {
        assert!(!diff.lines().any(|l| l.ends_with(other)), "{other}: {diff}");
    }
    bed.ok(&["commit", "-c", "CMD [\"hello\"]", "apt", "debian:2"]);
    bed.ok(&["rm", "apt"]);
    assert_eq!(bed.ok(&["run", "--rm", "debian:2"]), "Hello, there!\n");
    let look = r#"dpkg --audit; dpkg -V hello; dpkg-query -W hello greet; cat /etc/greet.conf
        ls /usr/share/greetings | wc -l; test ! -e /usr/bin/rsync; ! dpkg -s sqlite3 2>/dev/null; gcc --version >/dev/null"#;
    let said = bed.ok(&["run", "--rm", "debian:2", "sh", "-euc", look]);
    assert_eq!(said, "greet\t1\nhello\t99\nrude\n500\n");
    assert_eq!(bed.ok(&["fsck", "-q"]), "");
    bed.nothing_is_left();
}
