//! As the mount program of podman and buildah: what they build, run and commit through it is what they
//! make of the same over kernel overlayfs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod folded;
mod live;
mod rich;
mod tools;

use folded::{Folded, layers_of};
use live::{Stack, VELLUM, may_mount, sh};
use rich::{have, same};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tools::{Containers, without_link_counts};

/// Ten steps: a package, removed and emptied directories of layers below, renamed ones, links,
/// owners, capabilities.
const CONTAINERFILE: &str = r#"FROM scratch
ADD base.tar /
COPY hello.deb /tmp/hello.deb
RUN dpkg -i /tmp/hello.deb && hello && rm -f /tmp/hello.deb /var/log/dpkg.log /var/cache/ldconfig/aux-cache
RUN rm -rf /usr/share/doc /usr/share/man && mkdir /usr/share/man && echo new >/usr/share/man/README
RUN mv /usr/share/perl5 /usr/share/modules && mv /usr/share/modules/Debconf /usr/share/ && mv /usr/share/modules /opt/
RUN useradd -m -u 4321 sailor && install -d -o sailor -m 2770 /srv/ship && ln /etc/passwd /srv/ship/passwd && echo '# x' >>/srv/ship/passwd
RUN chown -R sailor /usr/share/bash-completion /var/lib/dpkg/info && chmod 4711 /var/lib/dpkg/info/bash.list
RUN cp -a /bin/capable /bin/capable2 && mv /bin/capable /usr/sbin/ && ln /usr/sbin/capable /opt/capable
COPY --chown=4321:4321 tree /opt/tree
RUN rm -r /opt/tree/sub && ln -s /etc /opt/tree/sub && rm -rf /usr/share/zoneinfo && cp -a /opt/modules /opt/copy && rm -r /opt/modules && mv /opt/copy /opt/modules && rm /opt/tree/gone
RUN mkdir -p /var/many && cd /var/many && for i in $(seq 200); do echo $i >f$i; done && rm f1?? && truncate -s 1M sparse && echo end >>sparse
CMD ["hello"]
"#;

struct Bed {
    stack: Stack,
}

impl Bed {
    /// What the build needs, and the program under the name that podman is told.
    fn new() -> Bed {
        // in memory, where there is enough of it: podman syncs much
        let memory = Path::new("/dev/shm");
        let room = rustix::fs::statvfs(memory).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        let place = match room > 4 << 30 {
            true => memory,
            false => Path::new(env!("CARGO_TARGET_TMPDIR")),
        };
        let bed = Bed {
            stack: Stack::within(place, 0),
        };
        symlink(VELLUM, bed.program()).unwrap();
        bed
    }

    fn at(&self, name: &str) -> PathBuf {
        self.stack.dir().join(name)
    }

    fn program(&self) -> PathBuf {
        self.at("vellum-overlayfs")
    }

    fn context(&self) -> PathBuf {
        let roots = live::debian_layers(&["base", "tools"]);
        let (tools, base) = (&roots[0], &roots[1]);
        let context = self.at("context");
        sh(
            "mkdir -p \"$1/more/bin\" \"$1/tree/sub/deep\"; cd \"$1\"
             cp \"$3\"/var/cache/apt/archives/hello_*.deb hello.deb
             echo capable >more/bin/capable; chmod 755 more/bin/capable; setcap cap_net_raw=ep more/bin/capable
             echo s >tree/sub/deep/s; echo g >tree/gone; echo k >tree/kept; ln tree/kept tree/kept2
             tar --xattrs --xattrs-include='*' --exclude=./usr/share/locale --exclude=./var/lib/apt/lists -C \"$2\" -cf base.tar .
             tar --xattrs --xattrs-include='*' -C more -rf base.tar bin/capable; rm -r more",
            &[context.as_os_str(), base.as_os_str(), tools.as_os_str()],
        );
        fs::write(context.join("Containerfile"), CONTAINERFILE).unwrap();
        context
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs()
}

fn build(containers: &Containers, context: &Path, layout: &str) {
    let context = context.to_str().unwrap();
    let args = ["bud", "-q", "--layers", "-t", "built", context];
    containers.run("buildah", &args);
    containers.run("buildah", &["push", "-q", "built", layout]);
}

#[test]
fn a_build_of_ten_steps_and_what_it_is_good_for() {
    if !may_mount() || !have(&["buildah", "podman", "runc", "setcap"]) {
        return;
    }
    let bed = Bed::new();
    let context = bed.context();
    let began = now();
    let ours = Containers::mounting_by(bed.at("ours"), Some(&bed.program()));
    build(&ours, &context, "oci:ours-layout:t");
    let kernel = Containers::new(bed.at("kernel"));
    build(&kernel, &context, "oci:kernel-layout:t");

    // layer by layer: what each leaves
    let (got, want) = (
        layers_of(&bed.at("ours-layout")),
        layers_of(&bed.at("kernel-layout")),
    );
    assert_eq!(got.len(), want.len());
    assert!(got.len() >= 10, "{} layers", got.len());
    let (mut found, mut wanted) = (Folded::new(began), Folded::new(began));
    for (got, want) in got.iter().zip(&want) {
        found.add(got);
        wanted.add(want);
        same(&found.shown(), &wanted.shown());
    }
    // and what a mount of all of them shows: by us of our image, by the kernel of its own
    let fresh = |mut shown: rich::Shown| {
        folded::hide_new_times(&mut shown, began);
        shown
    };
    let mut by_kernel = fresh(kernel.podman_shows("built"));
    let mut by_us = fresh(ours.podman_shows("built"));
    without_link_counts(&mut by_kernel);
    without_link_counts(&mut by_us);
    same(&by_us, &by_kernel);

    run_and_commit(&ours);
    assert_eq!(ours.run("podman", &["ps", "-aq"]), "");
}

/// Containers of the image: run, looked into, changed, compared, committed.
fn run_and_commit(podman: &Containers) {
    let run = |args: &[&str]| {
        let all = [&["run", "--rm", "--network=none"], args].concat();
        podman.run("podman", &all)
    };
    assert_eq!(run(&["built"]), "Hello, world!\n");
    let said = run(&[
        "--user",
        "sailor",
        "built",
        "sh",
        "-c",
        "id -un; stat -c %U /srv/ship",
    ]);
    assert_eq!(said, "sailor\nsailor\n");
    let refused = "touch /x 2>&1 | grep -o Read-only; touch /tmp/y && echo tmp";
    let said = run(&["--read-only", "built", "sh", "-c", refused]);
    assert_eq!(said, "Read-only\ntmp\n");

    let id = podman.run(
        "podman",
        &[
            "run",
            "-d",
            "--network=none",
            "--name=ship",
            "built",
            "sleep",
            "1000",
        ],
    );
    let changes = "set -e; echo more >>/etc/passwd; rm -r /opt/tree; mv /usr/share/Debconf /usr/share/camel; echo n >/root/new";
    podman.run("podman", &["exec", "ship", "sh", "-c", changes]);
    let diff = podman.run("podman", &["diff", "ship"]);
    for line in [
        "C /etc/passwd",
        "D /opt/tree",
        "D /usr/share/Debconf",
        "A /usr/share/camel",
        "A /root/new",
    ] {
        assert!(diff.lines().any(|l| l == line), "{line}: {diff}");
    }
    podman.run("podman", &["commit", "-q", "ship", "changed"]);
    podman.run("podman", &["rm", "-f", "-t", "0", id.trim_end()]);
    let look = "tail -1 /etc/passwd; ls -d /opt/tree /usr/share/Debconf 2>/dev/null; cat /root/new; ls /usr/share/camel | wc -l";
    let said = run(&["changed", "sh", "-c", look]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["more", "n"], "{said}");
    assert!(lines[2].parse::<u32>().unwrap() > 0, "{said}");
}
