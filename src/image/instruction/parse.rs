//! From text to instructions.

use super::health::Health;
use super::words::split;
use super::{Form, Instruction, Pairs, invalid};
use crate::vfs::Result;
use crate::vfs::error::Context;
use serde_json::Value;

/// Reads all instructions of a text: one a line. A line that ends with a backslash goes on in the
/// next; one that begins with `#` is a comment.
pub fn parse_all(text: &str) -> Result<Vec<Instruction>> {
    let mut all = Vec::new();
    let mut whole = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(begun) => whole.push_str(begun),
            None => {
                whole.push_str(line);
                all.push(parse(&std::mem::take(&mut whole))?);
            }
        }
    }
    if !whole.is_empty() {
        all.push(parse(&whole)?);
    }
    match all.is_empty() {
        true => Err(invalid("there is no instruction")),
        false => Ok(all),
    }
}

/// Reads one instruction.
pub fn parse(line: &str) -> Result<Instruction> {
    let line = line.trim();
    let (word, rest) = cut(line);
    let keyword = word.to_ascii_uppercase();
    instruction(&keyword, rest).context(|| format!("{line:?}"))
}

/// The first word, and what is behind it.
pub(super) fn cut(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}

fn instruction(keyword: &str, rest: &str) -> Result<Instruction> {
    let something = || match rest.is_empty() {
        true => Err(invalid("something has to follow")),
        false => Ok(rest.to_owned()),
    };
    Ok(match keyword {
        "CMD" => Instruction::Cmd(form(rest)?),
        "ENTRYPOINT" => Instruction::Entrypoint(form(rest)?),
        "ENV" => Instruction::Env(pairs(&something()?)?),
        "LABEL" => Instruction::Label(pairs(&something()?)?),
        "EXPOSE" => Instruction::Expose(words(&something()?)),
        "VOLUME" => Instruction::Volume(match list(&something()?) {
            Some(list) => list?,
            None => words(rest),
        }),
        "USER" => Instruction::User(something()?),
        "WORKDIR" => Instruction::Workdir(something()?),
        "STOPSIGNAL" => Instruction::StopSignal(something()?),
        "ONBUILD" => Instruction::Onbuild(trigger(something()?)?),
        "HEALTHCHECK" => Instruction::Healthcheck(Health::parse(&something()?)?),
        "FROM" | "RUN" | "COPY" | "ADD" | "ARG" | "SHELL" | "MAINTAINER" => {
            return Err(invalid(format!("{keyword} is for builds alone")));
        }
        _ => return Err(invalid(format!("no instruction {keyword:?}"))),
    })
}

/// A JSON list of texts; `None` for what is no JSON list, as docker sees it.
fn list(text: &str) -> Option<Result<Vec<String>>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let all: Vec<Value> = serde_json::from_str(text).ok()?;
    let word = |value| match value {
        Value::String(word) => Ok(word),
        other => Err(invalid(format!("{other} in the list is no text"))),
    };
    Some(all.into_iter().map(word).collect())
}

/// The exec form, or else a line for the shell.
pub(super) fn form(text: &str) -> Result<Form> {
    match list(text) {
        Some(words) => words.map(Form::Exec),
        None if text.is_empty() => Ok(Form::Exec(Vec::new())),
        None => Ok(Form::Shell(text.to_owned())),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `NAME=VALUE ...`, or `NAME VALUE` with all that follows as the value.
fn pairs(text: &str) -> Result<Pairs> {
    let words = split(text);
    if !words.first().is_some_and(|word| word.contains('=')) {
        let (name, value) = cut(text);
        return match value.is_empty() {
            true => Err(invalid(format!("{name}: a value has to follow"))),
            false => Ok(vec![(name.to_owned(), value.to_owned())]),
        };
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(invalid(format!("{word:?}: NAME=VALUE is expected"))),
    };
    words.into_iter().map(pair).collect()
}

fn trigger(text: String) -> Result<String> {
    let keyword = cut(&text).0.to_ascii_uppercase();
    match keyword.as_str() {
        "ONBUILD" => Err(invalid("ONBUILD within ONBUILD")),
        "FROM" | "MAINTAINER" => Err(invalid(format!("{keyword} within ONBUILD"))),
        _ => Ok(text),
    }
}
