//! What instructions do to a configuration.

use super::words::expand;
use super::{Form, Instruction, Pairs, invalid};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

/// Most ports that one range may name: all that there are.
const PORTS: std::ops::RangeInclusive<u32> = 1..=65535;

/// What the configuration's kind has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// OCI's: no health check, no triggers.
    Oci,
    /// Docker's: all.
    Docker,
}

/// A configuration that is being changed.
#[derive(Debug)]
pub struct Edit<'c> {
    /// How to run it: the field `config` of the document.
    run: &'c mut Map<String, Value>,
    keeps: Keeps,
    /// The command was set by an instruction, so an entry point leaves it.
    own_cmd: bool,
}

impl<'c> Edit<'c> {
    /// Begins to change a configuration document.
    pub fn new(document: &'c mut Value, keeps: Keeps) -> Result<Edit<'c>> {
        let bad = || Error::because(Errno::EBADMSG, "the configuration is no JSON object");
        let document = document.as_object_mut().ok_or_else(bad)?;
        let run = document.entry("config").or_insert(Value::Null);
        if run.is_null() {
            *run = json!({});
        }
        let run = run.as_object_mut().ok_or_else(bad)?;
        Ok(Edit {
            run,
            keeps,
            own_cmd: false,
        })
    }

    /// Does what one instruction says.
    pub fn apply(&mut self, instruction: &Instruction) -> Result<()> {
        match instruction {
            Instruction::Cmd(form) => {
                self.own_cmd = true;
                self.set("Cmd", self.command(form));
            }
            Instruction::Entrypoint(form) => {
                self.set("Entrypoint", self.command(form));
                // that of the image was meant for the image's entry point
                if !self.own_cmd {
                    self.run.remove("Cmd");
                }
            }
            Instruction::Env(pairs) => self.env(pairs).context(|| "ENV")?,
            Instruction::Label(pairs) => self.label(pairs).context(|| "LABEL")?,
            Instruction::Expose(words) => self.expose(words).context(|| "EXPOSE")?,
            Instruction::Volume(words) => self.volume(words).context(|| "VOLUME")?,
            Instruction::User(text) => self.text("User", text).context(|| "USER")?,
            Instruction::Workdir(text) => self.workdir(text).context(|| "WORKDIR")?,
            Instruction::StopSignal(text) => {
                let signal = self.expand(text)?;
                check_signal(&signal).context(|| "STOPSIGNAL")?;
                self.set("StopSignal", signal.into());
            }
            Instruction::Onbuild(trigger) => {
                if self.is_kept("ONBUILD") {
                    self.list("OnBuild").push(trigger.as_str().into());
                }
            }
            Instruction::Healthcheck(health) => {
                if self.is_kept("HEALTHCHECK") {
                    self.set("Healthcheck", health.to_json());
                }
            }
        }
        Ok(())
    }

    fn is_kept(&self, what: &str) -> bool {
        if self.keeps == Keeps::Oci {
            log::warn!(
                "{what} is ignored: an OCI image has no room for it; one of Docker's types has"
            );
        }
        self.keeps == Keeps::Docker
    }

    fn set(&mut self, field: &str, value: Value) {
        self.run.insert(field.into(), value);
    }

    fn list(&mut self, field: &str) -> &mut Vec<Value> {
        let list = self.run.entry(field).or_insert(Value::Null);
        if !list.is_array() {
            *list = json!([]);
        }
        match list {
            Value::Array(list) => list,
            _ => unreachable!("it was made one"),
        }
    }

    fn map(&mut self, field: &str) -> &mut Map<String, Value> {
        let map = self.run.entry(field).or_insert(Value::Null);
        if !map.is_object() {
            *map = json!({});
        }
        match map {
            Value::Object(map) => map,
            _ => unreachable!("it was made one"),
        }
    }

    /// The words to execute. A line is for the image's shell.
    fn command(&self, form: &Form) -> Value {
        match form {
            Form::Exec(words) => words.clone().into(),
            Form::Shell(line) => {
                let shell = self.run.get("Shell").and_then(Value::as_array);
                let mut words = match shell {
                    Some(shell) if !shell.is_empty() => shell.clone(),
                    _ => vec!["/bin/sh".into(), "-c".into()],
                };
                words.push(line.as_str().into());
                words.into()
            }
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        let all = self.run.get("Env")?.as_array()?;
        let mut pairs = all.iter().filter_map(|v| v.as_str()?.split_once('='));
        pairs
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value.to_owned())
    }

    fn expand(&self, text: &str) -> Result<String> {
        expand(text, &|name| self.variable(name))
    }

    /// All of one instruction see the variables as they were before it.
    fn expand_pairs(&self, pairs: &Pairs) -> Result<Pairs> {
        let both = |(name, value): &(String, String)| {
            let name = self.expand(name)?;
            match name.is_empty() {
                true => Err(invalid("an empty name")),
                false => Ok((name, self.expand(value)?)),
            }
        };
        pairs.iter().map(both).collect()
    }

    fn env(&mut self, pairs: &Pairs) -> Result<()> {
        for (name, value) in self.expand_pairs(pairs)? {
            let all = self.list("Env");
            let line = Value::from(format!("{name}={value}"));
            let is = |v: &&mut Value| {
                let own = v.as_str().and_then(|v| v.split_once('='));
                own.is_some_and(|(own, _)| own == name)
            };
            match all.iter_mut().find(is) {
                Some(place) => *place = line,
                None => all.push(line),
            }
        }
        Ok(())
    }

    fn label(&mut self, pairs: &Pairs) -> Result<()> {
        for (name, value) in self.expand_pairs(pairs)? {
            self.map("Labels").insert(name, value.into());
        }
        Ok(())
    }

    fn expose(&mut self, words: &[String]) -> Result<()> {
        for word in words {
            // a variable may hold several
            for port in self.expand(word)?.split_whitespace() {
                for port in ports(port)? {
                    self.map("ExposedPorts").insert(port, json!({}));
                }
            }
        }
        Ok(())
    }

    fn volume(&mut self, words: &[String]) -> Result<()> {
        for word in words {
            let volume = self.expand(word)?;
            if volume.trim().is_empty() {
                return Err(invalid("an empty name"));
            }
            self.map("Volumes").insert(volume, json!({}));
        }
        Ok(())
    }

    fn text(&mut self, field: &str, text: &str) -> Result<()> {
        let text = self.expand(text)?;
        self.set(field, text.into());
        Ok(())
    }

    /// A relative one begins at the one before.
    fn workdir(&mut self, text: &str) -> Result<()> {
        let given = self.expand(text)?;
        if given.is_empty() {
            return Err(invalid("an empty path"));
        }
        let before = self.run.get("WorkingDir").and_then(Value::as_str);
        let whole = match given.starts_with('/') {
            true => given,
            false => format!("{}/{given}", before.unwrap_or_default()),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in whole.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        let clean = format!("/{}", parts.join("/"));
        self.set("WorkingDir", clean.into());
        Ok(())
    }
}

/// `80`, `53/udp`, `8000-8010/tcp`: each with its protocol.
fn ports(text: &str) -> Result<Vec<String>> {
    let bad = || {
        let why =
            "a port from 1 to 65535, or a range, is expected, and perhaps /tcp, /udp or /sctp";
        invalid(format!("{text:?}: {why}"))
    };
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| {
        let number = text.parse().ok().filter(|n| PORTS.contains(n));
        number.ok_or_else(bad)
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last || !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(bad());
    }
    Ok((first..=last).map(|n| format!("{n}/{protocol}")).collect())
}

fn check_signal(text: &str) -> Result<()> {
    if text.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n)) {
        return Ok(());
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let realtime = |from: &str, sign| {
        let rest = name.strip_prefix(from)?;
        let ok = |n: &str| n.parse::<u8>().is_ok_and(|n| (1..=15).contains(&n));
        Some(rest.is_empty() || rest.strip_prefix(sign).is_some_and(ok))
    };
    let known = realtime("RTMIN", '+')
        .or_else(|| realtime("RTMAX", '-'))
        .unwrap_or_else(|| format!("SIG{name}").parse::<Signal>().is_ok());
    match known {
        true => Ok(()),
        false => Err(invalid(format!("{text:?} is no signal"))),
    }
}
