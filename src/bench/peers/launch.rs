//! Starting a program that mounts, and waiting until the mount is there.

use super::mounted::{Daemon, Mounted};
use super::{Places, daemon, mount_id};
use crate::bench::failure::{Failure, Result, Step, go_on};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How a program is told what to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launch {
    /// Vellum's own command.
    Vellum {
        /// The program.
        exe: PathBuf,
        /// Value of `-o`.
        options: &'static str,
    },
    /// Vellum's own command, given an image of a store.
    Image {
        /// The program.
        exe: PathBuf,
        /// Value of `-o`.
        options: &'static str,
    },
    /// unionfs-fuse, copying up; it has its own kind of whiteouts.
    Unionfs {
        /// The program.
        exe: PathBuf,
        /// Value of `-o`.
        options: &'static str,
    },
    /// mergerfs, which shows branches as one and copies nothing up.
    Mergerfs {
        /// The program.
        exe: PathBuf,
        /// Value of `-o`.
        options: &'static str,
    },
    /// `WORDS -o lowerdir=A:B,upperdir=U,workdir=W MNT`, as fuse-overlayfs is called; or, if a word has
    /// `{lower}`, `{upper}`, `{work}` or `{mnt}` in it, exactly those words with these replaced.
    Words(Vec<String>),
}

impl Launch {
    /// The command line.
    pub fn words(&self, places: &Places) -> Vec<OsString> {
        match self {
            Launch::Vellum { exe, options } => {
                let lowers = places.layers.iter();
                let layers = lowers.flat_map(|l| ["--lower".into(), l.into()]);
                vellum(exe, layers.collect(), options, places, &[])
            }
            Launch::Image { exe, options } => {
                let root = places.image.iter().map(|i| i.root.as_os_str().into());
                let store = ["--root".into()].into_iter().chain(root).collect();
                let name = places.image.iter().map(|i| i.name.clone().into());
                vellum(exe, store, options, places, &name.collect::<Vec<_>>())
            }
            Launch::Unionfs { exe, options } | Launch::Mergerfs { exe, options } => {
                let mut branches = places.upper.clone().into_os_string();
                branches.push("=RW");
                for layer in &places.layers {
                    branches.push(":");
                    branches.push(layer);
                    branches.push("=RO");
                }
                let mnt = places.mnt.clone().into();
                vec![exe.into(), "-o".into(), options.into(), branches, mnt]
            }
            Launch::Words(words) => {
                let marked = words.iter().any(|w| w.contains('{'));
                let replaced = words.iter().map(|w| fill(w, places));
                let mut out: Vec<OsString> = replaced.collect();
                if !marked {
                    out.push("-o".into());
                    out.push(fill(
                        "lowerdir={lower},upperdir={upper},workdir={work}",
                        places,
                    ));
                    out.push(places.mnt.clone().into());
                }
                out
            }
        }
    }
}

fn vellum(
    exe: &Path,
    what: Vec<OsString>,
    options: &str,
    places: &Places,
    image: &[OsString],
) -> Vec<OsString> {
    let mut out: Vec<OsString> = vec![exe.into(), "mount".into()];
    out.extend(what);
    out.extend(["--upper".into(), places.upper.clone().into()]);
    out.extend(["--work".into(), places.work.clone().into()]);
    out.extend(["-o".into(), options.into()]);
    out.extend_from_slice(image);
    out.push(places.mnt.clone().into());
    out
}

/// Replaces the marks in one word.
fn fill(word: &str, places: &Places) -> OsString {
    let lower: Vec<_> = places.layers.iter().map(|l| l.as_os_str()).collect();
    let marks = [
        ("{lower}", lower.join(":".as_ref())),
        ("{upper}", places.upper.clone().into()),
        ("{work}", places.work.clone().into()),
        ("{mnt}", places.mnt.clone().into()),
    ];
    let mut out = Vec::new();
    let mut rest = word;
    while !rest.is_empty() {
        match marks.iter().find(|(mark, _)| rest.starts_with(mark)) {
            Some((mark, value)) => {
                out.extend_from_slice(value.as_encoded_bytes());
                rest = &rest[mark.len()..];
            }
            None => {
                let end = rest[1..].find('{').map_or(rest.len(), |i| i + 1);
                out.extend_from_slice(&rest.as_bytes()[..end]);
                rest = &rest[end..];
            }
        }
    }
    OsString::from_vec(out)
}

/// Starts the program and waits until something is mounted.
pub fn mount(launch: &Launch, places: &Places, limit: Duration) -> Result<Mounted> {
    let words = launch.words(places);
    let Some((program, args)) = words.split_first() else {
        return Err(Failure::new("an empty command"));
    };
    let before = mount_id(&places.mnt)?;
    let log = File::create(&places.log).at("create", &places.log)?;
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0) // ctrl-C is for us: we unmount, then it ends
        .spawn()
        .at("start", Path::new(program))?;
    let mut starting = Starting {
        child: Some(child),
        mnt: &places.mnt,
    };
    let ready = starting.wait(before, limit);
    ready.map_err(|e| with_log(e, &places.log))?;
    let child = starting.child.take();
    Mounted::fuse(Daemon::of(&places.mnt, child, limit)?)
}

/// A program that did not mount yet; dropping it ends it.
struct Starting<'a> {
    child: Option<Child>,
    mnt: &'a Path,
}

impl Starting<'_> {
    /// Until the program ended well and its mount is there, or the mount is there while it runs on.
    fn wait(&mut self, before: u64, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            go_on()?;
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?,
                None => return Ok(()),
            };
            match ended {
                Some(status) if !status.success() => {
                    return Err(Failure::new(format!(
                        "the mount program ended with {status}"
                    )));
                }
                Some(_) => {
                    self.child = None;
                    return match mount_id(self.mnt)? == before {
                        true => Err(Failure::new(
                            "the mount program ended with 0 and nothing is mounted",
                        )),
                        false => Ok(()),
                    };
                }
                // a program that stays in the foreground: the mount's presence says it is ready
                None if start.elapsed() > FOREGROUND && mount_id(self.mnt)? != before => {
                    return Ok(());
                }
                None if start.elapsed() > limit => {
                    return Err(Failure::new(format!("nothing is mounted after {limit:?}")));
                }
                None => std::thread::sleep(POLL),
            }
        }
    }
}

/// How often the program is looked at: the error of the time to the first stat.
const POLL: Duration = Duration::from_micros(200);

/// How long a program may take before it counts as one that stays in the foreground.
const FOREGROUND: Duration = Duration::from_secs(2);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            daemon::end(&mut child);
            daemon::detach(self.mnt);
        }
    }
}

/// Adds the last thing that the program wrote.
fn with_log(e: Failure, log: &Path) -> Failure {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match text.lines().rev().find(|l| !l.trim().is_empty()) {
        Some(line) => match e {
            Failure::Failed(why) => Failure::new(format!("{why}: {}", line.trim())),
            other => other,
        },
        None => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            layers: vec!["/a".into(), "/b".into()],
            upper: "/u".into(),
            work: "/w".into(),
            mnt: "/m".into(),
            log: "/l".into(),
            image: Some(crate::bench::images::Stored {
                root: "/s".into(),
                name: "i:1".into(),
            }),
        }
    }

    fn line(words: &[&str]) -> String {
        let launch = Launch::Words(words.iter().map(|w| (*w).to_owned()).collect());
        let words = launch.words(&places());
        words.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn plain_words_get_the_usual_options() {
        assert_eq!(
            line(&["fuse-overlayfs", "-f"]),
            "fuse-overlayfs -f -o lowerdir=/a:/b,upperdir=/u,workdir=/w /m"
        );
    }

    #[test]
    fn marks_are_replaced_wherever_they_stand() {
        assert_eq!(
            line(&["x", "dirs={upper}=RW:{lower}", "{other}", "{mnt}"]),
            "x dirs=/u=RW:/a:/b {other} /m"
        );
    }

    #[test]
    fn vellum_mounts_directories_and_images() {
        let line = |launch: Launch| launch.words(&places()).join(" ".as_ref());
        let (exe, options) = (PathBuf::from("v"), "o");
        assert_eq!(
            line(Launch::Vellum {
                exe: exe.clone(),
                options
            }),
            "v mount --lower /a --lower /b --upper /u --work /w -o o /m"
        );
        assert_eq!(
            line(Launch::Image {
                exe: exe.clone(),
                options
            }),
            "v mount --root /s --upper /u --work /w -o o i:1 /m"
        );
        assert_eq!(
            line(Launch::Unionfs { exe, options }),
            "v -o o /u=RW:/a=RO:/b=RO /m"
        );
    }

    #[test]
    fn a_program_that_fails_is_reported_with_its_words() {
        let scratch = crate::bench::scratch::Scratch::new(&std::env::temp_dir()).unwrap();
        let mut p = places();
        p.mnt = scratch.dir("mnt").unwrap();
        p.log = scratch.path().join("log");
        let script = "echo no such layer >&2; exit 3; {mnt}";
        let launch = Launch::Words(vec!["sh".into(), "-c".into(), script.into()]);
        let e = mount(&launch, &p, Duration::from_secs(5))
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("exit status: 3") && e.contains("no such layer"),
            "{e}"
        );
    }

    #[test]
    fn a_program_that_mounts_nothing_is_found_out() {
        let scratch = crate::bench::scratch::Scratch::new(&std::env::temp_dir()).unwrap();
        let mut p = places();
        p.mnt = scratch.dir("mnt").unwrap();
        p.log = scratch.path().join("log");
        let e = mount(
            &Launch::Words(vec!["true".into()]),
            &p,
            Duration::from_secs(5),
        )
        .unwrap_err();
        assert!(e.to_string().contains("nothing is mounted"), "{e}");
    }
}
