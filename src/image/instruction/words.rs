//! Words: where they end, and what is in them once quotes are away and variables have their values.

use super::invalid;
use crate::vfs::Result;
use std::iter::Peekable;
use std::str::Chars;

/// Splits at blanks that are not in quotes. Quotes and backslashes stay.
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c.is_whitespace() && quote.is_none() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        word.push(c);
        match (c, quote) {
            // within single quotes a backslash means itself
            ('\\', None | Some('"')) => word.extend(chars.next()),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            _ => {}
        }
    }
    words.extend(word);
    words
}

/// The value of a variable.
pub type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// Takes quotes and backslashes away, and puts variables in.
pub fn expand(text: &str, lookup: Lookup<'_>) -> Result<String> {
    let mut expander = Expander {
        chars: text.chars().peekable(),
        lookup,
    };
    expander.until(None)
}

struct Expander<'e> {
    chars: Peekable<Chars<'e>>,
    lookup: Lookup<'e>,
}

impl Expander<'_> {
    /// To the end, or to this mark, which is taken.
    fn until(&mut self, end: Option<char>) -> Result<String> {
        let mut out = String::new();
        while let Some(c) = self.chars.next() {
            match c {
                c if Some(c) == end => return Ok(out),
                '\'' => self.single(&mut out)?,
                '"' => self.double(&mut out)?,
                '$' => out.push_str(&self.variable()?),
                '\\' => out.extend(self.chars.next()),
                c => out.push(c),
            }
        }
        match end {
            None => Ok(out),
            Some(end) => Err(invalid(format!("{end:?} is missing"))),
        }
    }

    fn single(&mut self, out: &mut String) -> Result<()> {
        loop {
            match self.chars.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
                None => return Err(invalid("a single quote is not closed")),
            }
        }
    }

    fn double(&mut self, out: &mut String) -> Result<()> {
        loop {
            match self.chars.next() {
                Some('"') => return Ok(()),
                Some('$') => out.push_str(&self.variable()?),
                Some('\\') => match self.chars.next_if(|c| matches!(c, '"' | '$' | '\\')) {
                    Some(c) => out.push(c),
                    None => out.push('\\'),
                },
                Some(c) => out.push(c),
                None => return Err(invalid("a double quote is not closed")),
            }
        }
    }

    /// What stands behind a dollar. One without a name means itself.
    fn variable(&mut self) -> Result<String> {
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        let name = self.name();
        match name.is_empty() {
            true => Ok("$".into()),
            false => Ok((self.lookup)(&name).unwrap_or_default()),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| {
            let begins = c.is_ascii_alphabetic() || *c == '_';
            begins || (c.is_ascii_digit() && !name.is_empty())
        }) {
            name.push(c);
        }
        name
    }

    fn braced(&mut self) -> Result<String> {
        let name = self.name();
        if name.is_empty() {
            return Err(invalid("\"${\" without a name"));
        }
        let value = (self.lookup)(&name);
        let unclosed = || invalid(format!("\"${{{name}\" is not closed"));
        let mut modifier = self.chars.next().ok_or_else(unclosed)?;
        if modifier == '}' {
            return Ok(value.unwrap_or_default());
        }
        let mut set = value.is_some();
        if modifier == ':' {
            set = value.as_ref().is_some_and(|v| !v.is_empty());
            modifier = self.chars.next().ok_or_else(unclosed)?;
        }
        if !matches!(modifier, '-' | '+' | '?') {
            let why = format!("\"${{{name}\": modifier {modifier:?} is not understood");
            return Err(invalid(why));
        }
        let word = self.until(Some('}'))?;
        match (modifier, set) {
            ('-', false) | ('+', true) => Ok(word),
            ('+', false) => Ok(String::new()),
            ('?', false) if word.is_empty() => Err(invalid(format!("{name} is not set"))),
            ('?', false) => Err(invalid(format!("{name}: {word}"))),
            _ => Ok(value.unwrap_or_default()),
        }
    }
}
