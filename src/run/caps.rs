//! Capabilities: docker's default, what is added and taken away, and what there is to give.

use super::config::Config;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};
use rustix::thread::CapabilitySet;

/// What docker gives.
const DEFAULT: &[Capability] = &[
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

const ALL: &str = "ALL";

/// A capability by its name, with `CAP_` or without.
pub fn parse(text: &str) -> Result<Capability> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    name.parse()
        .map_err(|_| Error::because(Errno::EINVAL, format!("no capability {text:?}")))
}

/// Refuses what is no name of capabilities.
pub fn check(names: &[String]) -> Result<()> {
    let real = |name: &&String| !name.eq_ignore_ascii_case(ALL);
    names
        .iter()
        .filter(real)
        .try_for_each(|name| parse(name).map(drop))
}

/// The capabilities that this process has to give.
pub fn all() -> Result<Capabilities> {
    let sets = rustix::thread::capabilities(None)?;
    let named = sets.permitted.iter_names();
    Ok(named
        .filter_map(|(name, _): (&str, CapabilitySet)| name.parse().ok())
        .collect())
}

/// The capabilities that a container gets. One that is asked for by name and is not there to give
/// is an error; others are left out.
pub fn of(config: &Config) -> Result<Capabilities> {
    let own = all()?;
    let has_all = |names: &[String]| names.iter().any(|n| n.eq_ignore_ascii_case(ALL));
    let named = |names: &[String]| -> Result<Vec<Capability>> {
        let real = names.iter().filter(|n| !n.eq_ignore_ascii_case(ALL));
        real.map(|n| parse(n)).collect()
    };
    let (add, drop) = (named(&config.cap_add)?, named(&config.cap_drop)?);
    if let Some(missing) = add.iter().find(|cap| !own.contains(*cap)) {
        let why = format!("--cap-add {missing}: this process has no such capability to give");
        return Err(Error::because(Errno::EPERM, why));
    }
    let base: Capabilities = match () {
        () if config.privileged || has_all(&config.cap_add) => own.clone(),
        () if has_all(&config.cap_drop) => Capabilities::new(),
        () => DEFAULT
            .iter()
            .copied()
            .filter(|c| own.contains(c))
            .collect(),
    };
    if config.privileged {
        return Ok(base);
    }
    Ok(base
        .into_iter()
        .filter(|cap| !drop.contains(cap))
        .chain(add.iter().copied())
        .collect())
}

/// How a process gets them: root has them all; another user has none until it runs a program that
/// gives it some.
pub fn for_process(caps: &Capabilities, uid: u32) -> Result<LinuxCapabilities> {
    let active = match uid {
        0 => caps.clone(),
        _ => Capabilities::new(),
    };
    LinuxCapabilitiesBuilder::default()
        .bounding(caps.clone())
        .effective(active.clone())
        .permitted(active)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
        .map_err(|e| Error::because(Errno::EINVAL, format!("capabilities: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_prefix_or_not() {
        assert_eq!(parse("net_admin").unwrap(), Capability::NetAdmin);
        assert_eq!(parse("CAP_NET_ADMIN").unwrap(), Capability::NetAdmin);
        assert!(parse("NET").is_err());
        check(&["all".into(), "CHOWN".into()]).unwrap();
        assert!(check(&["CAP_ALL_OF_THEM".into()]).is_err());
    }

    #[test]
    fn adding_and_dropping() {
        let own = super::all().unwrap();
        if !own.contains(&Capability::NetAdmin) {
            return; // not root: there is nothing to give
        }
        let with = |add: &[&str], drop: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
            of(&Config {
                cap_add: list(add),
                cap_drop: list(drop),
                ..Config::default()
            })
            .unwrap()
        };
        assert!(with(&[], &[]).contains(&Capability::Chown));
        assert!(!with(&[], &[]).contains(&Capability::SysAdmin));
        assert_eq!(with(&[], &["ALL"]).len(), 0);
        assert_eq!(with(&["chown"], &["all"]), [Capability::Chown].into());
        let most = with(&["ALL"], &["CHOWN"]);
        assert!(most.contains(&Capability::SysAdmin) && !most.contains(&Capability::Chown));
        assert!(
            for_process(&most, 1)
                .unwrap()
                .effective()
                .as_ref()
                .unwrap()
                .is_empty()
        );
    }
}
