//! Which system calls a container may make.
//!
//! The profile is the one that the machine has for podman and its kin, which is docker's
//! (`/etc/containers/seccomp.json`, `/usr/share/containers/seccomp.json`). Where there is none, a
//! container is refused what docker's profile is there to refuse: calls that change the machine
//! and not the container, or that have been ways out of one.

use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg,
    LinuxSeccompBuilder, LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;
use std::path::Path;

const PLACES: &[&str] = &[
    "/etc/containers/seccomp.json",
    "/usr/share/containers/seccomp.json",
];

/// A profile as containers' tools write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    arch_map: Vec<ArchMap>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The filter for a container with these capabilities.
pub fn filter(caps: &Capabilities) -> Result<LinuxSeccomp> {
    for place in PLACES {
        let what = || format!("seccomp profile {place}");
        let read = absent_ok(std::fs::read(Path::new(place)).map_err(Error::from));
        if let Some(text) = read.context(what)? {
            return of_profile(&text, caps).context(what);
        }
    }
    built_in(caps)
}

fn invalid(e: impl std::fmt::Display) -> Error {
    Error::because(Errno::EINVAL, e)
}

fn of_profile(text: &[u8], caps: &Capabilities) -> Result<LinuxSeccomp> {
    let profile: Profile = serde_json::from_slice(text).map_err(invalid)?;
    let mut syscalls = Vec::new();
    for rule in &profile.syscalls {
        if rule.includes.holds(caps, true)? && !rule.excludes.holds(caps, false)? {
            syscalls.push(rule.syscall()?);
        }
    }
    let mut built = LinuxSeccompBuilder::default()
        .default_action(profile.default_action)
        .syscalls(syscalls);
    if let Some(errno) = profile.default_errno_ret {
        built = built.default_errno_ret(errno);
    }
    let own = own_arch();
    if let Some(map) = profile
        .arch_map
        .iter()
        .find(|m| Some(m.architecture) == own)
    {
        // x32 is switched off in nearly every kernel, and each further one takes the runtime 7 ms
        let more = map.sub_architectures.iter().flatten().copied();
        let more = more.filter(|arch| *arch != Arch::ScmpArchX32);
        let arches: Vec<Arch> = std::iter::once(map.architecture).chain(more).collect();
        built = built.architectures(arches);
    }
    built.build().map_err(invalid)
}

impl Condition {
    /// True if it holds; with nothing in it, `empty`. Of capabilities all are meant in what
    /// includes, and any in what excludes.
    fn holds(&self, caps: &Capabilities, includes: bool) -> Result<bool> {
        let mut said = Vec::new();
        if let Some(names) = self.caps.as_ref().filter(|c| !c.is_empty()) {
            // one that nobody knows is one that the container does not have
            let has = |name: &String| super::caps::parse(name).is_ok_and(|c| caps.contains(&c));
            said.push(match includes {
                true => names.iter().all(has),
                false => names.iter().any(has),
            });
        }
        if let Some(arches) = self.arches.as_ref().filter(|a| !a.is_empty()) {
            said.push(arches.iter().any(|a| a == own_arch_name()));
        }
        if let Some(least) = &self.min_kernel {
            said.push(kernel()? >= version(least));
        }
        Ok(match includes {
            true => said.iter().all(|s| *s),
            false => said.iter().any(|s| *s),
        })
    }
}

impl Rule {
    fn syscall(&self) -> Result<LinuxSyscall> {
        let mut built = LinuxSyscallBuilder::default()
            .names(self.names.clone())
            .action(self.action);
        if let Some(errno) = self.errno_ret {
            built = built.errno_ret(errno);
        }
        if let Some(args) = self.args.as_ref().filter(|a| !a.is_empty()) {
            built = built.args(args.clone());
        }
        built.build().map_err(invalid)
    }
}

fn kernel() -> Result<(u32, u32)> {
    let uname = rustix::system::uname();
    Ok(version(&uname.release().to_string_lossy()))
}

fn version(text: &str) -> (u32, u32) {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// This machine in the words of the profile.
fn own_arch_name() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "x86",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn own_arch() -> Option<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Arch::ScmpArchX86_64),
        "x86" => Some(Arch::ScmpArchX86),
        "aarch64" => Some(Arch::ScmpArchAarch64),
        "arm" => Some(Arch::ScmpArchArm),
        "riscv64" => Some(Arch::ScmpArchRiscv64),
        "s390x" => Some(Arch::ScmpArchS390x),
        "powerpc64" => Some(Arch::ScmpArchPpc64le),
        _ => None,
    }
}

/// Refused, unless the container has the capability: the calls that docker's documentation lists.
const REFUSED: &[(Option<Capability>, &[&str])] = &[
    (
        Some(Capability::SysAdmin),
        &[
            "bpf",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (Some(Capability::DacReadSearch), &["open_by_handle_at"]),
    (Some(Capability::SysBoot), &["reboot"]),
    (
        Some(Capability::SysModule),
        &[
            "create_module",
            "delete_module",
            "finit_module",
            "init_module",
            "query_module",
        ],
    ),
    (Some(Capability::SysPacct), &["acct"]),
    (Some(Capability::SysRawio), &["ioperm", "iopl"]),
    (
        Some(Capability::SysTime),
        &["clock_adjtime", "clock_settime", "settimeofday", "stime"],
    ),
    (
        Some(Capability::SysNice),
        &[
            "get_mempolicy",
            "mbind",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    ),
    (Some(Capability::Syslog), &["syslog"]),
    (
        None,
        &[
            "add_key",
            "io_uring_enter",
            "io_uring_register",
            "io_uring_setup",
            "kexec_file_load",
            "kexec_load",
            "keyctl",
            "migrate_pages",
            "move_pages",
            "nfsservctl",
            "pivot_root",
            "request_key",
            "swapoff",
            "swapon",
            "sysfs",
            "_sysctl",
            "uselib",
            "userfaultfd",
            "ustat",
            "vm86",
            "vm86old",
        ],
    ),
];

/// `clone` with one of these makes a namespace.
const NEW_NAMESPACES: u64 = 0x7E02_0000;

fn built_in(caps: &Capabilities) -> Result<LinuxSeccomp> {
    const EPERM: u32 = libc::EPERM as u32;
    const ENOSYS: u32 = libc::ENOSYS as u32;
    let deny = |names: &[&str], errno: u32| {
        LinuxSyscallBuilder::default()
            .names(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
            .action(LinuxSeccompAction::ScmpActErrno)
            .errno_ret(errno)
    };
    let mut syscalls = Vec::new();
    for (needs, names) in REFUSED {
        if needs.is_none_or(|cap| !caps.contains(&cap)) {
            syscalls.push(deny(names, EPERM).build().map_err(invalid)?);
        }
    }
    if !caps.contains(&Capability::SysAdmin) {
        // a filter cannot look at what clone3 is given; who gets ENOSYS takes clone
        syscalls.push(deny(&["clone3"], ENOSYS).build().map_err(invalid)?);
        for flag in (0..64)
            .map(|bit| 1u64 << bit)
            .filter(|f| NEW_NAMESPACES & f != 0)
        {
            let arg: LinuxSeccompArg = serde_json::from_value(serde_json::json!({
                "index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ",
            }))
            .map_err(invalid)?;
            syscalls.push(
                deny(&["clone"], EPERM)
                    .args(vec![arg])
                    .build()
                    .map_err(invalid)?,
            );
        }
    }
    let built = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .syscalls(syscalls);
    match own_arch() {
        Some(Arch::ScmpArchX86_64) => {
            built.architectures(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86])
        }
        Some(arch) => built.architectures(vec![arch]),
        None => built,
    }
    .build()
    .map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["s390_runtime_instr"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
            {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "999.0"}},
            {"names": ["old"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "2.6"}},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]}
        ]}"#;

    fn rules(filter: &LinuxSeccomp) -> Vec<(String, LinuxSeccompAction)> {
        let syscalls = filter.syscalls().iter().flatten();
        syscalls
            .map(|s| (s.names().join(","), s.action()))
            .collect()
    }

    #[test]
    fn a_profile_depends_on_capabilities_machine_and_kernel() {
        let (allow, errno) = (
            LinuxSeccompAction::ScmpActAllow,
            LinuxSeccompAction::ScmpActErrno,
        );
        let rule = |name: &str, action| (name.to_owned(), action);
        let filter = of_profile(PROFILE.as_bytes(), &Capabilities::new()).unwrap();
        let machine = own_arch_name();
        if machine != "s390x" {
            let want = [
                rule("read", allow),
                rule("mount", errno),
                rule("old", allow),
                rule("personality", allow),
            ];
            assert_eq!(rules(&filter), want);
        }
        let filter = of_profile(PROFILE.as_bytes(), &[Capability::SysAdmin].into()).unwrap();
        assert!(rules(&filter).contains(&rule("mount", allow)));
        assert!(!rules(&filter).contains(&rule("mount", errno)));
        assert!(of_profile(b"{}", &Capabilities::new()).is_err());
    }

    #[test]
    fn without_a_profile_the_same_calls_are_refused() {
        let names = |caps: &Capabilities| {
            let filter = built_in(caps).unwrap();
            rules(&filter)
                .into_iter()
                .map(|r| r.0)
                .collect::<Vec<_>>()
                .join(",")
        };
        let none = names(&Capabilities::new());
        for name in [
            "mount",
            "unshare",
            "clone3",
            "bpf",
            "kexec_load",
            "open_by_handle_at",
        ] {
            assert!(none.split(',').any(|n| n == name), "{name}");
        }
        let admin = names(&[Capability::SysAdmin].into());
        assert!(!admin.split(',').any(|n| n == "mount" || n == "clone3"));
        assert!(admin.split(',').any(|n| n == "kexec_load"));
    }
}
