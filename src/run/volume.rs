//! What is mounted in a container beside its root: `-v`, `--mount`, `--tmpfs`.

use super::config::new_id;
use crate::image::volume::{Volume as Stored, check_volume_name};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use oci_spec::runtime::{Mount, MountBuilder};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Something mounted in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Volume {
    /// A file or directory of the host.
    Bind {
        /// What.
        source: PathBuf,
        /// Where.
        target: String,
        /// It cannot be written to.
        read_only: bool,
        /// How mounts beneath it travel: `rprivate` and its kin.
        propagation: String,
        /// A directory is made if it is missing.
        make: bool,
    },
    /// Memory.
    Tmpfs {
        /// Where.
        target: String,
        /// Options of mount(8).
        options: Vec<String>,
    },
    /// A volume of the store.
    Kept {
        /// Its name.
        name: String,
        /// The name was made up, and it goes with the container if that is asked for.
        anonymous: bool,
        /// Where.
        target: String,
        /// It cannot be written to.
        read_only: bool,
        /// If it is empty, it begins with what the image has there.
        copy: bool,
    },
}

const PROPAGATIONS: &[&str] = &[
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

fn bad(option: &str, text: &str, why: &str) -> Error {
    Error::because(Errno::EINVAL, format!("{option} {text:?}: {why}"))
}

impl Volume {
    /// Where it is mounted.
    pub fn target(&self) -> &str {
        match self {
            Volume::Bind { target, .. }
            | Volume::Tmpfs { target, .. }
            | Volume::Kept { target, .. } => target,
        }
    }

    /// A new volume, whose name nobody gave.
    pub fn anonymous(target: String) -> Result<Volume> {
        Ok(Volume::Kept {
            name: new_id()?,
            anonymous: true,
            target,
            read_only: false,
            copy: true,
        })
    }

    /// `-v SOURCE:TARGET[:OPTIONS]`, where a source is a path or the name of a volume; or `-v TARGET`.
    pub fn parse_short(text: &str) -> Result<Volume> {
        let say = |why: &str| bad("--volume", text, why);
        let fields: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match fields.as_slice() {
            [target] => {
                let target = absolute(target).map_err(|why| say(&why))?;
                return Volume::anonymous(target);
            }
            [source, target] => (*source, *target, ""),
            [source, target, options] => (*source, *target, *options),
            _ => return Err(say("SOURCE:TARGET[:OPTIONS] is expected")),
        };
        let is_path = source.starts_with(['/', '.']);
        if !is_path {
            check_volume_name(source).map_err(|e| say(e.reason()))?;
        }
        let (mut read_only, mut copy) = (false, true);
        let mut propagation = "rprivate".to_owned();
        for option in options.split(',').filter(|o| !o.is_empty()) {
            match option {
                "ro" => read_only = true,
                "rw" => read_only = false,
                "nocopy" if !is_path => copy = false,
                // labels of SELinux, which docker leaves alone where there is none, too
                "z" | "Z" if !Path::new("/sys/fs/selinux/enforce").exists() => {}
                other if is_path && PROPAGATIONS.contains(&other) => {
                    propagation = other.to_owned();
                }
                other => return Err(say(&format!("option {other:?} is not supported"))),
            }
        }
        let target = absolute(target).map_err(|why| say(&why))?;
        if !is_path {
            return Ok(Volume::Kept {
                name: source.to_owned(),
                anonymous: false,
                target,
                read_only,
                copy,
            });
        }
        Ok(Volume::Bind {
            source: std::path::absolute(source)?,
            target,
            read_only,
            propagation,
            make: true,
        })
    }

    /// `--tmpfs TARGET[:OPTIONS]`.
    pub fn parse_tmpfs(text: &str) -> Result<Volume> {
        let (target, more) = text.split_once(':').unwrap_or((text, ""));
        let mut options: Vec<String> = ["rw", "noexec", "nosuid", "nodev"]
            .map(str::to_owned)
            .into();
        for option in more.split(',').filter(|o| !o.is_empty()) {
            let opposite = option
                .strip_prefix("no")
                .map_or(format!("no{option}"), str::to_owned);
            options.retain(|o| *o != opposite && o != option);
            if option == "ro" {
                options.retain(|o| o != "rw");
            }
            options.push(option.to_owned());
        }
        Ok(Volume::Tmpfs {
            target: absolute(target).map_err(|why| bad("--tmpfs", text, &why))?,
            options,
        })
    }

    /// `--mount type=bind,source=PATH,target=PATH,...`, or with another type.
    pub fn parse_long(text: &str) -> Result<Volume> {
        let say = |why: String| bad("--mount", text, &why);
        let mut given = Long::default();
        for word in text.split(',') {
            given.word(word).map_err(say)?;
        }
        given.volume().map_err(say)
    }

    /// For the runtime. Volumes are in the store at `store`.
    pub fn mount(&self, store: &Path) -> Result<Mount> {
        let access = |read_only: bool| if read_only { "ro" } else { "rw" };
        let bind = |source: &Path, more: &[&str]| {
            let mut options = vec!["rbind".to_owned()];
            options.extend(more.iter().map(|o| (*o).to_owned()));
            ("bind", source.to_owned(), options)
        };
        let (kind, source, options) = match self {
            Volume::Bind {
                source,
                read_only,
                propagation,
                ..
            } => bind(source, &[access(*read_only), propagation]),
            Volume::Tmpfs { options, .. } => ("tmpfs", PathBuf::from("tmpfs"), options.clone()),
            Volume::Kept {
                name, read_only, ..
            } => {
                let data = Stored::of(store, name)?.data();
                bind(&data, &[access(*read_only), "rprivate"])
            }
        };
        mount(self.target(), kind, &source, options)
    }
}

/// A mount, for the runtime.
pub fn mount(target: &str, kind: &str, source: &Path, options: Vec<String>) -> Result<Mount> {
    MountBuilder::default()
        .destination(target)
        .typ(kind)
        .source(source)
        .options(options)
        .build()
        .map_err(|e| bad("mount", target, &e.to_string()))
}

fn absolute(target: &str) -> std::result::Result<String, String> {
    match target {
        "/" => Err("the root cannot be mounted over".to_owned()),
        path if path.starts_with('/') => Ok(path.to_owned()),
        path => Err(format!("{path:?} is no absolute path in the container")),
    }
}

/// What `--mount` says.
#[derive(Default)]
struct Long {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    options: Vec<String>,
    nocopy: bool,
}

impl Long {
    fn word(&mut self, word: &str) -> std::result::Result<(), String> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let value = value.to_owned();
        match name {
            "type" => self.kind = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "readonly" | "ro" => self.read_only = flag(name, &value)?,
            "bind-propagation" if PROPAGATIONS.contains(&value.as_str()) => {
                self.propagation = Some(value);
            }
            "volume-nocopy" => self.nocopy = flag(name, &value)?,
            "volume-driver" if value == "local" => {}
            "tmpfs-size" => {
                let bytes = super::limits::size(&value).map_err(|e| e.reason().to_owned())?;
                self.options.push(format!("size={bytes}"));
            }
            "tmpfs-mode" => {
                u32::from_str_radix(&value, 8).map_err(|_| format!("{value:?} is no mode"))?;
                self.options.push(format!("mode={value}"));
            }
            _ => return Err(format!("{word:?} is not supported")),
        }
        Ok(())
    }

    fn volume(self) -> std::result::Result<Volume, String> {
        let target = absolute(&self.target.ok_or("target=PATH is missing")?)?;
        let kind = self.kind.as_deref().unwrap_or("volume");
        if kind != "tmpfs" && !self.options.is_empty() {
            return Err(format!("{} is for type=tmpfs", self.options.join(", ")));
        }
        if kind != "bind" && self.propagation.is_some() {
            return Err("bind-propagation is for type=bind".to_owned());
        }
        if kind != "volume" && self.nocopy {
            return Err("volume-nocopy is for type=volume".to_owned());
        }
        match (kind, self.source) {
            ("bind", Some(source)) => Ok(Volume::Bind {
                source: std::path::absolute(source).map_err(|e| e.to_string())?,
                target,
                read_only: self.read_only,
                propagation: self.propagation.unwrap_or_else(|| "rprivate".to_owned()),
                make: false,
            }),
            ("bind", None) => Err("source=PATH is missing".to_owned()),
            ("tmpfs", None) => {
                let mut options: Vec<String> = ["nosuid", "nodev"].map(str::to_owned).into();
                options.push(if self.read_only { "ro" } else { "rw" }.to_owned());
                options.extend(self.options);
                Ok(Volume::Tmpfs { target, options })
            }
            ("tmpfs", Some(_)) => Err("a tmpfs has no source".to_owned()),
            ("volume", source) => {
                let anonymous = source.is_none();
                let name = match source {
                    Some(name) => check_volume_name(&name).map(|()| name),
                    None => new_id(),
                };
                Ok(Volume::Kept {
                    name: name.map_err(|e| e.reason().to_owned())?,
                    anonymous,
                    target,
                    read_only: self.read_only,
                    copy: !self.nocopy,
                })
            }
            (other, _) => Err(format!(
                "type {other:?} is not supported; bind, tmpfs or volume"
            )),
        }
    }
}

fn flag(name: &str, value: &str) -> std::result::Result<bool, String> {
    match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(format!("{name}={other:?} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &str, target: &str, read_only: bool, propagation: &str, make: bool) -> Volume {
        Volume::Bind {
            source: source.into(),
            target: target.into(),
            read_only,
            propagation: propagation.into(),
            make,
        }
    }

    fn kept(name: &str, target: &str, read_only: bool, copy: bool) -> Volume {
        Volume::Kept {
            name: name.into(),
            anonymous: false,
            target: target.into(),
            read_only,
            copy,
        }
    }

    /// A volume with a made up name, where it goes.
    fn nameless(volume: Volume) -> (String, bool, bool) {
        match volume {
            Volume::Kept {
                name,
                anonymous: true,
                target,
                read_only,
                copy,
            } if name.len() == 64 => (target, read_only, copy),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn short_ones() {
        let parse = |text| Volume::parse_short(text).unwrap();
        assert_eq!(parse("/a:/b"), bind("/a", "/b", false, "rprivate", true));
        assert_eq!(parse("/a:/b:ro"), bind("/a", "/b", true, "rprivate", true));
        assert_eq!(
            parse("/a:/b:rslave,ro"),
            bind("/a", "/b", true, "rslave", true)
        );
        let here = std::env::current_dir().unwrap().join("x");
        assert_eq!(
            parse("./x:/b"),
            bind(here.to_str().unwrap(), "/b", false, "rprivate", true)
        );
        assert_eq!(nameless(parse("/data")), ("/data".into(), false, true));
        assert_eq!(parse("name:/b"), kept("name", "/b", false, true));
        assert_eq!(parse("n-1:/b:ro,nocopy"), kept("n-1", "/b", true, false));
        for text in [
            "n:/b",
            "-name:/b",
            "name:b",
            "name:/b:rshared",
            "/a:/b:nocopy",
            "/a:b",
            "/a:/b:what",
            "/a:/b:ro:rw",
            "b",
            "",
            "/a:/",
        ] {
            assert!(Volume::parse_short(text).is_err(), "{text}");
        }
    }

    #[test]
    fn long_ones() {
        let parse = |text| Volume::parse_long(text).unwrap();
        assert_eq!(
            parse("type=bind,source=/a,target=/b,readonly"),
            bind("/a", "/b", true, "rprivate", false)
        );
        assert_eq!(
            parse("type=bind,src=/a,dst=/b,ro=false,bind-propagation=rshared"),
            bind("/a", "/b", false, "rshared", false)
        );
        let Volume::Tmpfs { target, options } =
            parse("type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1770")
        else {
            panic!("no tmpfs");
        };
        assert_eq!(target, "/t");
        assert!(
            options.contains(&"size=1048576".to_owned())
                && options.contains(&"mode=1770".to_owned())
        );
        assert_eq!(nameless(parse("target=/v")), ("/v".into(), false, true));
        assert_eq!(
            nameless(parse("type=volume,dst=/v,ro,volume-nocopy")),
            ("/v".into(), true, false)
        );
        assert_eq!(
            parse("src=name,dst=/v,volume-driver=local"),
            kept("name", "/v", false, true)
        );
        assert_eq!(
            parse("type=volume,src=name,dst=/v,readonly,volume-nocopy=true"),
            kept("name", "/v", true, false)
        );
        for text in [
            "type=bind,target=/b",
            "type=bind,source=/a",
            "type=bind,source=/a,target=/b,what=1",
            "type=bind,source=/a,target=/b,bind-propagation=x",
            "type=bind,source=/a,target=/b,tmpfs-size=1m",
            "type=tmpfs,source=/a,target=/b",
            "type=tmpfs,target=/b,tmpfs-mode=9",
            "type=volume,source=a/b,target=/b",
            "type=volume,source=name,target=/b,volume-driver=nfs",
            "type=bind,source=/a,target=/b,volume-nocopy",
            "type=npipe,target=/b",
            "target=b",
            "",
        ] {
            assert!(Volume::parse_long(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory() {
        let options = |text| match Volume::parse_tmpfs(text).unwrap() {
            Volume::Tmpfs { options, .. } => options.join(","),
            other => panic!("{other:?}"),
        };
        assert_eq!(options("/t"), "rw,noexec,nosuid,nodev");
        assert_eq!(options("/t:exec,size=1m"), "rw,nosuid,nodev,exec,size=1m");
        assert_eq!(options("/t:ro"), "noexec,nosuid,nodev,ro");
        assert!(Volume::parse_tmpfs("t").is_err());
    }
}
