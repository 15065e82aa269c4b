//! Names of images, as people write them and as they are kept.
//!
//! A *reference* is `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`. The grammar, the limits and the defaults
//! are those of `distribution/reference`, which docker, containerd and podman share: a first part
//! with a dot, a colon or a capital in it, or `localhost`, is a host; without a host it is
//! `docker.io`, and there a name of one part is in `library`. A [`Reference`] is always held in that
//! normalised form, so two that are equal name the same; [`Reference::familiar`] is the short
//! form for people.
//!
//! An *image ID* is the digest of the image's configuration. People write its first digits: an
//! [`IdPrefix`].

use super::digest::Digest;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fmt;
use std::str::FromStr;

const DEFAULT_HOST: &str = "docker.io";
/// What old clients called the default host.
const LEGACY_HOST: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Longest path of a repository, in bytes.
pub const PATH_MAX: usize = 255;
/// Longest tag, in bytes.
pub const TAG_MAX: usize = 128;

/// The name of an image, normalised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// `docker.io`, or what was named: host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository there: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, if there is one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Host and path: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// Host and path as people write them: `debian`.
    pub fn familiar_name(&self) -> String {
        if self.host != DEFAULT_HOST {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            // a first part that would be taken for a host cannot stand alone
            _ if self.path.split('/').next().is_some_and(looks_like_host) => self.name(),
            _ => self.path.clone(),
        }
    }

    /// As people write it: `debian:12`.
    pub fn familiar(&self) -> String {
        self.with_name(self.familiar_name())
    }

    /// With the tag `latest`, if it has neither tag nor digest.
    #[must_use]
    pub fn tagged(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository, by this digest alone.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Reference {
        Reference {
            host: self.host.clone(),
            path: self.path.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// True if both are of one repository.
    pub fn same_repository(&self, other: &Reference) -> bool {
        self.host == other.host && self.path == other.path
    }

    fn with_name(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    /// The whole, normalised name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_name(self.name()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        let bad = |why: &str| Error::because(Errno::EINVAL, format!("image name {text:?}: {why}"));
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.len() == 64 && text.bytes().all(is_hex) {
            return Err(bad("64 hexadecimal digits are an image ID, not a name"));
        }
        let (host, rest) = split_host(text);
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest.as_str(), None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if path.bytes().any(|c| c.is_ascii_uppercase()) {
            return Err(bad("a repository is written in lower case"));
        }
        if !is_host(&host) {
            return Err(bad(&format!("{host:?} is no host name")));
        }
        if let Some(part) = path.split('/').find(|part| !is_component(part)) {
            return Err(bad(&format!(
                "{part:?} is no part of a repository's path: letters and digits, with single '.' or '_', '__' or any \
                 number of '-' between them"
            )));
        }
        if path.len() > PATH_MAX {
            return Err(bad(&format!(
                "its path is longer than {PATH_MAX} characters"
            )));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(bad(&format!(
                "{tag:?} is no tag: letters, digits, '_', and after the first '.' and '-', {TAG_MAX} at most"
            )));
        }
        Ok(Reference {
            host,
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest
                .map(|d| d.parse::<Digest>().map_err(|e| bad(e.reason())))
                .transpose()?,
        })
    }
}

/// Host and the rest, with what is implied written out.
fn split_host(text: &str) -> (String, String) {
    let (host, rest) = match text.split_once('/') {
        Some((LEGACY_HOST, rest)) => (DEFAULT_HOST, rest),
        Some((first, rest)) if looks_like_host(first) => (first, rest),
        _ => (DEFAULT_HOST, text),
    };
    if host == DEFAULT_HOST && !rest.contains('/') {
        return (host.to_owned(), format!("{OFFICIAL}{rest}"));
    }
    (host.to_owned(), rest.to_owned())
}

fn looks_like_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|c| c.is_ascii_uppercase())
}

fn is_hex(c: u8) -> bool {
    matches!(c, b'0'..=b'9' | b'a'..=b'f')
}

/// A host name, an IPv4 address or an IPv6 address in brackets, and perhaps a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, after)) = rest.split_once(']') else {
                return false;
            };
            if address.is_empty() || !address.bytes().all(|c| c.is_ascii_hexdigit() || c == b':') {
                return false;
            }
            match after.strip_prefix(':') {
                None if after.is_empty() => return true,
                None => return false,
                Some(port) => return is_port(port),
            }
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

/// Runs of lower-case letters and digits, with a separator between each two.
fn is_component(part: &str) -> bool {
    let separator = |c: char| matches!(c, '.' | '_' | '-');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good_separator =
        |s: &str| matches!(s, "." | "_" | "__") || (!s.is_empty() && s.bytes().all(|c| c == b'-'));
    if !part.chars().all(|c| plain(c) || separator(c)) {
        return false;
    }
    part.starts_with(plain)
        && part.ends_with(plain)
        && part
            .split(plain)
            .filter(|s| !s.is_empty())
            .all(good_separator)
}

fn is_tag(tag: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|c| word(c) || matches!(c, b'.' | b'-'))
}

/// The first digits of an image ID, with or without `sha256:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPrefix(String);

impl IdPrefix {
    /// Reads it; nothing if it cannot be one.
    pub fn parse(text: &str) -> Option<IdPrefix> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let good = (1..=64).contains(&hex.len()) && hex.bytes().all(is_hex);
        good.then(|| IdPrefix(hex.to_owned()))
    }

    /// True if the ID begins so.
    pub fn fits(&self, id: Digest) -> bool {
        id.hex().starts_with(&self.0)
    }

    /// True if it is a whole ID.
    pub fn is_whole(&self) -> bool {
        self.0.len() == 64
    }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
