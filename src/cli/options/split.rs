//! `-o a=b,c` cut into options.
//!
//! An option ends at a comma. A comma does not end it after a backslash, nor between double
//! quotes that begin right after the `=`, as in `context="a:b:c1,c2"`. A quote anywhere else is
//! an ordinary byte of a path. The backslashes stay: who reads a value knows which bytes are
//! special in it.

/// One option as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What stands before the first `=`.
    pub key: Vec<u8>,
    /// What stands after it, without quotes around it; `None`: there is no `=`.
    pub value: Option<Vec<u8>>,
}

/// Cuts a list of options. Empty ones (`a,,b`, `a,`) are none.
pub fn split(text: &[u8]) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = text;
    loop {
        let (item, after) = first(rest)?;
        if !(item.key.is_empty() && item.value.is_none()) {
            items.push(item);
        }
        match after {
            Some(after) => rest = after,
            None => return Ok(items),
        }
    }
}

/// The first option, and what follows its comma.
fn first(text: &[u8]) -> Result<(Item, Option<&[u8]>), String> {
    let end = text
        .iter()
        .position(|b| matches!(b, b',' | b'='))
        .unwrap_or(text.len());
    let key = text[..end].to_vec();
    if text.get(end) != Some(&b'=') {
        let item = Item { key, value: None };
        return Ok((item, text.get(end + 1..)));
    }
    let value = &text[end + 1..];
    let (value, after) = match value.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted, &key)?,
        None => {
            let end = find_unescaped(value, b',').unwrap_or(value.len());
            (&value[..end], value.get(end + 1..))
        }
    };
    let value = Some(value.to_vec());
    Ok((Item { key, value }, after))
}

fn unquote<'a>(quoted: &'a [u8], key: &[u8]) -> Result<(&'a [u8], Option<&'a [u8]>), String> {
    let key = key.escape_ascii();
    let end = find_unescaped(quoted, b'"')
        .ok_or_else(|| format!("option {key}: the quote is not closed"))?;
    match quoted.get(end + 1) {
        None => Ok((&quoted[..end], None)),
        Some(b',') => Ok((&quoted[..end], Some(&quoted[end + 2..]))),
        Some(_) => Err(format!(
            "option {key}: a comma must follow the closing quote"
        )),
    }
}

/// Where `wanted` stands first without a backslash before it.
pub fn find_unescaped(text: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b if *b == wanted => return Some(at),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(String, Option<String>)> {
        let text_of = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        split(text.as_bytes())
            .unwrap()
            .iter()
            .map(|i| (text_of(&i.key), i.value.as_deref().map(text_of)))
            .collect()
    }

    #[test]
    fn options_end_at_commas() {
        type Cut<'a> = &'a [(&'a str, Option<&'a str>)];
        let cases: &[(&str, Cut<'_>)] = &[
            ("", &[]),
            (",,", &[]),
            ("ro", &[("ro", None)]),
            ("a=b,c", &[("a", Some("b")), ("c", None)]),
            ("a=b,,c,", &[("a", Some("b")), ("c", None)]),
            ("a=", &[("a", Some(""))]),
            ("a=b=c", &[("a", Some("b=c"))]),
            ("=b", &[("", Some("b"))]),
            (r"a=x\,y,c", &[("a", Some(r"x\,y")), ("c", None)]),
            (r"a=x\\,c", &[("a", Some(r"x\\")), ("c", None)]),
            (r"a=x\", &[("a", Some(r"x\"))]),
            (r#"a="x,y",c"#, &[("a", Some("x,y")), ("c", None)]),
            (r#"a="""#, &[("a", Some(""))]),
            (r#"a="x\",y""#, &[("a", Some(r#"x\",y"#))]),
            (r#"a=/x"y,c"#, &[("a", Some(r#"/x"y"#)), ("c", None)]),
        ];
        for (text, want) in cases {
            let want: Vec<_> = want
                .iter()
                .map(|(k, v)| (k.to_string(), v.map(str::to_owned)))
                .collect();
            assert_eq!(cut(text), want, "{text}");
        }
    }

    #[test]
    fn quotes_must_close() {
        for text in [r#"a="x"#, r#"a="x,y"#, r#"a="x\""#, r#"a="x"y"#] {
            assert!(split(text.as_bytes()).is_err(), "{text}");
        }
    }
}
