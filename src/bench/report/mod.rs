//! `report.html`: the results as plots and tables, in one file that needs nothing else; and each plot as
//! an SVG file of its own.

mod page;
mod plot;

use super::document::{Document, Row};
use super::failure::{Result, Step};
use super::latency::{Latency, QUANTILES};
use super::ops::Unit;
use plot::{Look, Plot, Point, Series};
use std::fs;
use std::path::Path;

/// The name of the report in the directory of a run.
pub const NAME: &str = "report.html";
/// The folder of the plots beside it.
pub const PLOTS: &str = "plots";

/// A plot with its name.
struct Figure {
    /// Of the file, without `.svg`.
    name: String,
    /// What it shows, in words.
    about: String,
    svg: String,
}

/// All that the report says of one metric.
struct Part<'d> {
    metric: &'d str,
    about: &'d str,
    unit: Unit,
    figures: Vec<Figure>,
    rows: Vec<&'d Row>,
}

/// Writes the report and the plots into the directory of a run.
pub fn write(document: &Document, to: &Path) -> Result<()> {
    let parts = parts(document)?;
    let plots = to.join(PLOTS);
    fs::create_dir_all(&plots).at("mkdir", &plots)?;
    for figure in parts.iter().flat_map(|p| &p.figures) {
        let file = plots.join(format!("{}.svg", figure.name));
        fs::write(&file, &figure.svg).at("write", &file)?;
    }
    let file = to.join(NAME);
    fs::write(&file, page::render(document, &parts)).at("write", &file)
}

fn parts(document: &Document) -> Result<Vec<Part<'_>>> {
    let looks = looks(document);
    let mut parts = Vec::new();
    for metric in document.metrics() {
        let of = document.results.iter().filter(|r| r.metric == metric);
        let rows: Vec<&Row> = of.collect();
        let Some(first) = rows.first() else { continue };
        let mut part = Part {
            metric,
            about: &first.about,
            unit: first.unit,
            figures: Vec::new(),
            rows,
        };
        let depths = depths(&part.rows);
        if let Some(svg) = by_depth(&part, &depths, &looks).svg()? {
            part.figures.push(Figure {
                name: metric.to_owned(),
                about: format!(
                    "{metric}: {}; by number of layers, for every peer",
                    part.about
                ),
                svg,
            });
        }
        if let Some(svg) = distribution(&part, &depths, &looks).svg()? {
            let deepest = depths.last().copied().unwrap_or_default();
            part.figures.push(Figure {
                name: format!("{metric}-latency"),
                about: format!("{metric}: how long single calls took, under {deepest} layers"),
                svg,
            });
        }
        parts.push(part);
    }
    Ok(parts)
}

fn depths(rows: &[&Row]) -> Vec<usize> {
    let mut depths: Vec<usize> = rows.iter().map(|r| r.layers).collect();
    depths.sort_unstable();
    depths.dedup();
    depths
}

/// A peer with its best options looks like the one with its defaults, but dashed.
fn looks(document: &Document) -> Vec<(&str, Look)> {
    let mut bases: Vec<&str> = Vec::new();
    let look = |peer: &'_ super::results::Column| {
        let base = peer.name.strip_suffix("-best");
        (base.unwrap_or(&peer.name).to_owned(), base.is_some())
    };
    let mut looks = Vec::new();
    for peer in &document.peers {
        let (base, dashed) = look(peer);
        let base = &peer.name[..base.len()];
        let number = bases.iter().position(|b| *b == base).unwrap_or_else(|| {
            bases.push(base);
            bases.len() - 1
        });
        looks.push((peer.name.as_str(), Look { number, dashed }));
    }
    looks
}

fn by_depth(part: &Part<'_>, depths: &[usize], looks: &[(&str, Look)]) -> Plot {
    let points = |peer: &str| -> Vec<_> {
        let at = |(i, depth): (usize, &usize)| {
            let row = part
                .rows
                .iter()
                .find(|r| r.peer == peer && r.layers == *depth)?;
            let s = row.summary.as_ref()?;
            Some((i, s.median, (s.n > 1).then_some((s.q1, s.q3))))
        };
        depths.iter().enumerate().filter_map(at).collect()
    };
    Plot {
        axis: "layers",
        places: depths.iter().map(ToString::to_string).collect(),
        unit: part.unit,
        series: series(looks, points),
    }
}

fn distribution(part: &Part<'_>, depths: &[usize], looks: &[(&str, Look)]) -> Plot {
    let deepest = depths.last().copied().unwrap_or_default();
    let points = |peer: &str| -> Vec<_> {
        let row = part
            .rows
            .iter()
            .find(|r| r.peer == peer && r.layers == deepest);
        let latency = row.and_then(|r| r.latency());
        let seconds = latency.map_or_else(Vec::new, |Latency(seconds)| seconds);
        seconds
            .into_iter()
            .enumerate()
            .map(|(i, s)| (i, s, None))
            .collect()
    };
    let name = |q: &f64| match *q {
        0.0 => "min".to_owned(),
        1.0 => "max".to_owned(),
        0.5 => "50%".to_owned(),
        q => format!("{}", (q * 1000.0).round() / 10.0),
    };
    Plot {
        axis: "so many per cent of the calls took no longer",
        places: QUANTILES.iter().map(name).collect(),
        unit: Unit::Seconds,
        series: series(looks, points),
    }
}

/// The peers that have a point.
fn series(looks: &[(&str, Look)], points: impl Fn(&str) -> Vec<Point>) -> Vec<Series> {
    let of = |(name, look): &(&str, Look)| Series {
        name: (*name).to_owned(),
        look: *look,
        points: points(name),
    };
    let all = looks.iter().map(of);
    all.filter(|s| !s.points.is_empty()).collect()
}
