//! Files that a container gets beside its image: names of hosts, anonymous volumes, sources of binds.

use super::config::{Config, Network};
use super::folder::Folder;
use super::spec::hostname;
use super::user::open_in;
use super::volume::Volume;
use crate::sys::Loc;
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use oci_spec::image::ImageConfiguration;
use rustix::fs::{AtFlags, OFlags};
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
pub fn bind_sources(config: &Config) -> Result<()> {
    for volume in &config.volumes {
        let Volume::Bind { source, make, .. } = volume else {
            continue;
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

/// Where the image or the user wants a volume, and nobody says which.
fn anonymous(config: &Config, image: &ImageConfiguration) -> Vec<String> {
    let of_image = image.config().as_ref().and_then(|c| c.volumes().clone());
    let mut targets = of_image.unwrap_or_default();
    targets.retain(|t| t.starts_with('/') && t != "/");
    targets.sort();
    for volume in &config.volumes {
        match volume {
            Volume::Anonymous { target } => targets.push(target.clone()),
            other => {
                targets.retain(|t| t.trim_end_matches('/') != other.target().trim_end_matches('/'))
            }
        }
    }
    targets.dedup();
    targets
}

/// Makes the directories of anonymous volumes where they are missing; a new one begins with what the
/// image has there.
pub fn volumes(
    folder: &Folder,
    config: &Config,
    image: &ImageConfiguration,
    root: BorrowedFd<'_>,
) -> Result<Vec<(String, PathBuf)>> {
    let mut made = Vec::new();
    for (n, target) in anonymous(config, image).into_iter().enumerate() {
        let place = folder.path("volumes").join(n.to_string());
        if !place.exists() {
            let stage = folder.path("volumes").join(format!("{n}.new"));
            super::folder::remove_tree(&stage)?;
            fs::create_dir_all(&stage).context(|| stage.display().to_string())?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            if let Some(from) = absent_ok(open_in(root, &target, flags))
                .context(|| format!("volume {target} in the image"))?
            {
                let from = format!("/proc/{}/fd/{}", std::process::id(), from.as_raw_fd());
                fill(Path::new(&from), &stage).context(|| format!("volume {target}"))?;
            }
            fs::rename(&stage, &place).context(|| place.display().to_string())?;
        }
        made.push((target, place));
    }
    Ok(made)
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

/// Copies all of a directory, with the directory's own attributes.
fn fill(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("cp")
        .args(["-a", "--reflink=auto", "--", "."])
        .arg(to)
        .current_dir(from)
        .stdin(Stdio::null())
        .output()
        .context(|| "cp")?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Error::because(
                Errno::EIO,
                format!("copying: {}", said.trim()),
            ))
        }
    }
}
