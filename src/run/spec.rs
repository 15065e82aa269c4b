//! The runtime's configuration of a container, `config.json`, in docker's sense of what a container
//! may see and do.

use super::config::{Config, Network};
use super::folder::Folder;
use super::limits::Limits;
use super::volume::{Volume, mount};
use super::{caps, cgroup, devices, process, seccomp};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{
    Capabilities, Linux, LinuxBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder,
    LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, LinuxSeccomp, Mount, RootBuilder,
    Spec, SpecBuilder, get_default_maskedpaths, get_default_readonly_paths,
};
use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// What a configuration is made of.
pub struct Parts<'a> {
    /// What is asked for.
    pub config: &'a Config,
    /// What the image says.
    pub image: &'a ImageConfiguration,
    /// Where the container's files are.
    pub folder: &'a Folder,
    /// The root file system.
    pub root: BorrowedFd<'a>,
    /// Its path.
    pub root_path: &'a Path,
    /// The store, which has the volumes.
    pub store: &'a Path,
    /// The host's program that is the init process, if one is asked for.
    pub init: Option<&'a Path>,
    /// What its processes may do.
    pub rights: &'a Rights,
    /// This process is root in a user namespace only.
    pub rootless: bool,
}

/// What the processes of a container may do.
pub struct Rights {
    caps: Capabilities,
    filter: Option<LinuxSeccomp>,
}

impl Rights {
    /// As it was asked for.
    pub fn of(config: &Config) -> Result<Rights> {
        let caps = caps::of(config)?;
        let filter = match config.privileged {
            true => None,
            false => Some(seccomp::filter(&caps)?),
        };
        Ok(Rights { caps, filter })
    }
}

fn invalid(e: impl std::fmt::Display) -> Error {
    Error::because(Errno::EINVAL, format!("configuration for the runtime: {e}"))
}

/// The host name of a container.
pub fn hostname(config: &Config) -> String {
    match (&config.hostname, config.network) {
        (Some(name), _) => name.clone(),
        (None, Network::Host) => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        (None, Network::None) => config.id.get(..12).unwrap_or(&config.id).to_owned(),
    }
}

impl Parts<'_> {
    /// The configuration.
    pub fn spec(&self) -> Result<Spec> {
        let caps = &self.rights.caps;
        let name = hostname(self.config);
        let root = RootBuilder::default()
            .path(self.root_path)
            .readonly(self.config.read_only)
            .build()
            .map_err(invalid)?;
        SpecBuilder::default()
            .version("1.0.2")
            .root(root)
            .hostname(name.clone())
            .process(process::first(
                self.root,
                self.config,
                self.image,
                &name,
                caps,
            )?)
            .mounts(self.mounts()?)
            .annotations(self.labels())
            .linux(self.linux()?)
            .build()
            .map_err(invalid)
    }

    fn labels(&self) -> HashMap<String, String> {
        let of_image = self
            .image
            .config()
            .as_ref()
            .and_then(|c| c.labels().clone());
        let mut labels = of_image.unwrap_or_default();
        let asked = self.config.labels.iter();
        labels.extend(asked.map(|(name, value)| (name.clone(), value.clone())));
        labels.retain(|name, _| !name.is_empty());
        labels
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        let mut mounts = self.system_mounts()?;
        for name in ["hosts", "hostname", "resolv.conf"] {
            let source = self.folder.path(name);
            if source.exists() {
                let options = ["rbind", "rprivate"].map(str::to_owned).into();
                mounts.push(mount(&format!("/etc/{name}"), "bind", &source, options)?);
            }
        }
        if let Some(init) = self.init {
            let options = ["bind", "ro", "nosuid", "nodev"].map(str::to_owned).into();
            mounts.push(mount(process::INIT, "bind", init, options)?);
        }
        // what is mounted in something else comes after it, in whatever order they were asked for
        let mut volumes: Vec<&Volume> = self.config.volumes.iter().collect();
        volumes.sort_by_key(|v| {
            v.target()
                .split('/')
                .filter(|part| !part.is_empty())
                .count()
        });
        for volume in volumes {
            mounts.push(volume.mount(self.store)?);
        }
        // what is asked for in the place of something else is what there is
        let mut seen: Vec<PathBuf> = Vec::new();
        mounts.reverse();
        mounts.retain(|m| {
            let first = !seen.contains(m.destination());
            seen.push(m.destination().clone());
            first
        });
        mounts.reverse();
        Ok(mounts)
    }

    fn system_mounts(&self) -> Result<Vec<Mount>> {
        let one = |target: &str, kind: &str, source: &str, options: &str| {
            let options = options.split(',').map(str::to_owned).collect();
            mount(target, kind, Path::new(source), options)
        };
        let access = if self.config.privileged { "rw" } else { "ro" };
        let mut mounts = vec![
            one("/proc", "proc", "proc", "nosuid,noexec,nodev")?,
            one(
                "/dev",
                "tmpfs",
                "tmpfs",
                "nosuid,strictatime,mode=755,size=65536k",
            )?,
            one(
                "/dev/pts",
                "devpts",
                "devpts",
                "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            )?,
            one(
                "/dev/shm",
                "tmpfs",
                "shm",
                "nosuid,noexec,nodev,mode=1777,size=65536k",
            )?,
            one("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev")?,
        ];
        // sysfs shows a network namespace, and only its owner may mount it
        if self.rootless && self.config.network == Network::Host {
            let options = format!("rbind,nosuid,noexec,nodev,{access}");
            mounts.push(one("/sys", "bind", "/sys", &options)?);
        } else {
            let options = format!("nosuid,noexec,nodev,{access}");
            mounts.push(one("/sys", "sysfs", "sysfs", &options)?);
        }
        if !self.rootless {
            let options = format!("nosuid,noexec,nodev,relatime,{access}");
            mounts.push(one("/sys/fs/cgroup", "cgroup", "cgroup", &options)?);
        }
        Ok(mounts)
    }

    fn linux(&self) -> Result<Linux> {
        let mut linux = LinuxBuilder::default()
            .namespaces(self.namespaces()?)
            .resources(self.resources()?);
        if !self.rootless {
            linux = linux.cgroups_path(cgroup::path(&self.config.id));
        }
        if self.config.privileged {
            if !self.rootless {
                linux = linux.devices(devices::of_host()?);
            }
        } else {
            let mut masked = get_default_maskedpaths();
            masked.push("/sys/devices/virtual/powercap".to_owned());
            linux = linux
                .masked_paths(masked)
                .readonly_paths(get_default_readonly_paths());
        }
        if let Some(filter) = &self.rights.filter {
            linux = linux.seccomp(filter.clone());
        }
        linux.build().map_err(invalid).map(|mut linux| {
            if self.config.privileged {
                linux.set_masked_paths(None).set_readonly_paths(None);
            }
            linux
        })
    }

    fn namespaces(&self) -> Result<Vec<LinuxNamespace>> {
        let mut kinds = vec![
            LinuxNamespaceType::Pid,
            LinuxNamespaceType::Ipc,
            LinuxNamespaceType::Uts,
            LinuxNamespaceType::Mount,
        ];
        if self.config.network == Network::None {
            kinds.push(LinuxNamespaceType::Network);
        }
        if cgroup::is_unified() && !self.rootless {
            kinds.push(LinuxNamespaceType::Cgroup);
        }
        let one = |kind| LinuxNamespaceBuilder::default().typ(kind).build();
        kinds
            .into_iter()
            .map(|kind| one(kind).map_err(invalid))
            .collect()
    }

    fn resources(&self) -> Result<LinuxResources> {
        let limits = &self.config.limits;
        if self.rootless && !limits.is_none() {
            let why = "--memory, --cpus and --pids-limit need root: this user has no control group";
            return Err(Error::because(Errno::EPERM, why));
        }
        let all = LinuxDeviceCgroupBuilder::default()
            .allow(self.config.privileged)
            .access("rwm")
            .build()
            .map_err(invalid)?;
        let mut built = LinuxResourcesBuilder::default();
        if !self.rootless {
            built = built.devices(vec![all]);
        }
        let Limits { memory, cpus, pids } = *limits;
        if let Some(limit) = memory {
            let memory = LinuxMemoryBuilder::default().limit(limit);
            built = built.memory(memory.build().map_err(invalid)?);
        }
        if let Some(thousandths) = cpus {
            const PERIOD: u64 = 100_000;
            let cpu = LinuxCpuBuilder::default()
                .period(PERIOD)
                .quota(i64::from(thousandths) * 100);
            built = built.cpu(cpu.build().map_err(invalid)?);
        }
        if let Some(limit) = pids {
            built = built.pids(
                LinuxPidsBuilder::default()
                    .limit(limit)
                    .build()
                    .map_err(invalid)?,
            );
        }
        let mut resources = built.build().map_err(invalid)?;
        if self.rootless {
            resources.set_devices(None);
        }
        Ok(resources)
    }
}
