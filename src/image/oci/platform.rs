//! Platforms: which manifest of an index is meant.
//!
//! A platform is written `OS/ARCH[/VARIANT]`, or `ARCH[/VARIANT]`, in Go's words; the names that
//! `uname` has for the same are understood. Where nothing is said, it is the platform that this
//! program was built for. An ARM machine runs what was built for older variants, so of those
//! the newest is chosen.

use super::{Descriptor, ImageConfiguration};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fmt;
use std::str::FromStr;

/// A platform as somebody asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformSpec {
    os: String,
    arch: String,
    variant: Option<String>,
}

impl Default for PlatformSpec {
    /// What this program was built for.
    fn default() -> PlatformSpec {
        PlatformSpec::new(std::env::consts::OS, std::env::consts::ARCH, None)
    }
}

impl PlatformSpec {
    fn new(os: &str, arch: &str, variant: Option<&str>) -> PlatformSpec {
        let (arch, implied) = normal(arch);
        let variant = variant.or(implied).map(|v| match v.strip_prefix('v') {
            Some(_) => v.to_owned(),
            None => format!("v{v}"),
        });
        // the baseline of each is what is meant without a word
        let variant = variant.filter(|v| !is_baseline(arch, v));
        PlatformSpec {
            os: os.to_ascii_lowercase(),
            arch: arch.to_owned(),
            variant,
        }
    }

    /// The operating system.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture, in Go's word.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// The platform that a configuration says it is for.
    pub fn of_config(config: &ImageConfiguration) -> PlatformSpec {
        PlatformSpec::new(
            &config.os().to_string(),
            &config.architecture().to_string(),
            config.variant().as_deref().filter(|v| !v.is_empty()),
        )
    }

    /// True if a machine of this platform runs what was built for `other`.
    pub fn runs(&self, other: &PlatformSpec) -> bool {
        self.suits(other).is_some()
    }

    /// How well what was built for `other` suits: more is better; nothing if it does not run.
    fn suits(&self, other: &PlatformSpec) -> Option<u32> {
        if self.os != other.os || self.arch != other.arch {
            return None;
        }
        match (self.level(), other.level()) {
            (Some(mine), Some(its)) if its <= mine => Some(its),
            _ if self.variant == other.variant => Some(u32::MAX),
            _ => None,
        }
    }

    /// The variant as a number.
    fn level(&self) -> Option<u32> {
        match &self.variant {
            Some(v) => v.strip_prefix('v')?.parse().ok(),
            None => match self.arch.as_str() {
                "arm" => Some(7),
                "arm64" => Some(8),
                "amd64" => Some(1),
                _ => None,
            },
        }
    }
}

fn normal(arch: &str) -> (&str, Option<&'static str>) {
    match arch {
        "x86_64" | "x86-64" => ("amd64", None),
        "i386" | "i686" | "x86" => ("386", None),
        "aarch64" => ("arm64", None),
        "armhf" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v6")),
        "powerpc64" => ("ppc64le", None),
        other => (other, None),
    }
}

fn is_baseline(arch: &str, variant: &str) -> bool {
    matches!(
        (arch, variant),
        ("arm", "v7") | ("arm64", "v8") | ("amd64", "v1")
    )
}

impl FromStr for PlatformSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<PlatformSpec> {
        let bad = || {
            Error::because(
                Errno::EINVAL,
                format!(
                    "platform {text:?}: OS/ARCH or OS/ARCH/VARIANT is expected, as in linux/arm/v7"
                ),
            )
        };
        let good = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(good) {
            return Err(bad());
        }
        let is_os = |w: &str| matches!(w, "linux" | "windows" | "darwin" | "freebsd");
        match parts.as_slice() {
            [os] if is_os(os) => Ok(PlatformSpec::new(os, std::env::consts::ARCH, None)),
            [arch] => Ok(PlatformSpec::new(std::env::consts::OS, arch, None)),
            [arch, variant] if !is_os(arch) && variant.starts_with('v') => {
                Ok(PlatformSpec::new(std::env::consts::OS, arch, Some(variant)))
            }
            [os, arch] => Ok(PlatformSpec::new(os, arch, None)),
            [os, arch, variant] => Ok(PlatformSpec::new(os, arch, Some(variant))),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for PlatformSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        self.variant.as_ref().map_or(Ok(()), |v| write!(f, "/{v}"))
    }
}

/// Of these manifests, that for the platform. One without a platform suits if it is alone; what is
/// for the platform `unknown`, as attestations are, never does.
pub fn choose<'a>(manifests: &'a [Descriptor], want: &PlatformSpec) -> Result<&'a Descriptor> {
    if let [only] = manifests
        && only.platform().is_none()
    {
        return Ok(only);
    }
    let platform_of = |d: &Descriptor| {
        let p = d.platform().as_ref()?;
        let variant = p.variant().as_deref().filter(|v| !v.is_empty());
        Some(PlatformSpec::new(
            &p.os().to_string(),
            &p.architecture().to_string(),
            variant,
        ))
    };
    let mut best: Option<(u32, &Descriptor)> = None;
    for manifest in manifests {
        let level = platform_of(manifest).and_then(|p| want.suits(&p));
        // of two that suit as well the first is meant
        if level > best.map(|(level, _)| level)
            && let Some(level) = level
        {
            best = Some((level, manifest));
        }
    }
    best.map(|(_, manifest)| manifest).ok_or_else(|| {
        let mut there: Vec<String> = manifests
            .iter()
            .filter_map(platform_of)
            .filter(|p| p.os != "unknown")
            .map(|p| p.to_string())
            .collect();
        there.dedup();
        let there = match there.is_empty() {
            true => "there is none with a platform".to_owned(),
            false => format!("there is {}", there.join(", ")),
        };
        Error::because(Errno::ENOENT, format!("no image for {want}: {there}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let one = |(n, text): (usize, &&str)| {
            let mut parts = text.split('/');
            let (os, arch) = (parts.next(), parts.next());
            let mut platform = json!({"os": os, "architecture": arch});
            if let Some(v) = parts.next() {
                platform["variant"] = v.into();
            }
            serde_json::from_value(json!({"mediaType": super::super::MANIFEST, "size": n,
                "digest": crate::image::digest::Digest::of(text.as_bytes()), "platform": platform}))
            .unwrap()
        };
        platforms.iter().enumerate().map(one).collect()
    }

    fn chosen(platforms: &[&str], want: &str) -> Option<u64> {
        let all = index(platforms);
        choose(&all, &want.parse().unwrap()).ok().map(|d| d.size())
    }

    #[test]
    fn the_platform_that_was_asked_for() {
        let all = [
            "linux/amd64",
            "linux/arm64/v8",
            "linux/arm/v5",
            "linux/arm/v7",
            "windows/amd64",
        ];
        for (want, which) in [
            ("linux/amd64", Some(0)),
            ("amd64", Some(0)),
            ("x86_64", Some(0)),
            ("linux/amd64/v3", Some(0)),
            ("linux/arm64", Some(1)),
            ("aarch64", Some(1)),
            ("linux/arm64/v8", Some(1)),
            ("linux/arm64/v9", Some(1)),
            ("linux/arm", Some(3)),
            ("linux/arm/v6", Some(2)),
            ("arm/v6", Some(2)),
            ("linux/arm/v5", Some(2)),
            ("windows/amd64", Some(4)),
            ("linux/s390x", None),
        ] {
            assert_eq!(chosen(&all, want), which, "{want}");
        }
        assert_eq!(chosen(&["linux/amd64/v2"], "linux/amd64"), None);
        assert_eq!(chosen(&["linux/s390x"], "linux/s390x"), Some(0));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let all = index(&["linux/arm64/v8", "unknown/unknown", "linux/s390x"]);
        let e = choose(&all, &"linux/amd64".parse().unwrap()).unwrap_err();
        assert_eq!(
            e.reason(),
            "no image for linux/amd64: there is linux/arm64, linux/s390x"
        );
    }

    #[test]
    fn one_alone_needs_no_platform() {
        let mut all = index(&["linux/s390x"]);
        all[0].set_platform(None);
        assert!(choose(&all, &PlatformSpec::default()).is_ok());
        assert!(choose(&[], &PlatformSpec::default()).is_err());
    }

    #[test]
    fn platforms_are_written_as_docker_writes_them() {
        for (text, want) in [
            ("linux/arm/v7", "linux/arm"),
            ("linux/arm/6", "linux/arm/v6"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
        ] {
            assert_eq!(text.parse::<PlatformSpec>().unwrap().to_string(), want);
        }
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(bad.parse::<PlatformSpec>().is_err(), "{bad}");
        }
    }
}
