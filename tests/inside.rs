//! Life inside a mount: what people do in a root file system, chrooted in the mount and, the same
//! commands, in a plain copy of the same root. What they print and what they leave behind must be
//! equal: after each piece of work, after a remount, and through the kernel's overlayfs on the same
//! upper.
//!
//! The root is a Debian that `scripts/debian-root.sh` makes once: debootstrap's base, and above it
//! the layer of an installation of compilers and tools.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;

use live::{Stack, digest, may_mount, run, sh};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A piece of work: its name, and its shell lines.
type Work = (&'static str, &'static str);

/// What anybody does in a root. Output and trees must not depend on the time of day.
const DAILY: &[Work] = &[
    (
        "apt",
        r#"
        apt-get install -y -q --no-download hello >/root/apt.log 2>&1 || { cat /root/apt.log; exit 1; }
        rm /root/apt.log
        hello; dpkg -V hello; dpkg --audit; dpkg -L hello | sort | xargs ls -d
    "#,
    ),
    (
        "users",
        r#"
        groupadd -g 900 crew
        useradd -m -u 900 -g crew -p x sailor
        install -d -o sailor -g crew -m 2770 /srv/ship
        umask 027; touch /srv/ship/log; mkdir /srv/ship/hold
        stat -c '%n %a %U %G' /srv/ship /srv/ship/* /home/sailor
        su sailor -s /bin/sh -c 'cd; echo mine >f; ln f g; chmod 4755 f; stat -c "%a %h %U" f; test ! -w /etc/passwd'
    "#,
    ),
    (
        "git",
        r#"
        mkdir /root/repo; cd /root/repo
        git init -q -b main .
        cp -r /usr/share/perl5 /usr/share/bash-completion . 2>/dev/null || cp -r /usr/share/perl5 .
        git add -A; git commit -q -m first
        git checkout -q -b other
        find . -name '*.pm' | sort | head -40 | xargs sed -i 's/package/PACKAGE/'
        git rm -q -r perl5/Debconf 2>/dev/null || git rm -q -r perl5/Debian; git commit -q -a -m second
        git checkout -q main; git merge -q other; git checkout -q HEAD~1; git checkout -q main
        git clone -q /root/repo /root/clone
        git -C /root/clone -c pack.threads=1 gc -q --prune=now
        for r in repo clone; do git -C /root/$r fsck --full --strict; git -C /root/$r status --porcelain; done
        git -C /root/clone rev-parse HEAD; git -C /root/clone ls-files | wc -l
        rm -rf /root/repo/.git/logs /root/clone/.git/logs
    "#,
    ),
    (
        "sqlite",
        r#"
        cd /root; for mode in delete wal truncate; do
        sqlite3 $mode.db "pragma journal_mode=$mode; create table t(a integer primary key, b text, c blob);
            with recursive n(i) as (select 1 union all select i+1 from n where i<20000)
            insert into t select i, 'row '||i, zeroblob(i%200) from n;
            create index b on t(b); begin; update t set b=b||'!' where a%3=0; delete from t where a%7=0; commit;
            begin; delete from t; rollback; vacuum; pragma integrity_check;
            select count(*), sum(length(c)), sum(length(b)) from t;"
        # a reader and a writer at once
        sqlite3 -cmd '.timeout 20000' $mode.db 'select count(*) > 30000 from t, (select 1 union select 2)' >count &
        sqlite3 -cmd '.timeout 20000' $mode.db "insert into t(b) values('late'); pragma integrity_check;"
        wait; cat count; rm count; done
    "#,
    ),
    (
        "build",
        r#"
        mkdir /root/build; cd /root/build
        for i in $(seq 60); do echo "int f$i(int x) { return x * $i + __LINE__; }" >f$i.c; done
        { for i in $(seq 60); do echo "int f$i(int);"; done
          echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'
          for i in $(seq 60); do echo "s += f$i($i);"; done
          echo 'return !printf("%d", s); }'; } >main.c
        printf 'o := $(patsubst %%.c,%%.o,$(wildcard *.c))\nprog: $(o)\n\tgcc -o $@ $^\n%%.o: %%.c\n\tgcc -O1 -c $<\n' >Makefile
        make -s -j2; ./prog
        make -q                     # nothing is out of date
        sleep 0.05; touch f7.c; ! make -q
        make -s; ./prog; make -q
    "#,
    ),
    (
        "copies",
        r#"
        cd /root
        cp -a /usr/lib/git-core /root/cp; diff -r /usr/lib/git-core /root/cp
        mkdir rs; rsync -aHAX /usr/share/perl5 /usr/lib/git-core /etc rs/
        rsync -aHAXn --delete --itemize-changes /usr/share/perl5 /usr/lib/git-core /etc rs/
        tar -C / --sort=name -cf all.tar etc usr/share/perl5 usr/lib/git-core
        mkdir untar; tar -C untar -xf all.tar; tar -C untar -df all.tar
        rsync -aHAXn --delete --itemize-changes /etc/ untar/etc/
        rm -rf all.tar rs cp
    "#,
    ),
    (
        "edits",
        r#"
        find /usr/share/perl5 -name '*.pm' | sort | head -300 | xargs sed -i 's/the/THE/'
        find /usr/share/doc -type f -name copyright | sort | head -100 | while read f; do echo more >>"$f"; done
        find /usr/share/zoneinfo -type f | sort | head -200 | xargs chmod 600
        find /usr/lib/git-core -type f | sort | head -30 | xargs chown daemon:daemon
        mv /usr/share/perl5 /usr/share/moved; mv /usr/share/moved/Debconf /usr/share/perl5; ls /usr/share/perl5 | wc -l
        rm -rf /usr/share/bug; mkdir /usr/share/bug; ls -A /usr/share/bug
        rm -rf /usr/share/locale; ln -s doc /usr/share/locale; rm /etc/issue; mkdir /etc/issue
        ln /etc/bash.bashrc /root/bashrc; echo '# more' >>/root/bashrc; tail -1 /etc/bash.bashrc
        find / -xdev -newermt '2100-01-01' | wc -l
        find / -xdev -type f -links +1 -printf '%n %p\n' | grep -v '/root/' | sort | sha256sum
    "#,
    ),
    (
        "purge",
        r#"
        apt-get purge -y -q --auto-remove python3-minimal make >/root/apt.log 2>&1 || { cat /root/apt.log; exit 1; }
        rm /root/apt.log
        dpkg --audit; dpkg -l | grep -c '^ii'; test ! -e /usr/bin/make
        find / -xdev ! -path '/proc/*' | wc -l
    "#,
    ),
];

/// Asked again of what the work left, after a remount.
const AGAIN: &[Work] = &[(
    "again",
    r#"
        hello; dpkg -V hello
        for r in repo clone; do git -C /root/$r fsck --full --strict; git -C /root/$r status --porcelain; done
        for m in delete wal truncate; do sqlite3 /root/$m.db 'pragma integrity_check; select count(*), sum(length(c)) from t'; done
        /root/build/prog
        stat -c '%n %a %U %G %h' /srv/ship /srv/ship/* /home/sailor/*
        cmp /etc/bash.bashrc /root/bashrc; stat -c %h /etc/bash.bashrc
        ls -A /usr/share/bug /usr/share/perl5 | sort
    "#,
)];

/// Larger programs; run by `make conformance`.
const HEAVY: &[Work] = &[
    (
        "postgresql",
        r#"
        bin=$(ls -d /usr/lib/postgresql/*/bin); cd /tmp
        install -d -o postgres /root/pg; chmod 755 /root
        as() { su postgres -s /bin/sh -c "export PATH=$bin:\$PATH LC_ALL=C; $1"; }
        as "initdb -D /root/pg/data -A trust >/dev/null"
        echo "dynamic_shared_memory_type=mmap" >>/root/pg/data/postgresql.conf
        up() { as "pg_ctl -D /root/pg/data -w -o '-k /tmp -h \"\"' -l /root/pg/log start >/dev/null" || { cat /root/pg/log; exit 1; }; }
        up
        as "createdb -h /tmp b; pgbench -h /tmp -q -i -s 5 b >/dev/null 2>&1"
        as "pgbench -h /tmp -n -c 4 -j 2 -t 500 b >/dev/null 2>&1"
        as "pg_ctl -D /root/pg/data -w -m immediate stop >/dev/null"    # as a crash
        up
        as "psql -h /tmp -At b -c 'select count(*) from pgbench_history' -c 'select count(*) from pgbench_accounts' -c 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)'"
        as "vacuumdb -h /tmp -q -f -z b; reindexdb -h /tmp -q b; pg_dump -h /tmp b | wc -l"
        as "pg_ctl -D /root/pg/data -w stop >/dev/null"
        rm -rf /root/pg
    "#,
    ),
    (
        "npm",
        r#"
        mkdir -p /root/lib /root/app; cd /root/lib
        echo '{"name":"lib","version":"1.2.3","main":"i.js","bin":{"say":"i.js"}}' >package.json
        printf '#!/usr/bin/env node\nmodule.exports = 42;\nif (require.main === module) console.log("said");\n' >i.js; chmod +x i.js
        npm pack --silent
        cd /root/app; echo '{"name":"app","version":"1.0.0"}' >package.json
        npm install --silent --offline --no-audit --no-fund /root/lib/lib-1.2.3.tgz
        node -e 'console.log(require("lib"))'; node_modules/.bin/say
        cp -a /usr/share/nodejs node_modules/copied; find node_modules/copied | wc -l
        npm ls --silent | tail -2
        rm -rf /root/.npm /root/app /root/lib
    "#,
    ),
];

/// What differs from one run to the next on any file system: logs, caches with times in them, and
/// git's index, which holds inode numbers and times.
const NOT_COMPARED: [&str; 9] = [
    "/proc",
    "/var/log",
    "/var/cache/apt",
    "/var/cache/ldconfig",
    "/var/lib/apt/extended_states",
    "/var/lib/dpkg/*-old",
    "/etc/*-",
    ".git/index",
    "*.db-shm",
];

/// Mounts the layers by the kernel's overlayfs on `$1`, for as long as the lines of `then` run.
fn with_kernel(lowers: &[PathBuf], upper: Option<&Stack>, then: &str, args: &[&OsStr]) -> String {
    let mut options = String::from("redirect_dir=on,metacopy=on,");
    let list: Vec<_> = lowers.iter().map(|l| l.to_str().unwrap()).collect();
    options.push_str(&format!("lowerdir={}", list.join(":")));
    if let Some(stack) = upper {
        options.push_str(&format!(
            ",upperdir={},workdir={}",
            stack.upper.display(),
            stack.work.display()
        ));
    }
    let line = format!(
        "m=$(mktemp -d); trap 'rmdir $m' EXIT
         unshare --mount --propagation private sh -euc 'm=$1; shift
            mount -t overlay overlay -o \"{options}\" $m; {then}' sh $m \"$@\""
    );
    sh(&line, args)
}

/// A plain directory with what the layers show together.
fn plain_copy(lowers: &[PathBuf], to: &Path) {
    with_kernel(
        lowers,
        None,
        "cp -a --reflink=auto $m/. \"$1\"",
        &[to.as_os_str()],
    );
}

/// Does one piece of work in a root; what it printed.
fn work(root: &Path, (name, lines): &Work) -> String {
    let out = Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--propagation",
            "private",
            "sh",
            "-euc",
        ])
        .arg("mount -t proc proc \"$1/proc\"; exec chroot \"$1\" sh -euc \"$2\"")
        .arg("sh")
        .arg(root)
        .arg(lines)
        .env_clear()
        .envs([
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOME", "/root"),
            ("LC_ALL", "C"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a@localhost"),
            ("GIT_COMMITTER_NAME", "c"),
            ("GIT_COMMITTER_EMAIL", "c@localhost"),
            ("GIT_AUTHOR_DATE", "1700000000 +0000"),
            ("GIT_COMMITTER_DATE", "1700000000 +0000"),
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{name} in {}: {}",
        root.display(),
        live::text(&out)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// rsync's list of differences: names, types, data, modes, owners, links, extended attributes.
fn differences_line() -> String {
    let excluded: Vec<_> = NOT_COMPARED
        .iter()
        .map(|p| format!("--exclude=\"{p}\""))
        .collect();
    format!(
        "rsync -rlpogDHAXcn --delete --itemize-changes {} ",
        excluded.join(" ")
    )
}

fn differences(plain: &Path, mount: &Path) -> String {
    let line = differences_line() + "\"$1/\" \"$2/\"";
    sh(&line, &[plain.as_os_str(), mount.as_os_str()])
}

/// The layers, and a plain directory with what they show.
fn bed(parts: &[&str]) -> (Stack, PathBuf) {
    let mut stack = Stack::within(Path::new(env!("CARGO_TARGET_TMPDIR")), 0);
    stack.lowers = live::debian_layers(parts);
    let plain = stack.dir().join("plain");
    fs::create_dir(&plain).unwrap();
    plain_copy(&stack.lowers, &plain);
    (stack, plain)
}

/// The same work in a mount and in a plain copy; the same result after it, and after a remount.
fn work_in_both(
    stack: &Stack,
    plain: &Path,
    works: &[Work],
    again: &[Work],
    mount: &dyn Fn(),
    umount: &dyn Fn(),
) {
    mount();
    assert_eq!(
        differences(plain, &stack.mnt),
        "",
        "before anything was done"
    );
    for piece in works {
        let (expected, got) = (work(plain, piece), work(&stack.mnt, piece));
        assert_eq!(got, expected, "{}: the output", piece.0);
        assert_eq!(differences(plain, &stack.mnt), "", "{}: the tree", piece.0);
    }
    umount();
    mount();
    assert_eq!(differences(plain, &stack.mnt), "", "after a remount");
    for piece in again {
        assert_eq!(
            work(&stack.mnt, piece),
            work(plain, piece),
            "after a remount"
        );
    }
    umount();
    assert!(live::wait_for(std::time::Duration::from_secs(10), || stack
        .daemons()
        .is_empty()));
}

/// In a mount of directories; and then in the kernel's eyes.
fn same_as_plain(parts: &[&str], works: &[Work], again: &[Work], io: &str) {
    let (stack, plain) = bed(parts);
    let before: Vec<_> = stack.lowers.iter().map(|l| digest(l)).collect();
    let mount = || stack.mount(&["--io", io]);
    work_in_both(&stack, &plain, works, again, &mount, &|| stack.umount());
    let line = differences_line() + "\"$1/\" $m/";
    let kernel = with_kernel(&stack.lowers, Some(&stack), &line, &[plain.as_os_str()]);
    assert_eq!(kernel, "", "through the kernel's overlayfs");
    let after: Vec<_> = stack.lowers.iter().map(|l| digest(l)).collect();
    assert_eq!(after, before, "a lower changed");
}

/// In a container over an image; and then as an image of its own.
fn image_same_as_plain(parts: &[&str], works: &[Work], again: &[Work]) {
    let (stack, plain) = bed(parts);
    let vellum = |args: &[&OsStr]| {
        run(Command::new(live::VELLUM)
            .args(args)
            .env("VELLUM_ROOT", stack.dir().join("store")))
    };
    let word = OsStr::new;
    vellum(&[word("import"), plain.as_os_str(), word("debian:1")]);
    let mount = || {
        let args = ["mount", "--name", "life", "debian:1"].map(OsStr::new);
        vellum(&[&args[..], &[stack.mnt.as_os_str()]].concat());
    };
    let umount = || {
        vellum(&[word("umount"), stack.mnt.as_os_str()]);
        assert!(live::wait_for(std::time::Duration::from_secs(10), || stack
            .daemons()
            .is_empty()));
    };
    work_in_both(&stack, &plain, works, again, &mount, &umount);
    vellum(&[word("commit"), word("life"), word("debian:2")]);
    let read = ["mount", "--read-only", "debian:2"].map(OsStr::new);
    vellum(&[&read[..], &[stack.mnt.as_os_str()]].concat());
    assert_eq!(differences(&plain, &stack.mnt), "", "after a commit");
    umount();
    assert_eq!(vellum(&[word("fsck"), word("-q")]), "", "the store");
}

#[test]
fn daily_work_is_as_on_a_plain_directory() {
    if may_mount() {
        same_as_plain(&["base", "tools"], DAILY, AGAIN, "cached");
    }
}

#[test]
fn daily_work_is_as_on_a_plain_directory_with_passthrough() {
    if may_mount() {
        same_as_plain(&["base", "tools"], DAILY, AGAIN, "passthrough");
    }
}

#[test]
#[ignore = "heavy: `make conformance` runs it"]
fn daily_work_is_as_on_a_plain_directory_over_an_image() {
    if may_mount() {
        image_same_as_plain(&["base", "tools"], DAILY, AGAIN);
    }
}

#[test]
#[ignore = "heavy, and downloads PostgreSQL and node once: `make conformance` runs it"]
fn databases_and_npm_are_as_on_a_plain_directory() {
    if may_mount() {
        for io in ["cached", "passthrough"] {
            same_as_plain(&["base", "tools", "programs"], HEAVY, &[], io);
        }
    }
}
