//! The page around the plots.

use super::plot::INK;
use super::{Figure, Part, depths};
use crate::bench::document::{Document, Row};
use crate::bench::ops::Unit;
use crate::bench::stats::Better;
use crate::bench::table::number;
use std::fmt::{self, Write};

const STYLE: &str = include_str!("style.css");

/// The chapters, and the beginnings of the names of the metrics in them.
const CHAPTERS: [(&str, &[&str]); 5] = [
    (
        "Names and directories",
        &[
            "lookup",
            "stat",
            "negative",
            "readdir",
            "find",
            "threads-lookup",
        ],
    ),
    (
        "Small files",
        &["open", "read-", "threads-read", "processes"],
    ),
    ("Large files", &["large"]),
    ("Mounts and memory", &["mount", "unmount", "rss"]),
    ("Changes", &[""]),
];

/// The whole page.
pub fn render(document: &Document, parts: &[Part<'_>]) -> String {
    let mut page = Page(String::new());
    page.head();
    page.circumstances(document);
    let mut chapters: Vec<(&str, Vec<&Part<'_>>)> = CHAPTERS
        .iter()
        .map(|(title, _)| (*title, Vec::new()))
        .collect();
    for part in parts {
        let mine = |(_, names): &(&str, &[&str])| names.iter().any(|n| part.metric.starts_with(n));
        if let Some(at) = CHAPTERS.iter().position(mine) {
            chapters[at].1.push(part);
        }
    }
    chapters.retain(|(_, parts)| !parts.is_empty());
    page.contents(&chapters);
    for (title, parts) in chapters {
        page.put(format_args!("<h2>{}</h2>\n", Escaped(title)));
        for part in parts {
            page.part(document, part);
        }
    }
    page.put(format_args!("</body>\n</html>\n"));
    page.0
}

struct Page(String);

impl Page {
    fn put(&mut self, text: fmt::Arguments<'_>) {
        // writing to a String cannot fail
        if self.0.write_fmt(text).is_err() {
            self.0.push('\n');
        }
    }

    fn head(&mut self) {
        self.put(format_args!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <link rel=\"icon\" href=\"data:,\">\n\
             <title>vellum bench</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <h1>Layer stacking, measured</h1>\n"
        ));
    }

    fn circumstances(&mut self, d: &Document) {
        let m = &d.machine;
        let when = jiff::Timestamp::from_second(i64::try_from(d.time).unwrap_or_default())
            .map(|t| t.to_string())
            .unwrap_or_default();
        let what = match &d.options.tree {
            Some(tree) => tree.clone(),
            None => format!("generated, {} files", d.options.files),
        };
        self.put(format_args!("<dl>\n"));
        for (term, text) in [
            ("when", when),
            ("kernel", m.kernel.clone()),
            ("processors", format!("{} ({})", m.cpus, m.cpu)),
            ("memory", number(m.memory as f64, Unit::Bytes)),
            ("file system", m.file_system.clone()),
            ("load before", m.load.clone()),
            ("tree", what),
            ("stacks", d.stacks.join("; ")),
            ("rounds", d.options.rounds.to_string()),
            ("seed", d.options.seed.to_string()),
        ] {
            self.put(format_args!("<dt>{term}</dt><dd>{}</dd>\n", Escaped(&text)));
        }
        self.put(format_args!(
            "</dl>\n<details>\n<summary>the peers, and how they are called</summary>\n<dl class=\"peers\">\n"
        ));
        for peer in &d.peers {
            let version = match peer.version.as_str() {
                "" => String::new(),
                version => format!(" [{version}]"),
            };
            let text = format!("{}{version}", peer.command);
            let (name, text) = (Escaped(&peer.name), Escaped(&text));
            self.put(format_args!("<dt>{name}</dt><dd>{text}</dd>\n"));
        }
        self.put(format_args!("</dl>\n</details>\n"));
        self.warnings(d);
        self.put(format_args!(
            "<p>Medians of the rounds; bars and \u{b1} are the quartiles. All scales are logarithmic. A difference \
             within the spread is none. All peers took turns, in random order; results.json has every sample, \
             and plots/ each plot.</p>\n"
        ));
    }

    fn warnings(&mut self, d: &Document) {
        let mut lines: Vec<(bool, String)> = Vec::new();
        if d.interrupted {
            lines.push((true, "Interrupted: the rows are not complete.".to_owned()));
        }
        for layer in &d.broken_layers {
            lines.push((true, format!("A layer changed: {layer}")));
        }
        for peer in &d.peers {
            let mine = d.results.iter().filter(|r| r.peer == peer.name);
            let failed: Vec<&Row> = mine.filter(|r| !r.failures.is_empty()).collect();
            let Some(why) = failed.iter().find_map(|r| r.failures.first()) else {
                continue;
            };
            let mut metrics: Vec<&str> = failed.iter().map(|r| r.metric.as_str()).collect();
            metrics.dedup();
            let (name, all) = (&peer.name, metrics.join(", "));
            lines.push((true, format!("{name} failed: {all}; first: {why}")));
        }
        lines.extend(d.left_out.iter().map(|l| (false, format!("Left out: {l}"))));
        if lines.is_empty() {
            return;
        }
        self.put(format_args!("<ul>\n"));
        for (bad, line) in lines {
            let class = if bad { " class=\"bad\"" } else { "" };
            self.put(format_args!("<li{class}>{}</li>\n", Escaped(&line)));
        }
        self.put(format_args!("</ul>\n"));
    }

    fn contents(&mut self, chapters: &[(&str, Vec<&Part<'_>>)]) {
        self.put(format_args!("<nav>\n"));
        for (title, parts) in chapters {
            self.put(format_args!(
                "<p class=\"about\">{}</p>\n<ul>",
                Escaped(title)
            ));
            for part in parts {
                let name = Escaped(part.metric);
                self.put(format_args!("<li><a href=\"#{name}\">{name}</a></li>"));
            }
            self.put(format_args!("</ul>\n"));
        }
        self.put(format_args!("</nav>\n"));
    }

    fn part(&mut self, d: &Document, part: &Part<'_>) {
        let better = match part.unit.better() {
            Better::Higher => "more is better",
            Better::Lower => "less is better",
        };
        let (name, about) = (Escaped(part.metric), Escaped(part.about));
        self.put(format_args!(
            "<section id=\"{name}\">\n<h3>{name}</h3>\n<p class=\"about\">{about}; {better}</p>\n\
             <div class=\"figures\">\n"
        ));
        for figure in &part.figures {
            self.figure(figure);
        }
        self.put(format_args!(
            "</div>\n<details>\n<summary>numbers</summary>\n"
        ));
        self.table(d, part);
        self.put(format_args!("</details>\n</section>\n"));
    }

    fn figure(&mut self, figure: &Figure) {
        let about = Escaped(&figure.about);
        // what is inline has the colour of the text around it
        let svg = figure.svg.replace(INK, "currentColor");
        let label = format!("<svg role=\"img\" aria-label=\"{about}\" ");
        let svg = svg.replacen("<svg ", &label, 1);
        self.put(format_args!(
            "<figure>{svg}<figcaption>{about}</figcaption></figure>\n"
        ));
    }

    fn table(&mut self, d: &Document, part: &Part<'_>) {
        let depths = depths(&part.rows);
        self.put(format_args!(
            "<div class=\"scroll\"><table>\n<tr><th>layers</th>"
        ));
        for depth in &depths {
            self.put(format_args!("<th>{depth}</th>"));
        }
        self.put(format_args!("</tr>\n"));
        for peer in &d.peers {
            let class = if peer.ours { " class=\"ours\"" } else { "" };
            self.put(format_args!("<tr{class}><th>{}</th>", Escaped(&peer.name)));
            for depth in &depths {
                let row = part
                    .rows
                    .iter()
                    .find(|r| r.peer == peer.name && r.layers == *depth);
                self.put(format_args!("<td>{}</td>", Escaped(&cell(row.copied()))));
            }
            self.put(format_args!("</tr>\n"));
        }
        self.put(format_args!("</table></div>\n"));
    }
}

fn cell(row: Option<&Row>) -> String {
    let Some(row) = row else {
        return "-".to_owned();
    };
    let text = match (&row.summary, &row.skipped) {
        _ if !row.failures.is_empty() => return "failed".to_owned(),
        (None, Some(_)) => return "n/a".to_owned(),
        (None, None) => return "-".to_owned(),
        (Some(s), _) if s.n > 1 => {
            format!(
                "{} \u{b1}{:.0}%",
                number(s.median, row.unit),
                s.spread_percent()
            )
        }
        (Some(s), _) => format!("{} (once)", number(s.median, row.unit)),
    };
    let Some(latency) = row.latency() else {
        return text;
    };
    let at = |q| {
        latency
            .at(q)
            .map(|s| number(s, Unit::Seconds))
            .unwrap_or_default()
    };
    format!("{text}; p50 {}, p99 {}, max {}", at(0.5), at(0.99), at(1.0))
}

/// Text that is nothing but text.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let text = Escaped("<a href=\"x\">&</a>").to_string();
        assert_eq!(text, "&lt;a href=&quot;x&quot;&gt;&amp;&lt;/a&gt;");
    }
}
