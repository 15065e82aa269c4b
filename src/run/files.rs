//! Files that a container gets beside its image: names of hosts, sources of what is bound.

use super::config::{Config, Network};
use super::folder::Folder;
use super::spec::hostname;
use super::user::open_in;
use super::volume::Volume;
use crate::image::volume::Volume as Stored;
use crate::sys::Loc;
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use rustix::fs::{AtFlags, OFlags};
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Makes `hosts`, `hostname` and `resolv.conf`.
pub fn names(folder: &Folder, config: &Config) -> Result<()> {
    let name = hostname(config);
    let put = |file: &str, text: &[u8]| {
        let path = folder.path(file);
        fs::write(&path, text).context(|| path.display().to_string())
    };
    let of_host =
        |file: &str| absent_ok(fs::read(Path::new("/etc").join(file)).map_err(Error::from));
    put("hostname", format!("{name}\n").as_bytes())?;
    let mut hosts = match config.network {
        Network::Host => of_host("hosts")?.unwrap_or_default(),
        Network::None => Vec::new(),
    };
    if hosts.is_empty() {
        hosts.extend_from_slice(
            b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
              ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
    }
    if config.network == Network::None {
        hosts.extend_from_slice(format!("127.0.0.1\t{name}\n").as_bytes());
    }
    put("hosts", &hosts)?;
    match of_host("resolv.conf")? {
        Some(text) => put("resolv.conf", &text),
        None => {
            absent_ok(fs::remove_file(folder.path("resolv.conf")).map_err(Error::from)).map(drop)
        }
    }
}

/// Sees to it that what is to be bound is there.
pub fn bind_sources(store: &Path, config: &Config) -> Result<()> {
    for volume in &config.volumes {
        let (source, make) = match volume {
            Volume::Bind { source, make, .. } => (source, make),
            Volume::Tmpfs { .. } => continue,
            Volume::Kept { name, .. } => {
                Stored::of(store, name)?;
                continue;
            }
        };
        match fs::metadata(source).map_err(Error::from) {
            Ok(_) => {}
            Err(e) if e.is(Errno::ENOENT) && *make => {
                fs::create_dir_all(source).context(|| source.display().to_string())?;
            }
            Err(e) => return Err(e.context(format!("what is to be mounted: {}", source.display()))),
        }
    }
    Ok(())
}

/// What is mounted on in every container, which an image need not have.
const MOUNTED_ON: &[&str] = &[
    "/proc",
    "/dev",
    "/sys",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc",
];

/// Of these places, those that are missing: the runtime makes them.
pub fn missing(root: BorrowedFd<'_>) -> Vec<String> {
    let is_missing =
        |path: &&str| open_in(root, path, OFlags::PATH).is_err_and(|e| e.is(Errno::ENOENT));
    let missing = MOUNTED_ON.iter().copied().filter(is_missing);
    missing.map(str::to_owned).collect()
}

/// Takes away what the runtime made to mount on, so that it is no change of the container. What has
/// something in it is somebody's, and stays.
pub fn remove_made(root: BorrowedFd<'_>, made: &[String]) -> Result<()> {
    for path in made {
        let name = path.trim_start_matches('/');
        let Some(st) = absent_ok(Loc::At(root, name.as_bytes()).stat()).context(|| path.clone())?
        else {
            continue;
        };
        let flags = match st.st_mode & libc::S_IFMT {
            libc::S_IFDIR => AtFlags::REMOVEDIR,
            libc::S_IFREG if st.st_size == 0 => AtFlags::empty(),
            _ => continue,
        };
        match rustix::fs::unlinkat(root, name, flags).map_err(Error::from) {
            Err(e) if e.is(Errno::ENOTEMPTY) => {}
            other => absent_ok(other).map(drop).context(|| path.clone())?,
        }
    }
    Ok(())
}
