//! `HEALTHCHECK`: how to tell whether a container is well.

use super::parse::{cut, form};
use super::{Form, invalid};
use crate::vfs::Result;
use crate::vfs::error::Context;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Shortest time between two checks that docker takes.
const SHORTEST: Duration = Duration::from_millis(1);

/// A health check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What is run; nothing to switch off what the image has.
    pub test: Option<Form>,
    times: Vec<(&'static str, Duration)>,
    retries: Option<u32>,
}

impl Health {
    /// Reads what follows the keyword: `NONE`, or options and `CMD` with a command.
    pub fn parse(text: &str) -> Result<Health> {
        let mut health = Health::default();
        let mut rest = text;
        loop {
            let (word, after) = cut(rest);
            let Some(option) = word.strip_prefix("--") else {
                break;
            };
            health.option(option).context(|| word.to_owned())?;
            rest = after;
        }
        let (word, command) = cut(rest);
        match word.to_ascii_uppercase().as_str() {
            "NONE" if !command.is_empty() || health != Health::default() => {
                Err(invalid("NONE stands alone"))
            }
            "NONE" => Ok(health),
            "CMD" if command.is_empty() => Err(invalid("a command has to follow CMD")),
            "CMD" => {
                health.test = Some(form(command)?);
                Ok(health)
            }
            other => Err(invalid(format!("{other:?}: NONE or CMD is expected"))),
        }
    }

    fn option(&mut self, option: &str) -> Result<()> {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| invalid("=VALUE is missing"))?;
        let field = match name {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => {
                let retries = value.parse();
                self.retries = Some(retries.map_err(|_| invalid("a number is expected"))?);
                return Ok(());
            }
            _ => return Err(invalid("no such option")),
        };
        let time = duration(value)?;
        if !time.is_zero() && time < SHORTEST {
            return Err(invalid("at least 1ms is expected"));
        }
        self.times.push((field, time));
        Ok(())
    }

    /// As a configuration has it. A zero, as docker has it, is what is left to its default.
    pub fn to_json(&self) -> Value {
        let test = match &self.test {
            None => json!(["NONE"]),
            Some(Form::Shell(line)) => json!(["CMD-SHELL", line]),
            Some(Form::Exec(words)) => {
                let all = std::iter::once("CMD").chain(words.iter().map(String::as_str));
                all.collect()
            }
        };
        let mut out = Map::new();
        out.insert("Test".into(), test);
        for (field, time) in self.times.iter().filter(|(_, time)| !time.is_zero()) {
            let nanoseconds = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
            out.insert((*field).into(), nanoseconds.into());
        }
        if let Some(retries) = self.retries.filter(|n| *n > 0) {
            out.insert("Retries".into(), retries.into());
        }
        Value::Object(out)
    }
}

/// A length of time as Go writes it: `1m30s`, `1.5h`, `500ms`.
fn duration(text: &str) -> Result<Duration> {
    let bad = || {
        invalid(format!(
            "{text:?}: a length of time is expected, as 30s or 1m30s"
        ))
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let (number, behind) = rest.split_at(digits);
        let end = behind
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(behind.len());
        let (unit, after) = behind.split_at(end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        let number: f64 = number.parse().map_err(|_| bad())?;
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| bad())?;
        total = total.checked_add(part).ok_or_else(bad)?;
        rest = after;
    }
    match text.is_empty() || i64::try_from(total.as_nanos()).is_err() {
        true => Err(bad()),
        false => Ok(total),
    }
}
