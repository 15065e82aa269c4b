//! One plot as SVG: values of several peers over a few places (depths, or quantiles), on a logarithmic
//! scale, each with its spread; what peer is which stands beneath.

use crate::bench::failure::{Failure, Result};
use crate::bench::ops::Unit;
use crate::bench::table::number;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Text and axes: readable on paper and on a dark screen.
pub const INK: &str = "#6E7379";
const INK_COLOR: RGBColor = RGBColor(0x6e, 0x73, 0x79);

/// Size in pixels; the height is without what stands beneath. A phone shows it at three quarters.
const WIDTH: u32 = 480;
const HEIGHT: u32 = 300;
const LEGEND_LINE: u32 = 19;
const FONT: &str = "sans-serif";
const TEXT: f64 = 16.0;

/// Colours that are told apart on white and on black, also by most who do not see all of them.
const COLORS: [RGBColor; 11] = [
    RGBColor(0x80, 0x80, 0x80),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xb0, 0x8d, 0x00),
    RGBColor(0x8c, 0x6b, 0xb1),
    RGBColor(0x1f, 0x83, 0xc9),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0x46, 0xb1, 0xd8),
    RGBColor(0xd9, 0x3a, 0x4e),
    RGBColor(0x7a, 0x9a, 0x01),
    RGBColor(0xa8, 0x5c, 0x2c),
];

/// One peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// What it looks like: the same in all plots of a report.
    pub look: Look,
    /// Its values.
    pub points: Vec<Point>,
}

/// Place, value, and the quartiles where there is a spread.
pub type Point = (usize, f64, Option<(f64, f64)>);

/// What a series looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Which colour and mark.
    pub number: usize,
    /// Dashed, for a peer with its best options.
    pub dashed: bool,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// What the places are.
    pub axis: &'static str,
    /// Their names.
    pub places: Vec<String>,
    /// What the values count.
    pub unit: Unit,
    /// The peers.
    pub series: Vec<Series>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<RangedCoordf64, plotters::coord::combinators::LogCoord<f64>>,
>;

impl Plot {
    /// Draws it; `None` if there is nothing to draw.
    pub fn svg(&self) -> Result<Option<String>> {
        let Some((low, high)) = self.range() else {
            return Ok(None);
        };
        let lines = u32::try_from(self.series.len().div_ceil(2)).map_err(Failure::new)?;
        let size = (WIDTH, HEIGHT + lines * LEGEND_LINE + 6);
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
            let (upper, lower) = root.split_vertically(HEIGHT);
            self.chart(&upper, low, high)?;
            self.legend(&lower)?;
            root.present().map_err(Failure::new)?;
        }
        Ok(Some(text))
    }

    /// The least and the largest value, with some room; a logarithm has no nought.
    fn range(&self) -> Option<(f64, f64)> {
        let all = self.series.iter().flat_map(|s| &s.points);
        let all = all.flat_map(|(_, v, s)| [Some(*v), s.map(|s| s.0), s.map(|s| s.1)]);
        let all: Vec<f64> = all
            .flatten()
            .filter(|v| *v > 0.0 && v.is_finite())
            .collect();
        let low = all.iter().copied().reduce(f64::min)?;
        let high = all.iter().copied().reduce(f64::max)?;
        Some((low / 1.3, high * 1.3))
    }

    fn chart(&self, area: &Area<'_>, low: f64, high: f64) -> Result<()> {
        let last = self.places.len().saturating_sub(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .margin_top(8)
            .margin_right(10)
            .x_label_area_size(42)
            .y_label_area_size(76)
            .build_cartesian_2d(-0.5..last + 0.5, (low..high).log_scale())
            .map_err(Failure::new)?;
        self.axes(area, &mut chart, low, high)?;
        for (i, series) in self.series.iter().enumerate() {
            let apart = match self.places.len() {
                1 => 0.8 / self.series.len() as f64,
                _ => 0.02,
            };
            let shift = (i as f64 - (self.series.len() - 1) as f64 / 2.0) * apart;
            series.draw(&mut chart, shift)?;
        }
        Ok(())
    }

    fn axes(&self, area: &Area<'_>, chart: &mut Chart<'_, '_>, low: f64, high: f64) -> Result<()> {
        let faint = INK_COLOR.mix(0.25);
        let right = self.places.len() as f64 - 0.5;
        let style = |h, v| text().pos(Pos::new(h, v));
        for value in ticks(low, high) {
            line(
                chart,
                [(-0.5, value), (right, value)],
                faint.stroke_width(1),
            )?;
            let (x, y) = chart.backend_coord(&(-0.5, value));
            let label = number(value, self.unit);
            let label = Text::new(label, (x - 6, y), style(HPos::Right, VPos::Center));
            area.draw(&label).map_err(Failure::new)?;
        }
        for (i, name) in self.places.iter().enumerate() {
            let at = i as f64;
            line(chart, [(at, low), (at, high)], faint.stroke_width(1))?;
            let (x, y) = chart.backend_coord(&(at, low));
            let label = Text::new(name.clone(), (x, y + 5), style(HPos::Center, VPos::Top));
            area.draw(&label).map_err(Failure::new)?;
        }
        let (x, y) = chart.backend_coord(&((right - 0.5) / 2.0, low));
        let label = Text::new(self.axis, (x, y + 23), style(HPos::Center, VPos::Top));
        area.draw(&label).map_err(Failure::new)?;
        let corners = [(-0.5, high), (-0.5, low), (right, low)];
        line(chart, corners, INK_COLOR.stroke_width(1))
    }

    fn legend(&self, area: &Area<'_>) -> Result<()> {
        let column = i32::try_from(WIDTH / 2).map_err(Failure::new)?;
        let height = i32::try_from(LEGEND_LINE).map_err(Failure::new)?;
        let lines = self.series.len().div_ceil(2);
        for (i, series) in self.series.iter().enumerate() {
            let line = i32::try_from(i % lines).map_err(Failure::new)?;
            let left = 12 + column * i32::from(i >= lines);
            let y = 8 + line * height;
            let color = series.look.color();
            let stroke = |from, to| PathElement::new([(from, y), (to, y)], color.stroke_width(2));
            for (from, to) in series.look.dashes() {
                area.draw(&stroke(left + from, left + to))
                    .map_err(Failure::new)?;
            }
            let mark = series.look.mark((left + 14, y));
            area.draw(&mark).map_err(Failure::new)?;
            let style = text().pos(Pos::new(HPos::Left, VPos::Center));
            let name = Text::new(series.name.clone(), (left + 36, y), style);
            area.draw(&name).map_err(Failure::new)?;
        }
        Ok(())
    }
}

fn text() -> TextStyle<'static> {
    TextStyle::from((FONT, TEXT).into_font()).color(&INK_COLOR)
}

fn line<const N: usize>(
    chart: &mut Chart<'_, '_>,
    points: [(f64, f64); N],
    style: ShapeStyle,
) -> Result<()> {
    let path = PathElement::new(points, style);
    chart
        .draw_series(std::iter::once(path))
        .map(|_| ())
        .map_err(Failure::new)
}

impl Series {
    fn draw(&self, chart: &mut Chart<'_, '_>, shift: f64) -> Result<()> {
        let color = self.look.color();
        let seen = |(place, value, spread): &Point| {
            (*value > 0.0).then_some((*place as f64 + shift, *value, *spread))
        };
        let points: Vec<_> = self.points.iter().filter_map(seen).collect();
        let joined = points.iter().map(|(x, y, _)| (*x, *y));
        let drawn = match self.look.dashed {
            false => chart.draw_series(LineSeries::new(joined, color.stroke_width(2))),
            true => chart.draw_series(DashedLineSeries::new(joined, 6, 4, color.stroke_width(2))),
        };
        drawn.map_err(Failure::new)?;
        for (x, y, spread) in points {
            if let Some((from, to)) = spread.filter(|(from, _)| *from > 0.0) {
                line(chart, [(x, from), (x, to)], color.stroke_width(1))?;
            }
            let mark = self.look.mark((x, y));
            chart.plotting_area().draw(&mark).map_err(Failure::new)?;
        }
        Ok(())
    }
}

impl Look {
    fn color(self) -> RGBColor {
        COLORS[self.number % COLORS.len()]
    }

    /// The mark at a value: the colour's own shape, for those who do not see it.
    fn mark<'b, 'c: 'b, C: Clone + 'static>(self, at: C) -> DynElement<'b, SVGBackend<'c>, C> {
        let style = self.color().filled();
        match self.number % 4 {
            0 => Circle::new(at, 4, style).into_dyn(),
            1 => TriangleMarker::new(at, 5, style).into_dyn(),
            2 => (EmptyElement::at(at) + Rectangle::new([(-4, -4), (4, 4)], style)).into_dyn(),
            _ => Cross::new(at, 4, self.color().stroke_width(2)).into_dyn(),
        }
    }

    /// The parts of the line in the legend.
    fn dashes(self) -> Vec<(i32, i32)> {
        match self.dashed {
            false => vec![(0, 28)],
            true => vec![(0, 6), (10, 18), (22, 28)],
        }
    }
}

/// 1, 2 and 5 times powers of ten between two values; powers alone where that is too many.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    #[allow(clippy::cast_possible_truncation, reason = "a logarithm is small")]
    let exponents = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let within = |v: &f64| *v >= low && *v <= high;
    let of = |steps: &'static [f64]| -> Vec<f64> {
        let all = exponents
            .clone()
            .flat_map(|e| steps.iter().map(move |s| s * 10f64.powi(e)));
        all.filter(within).collect()
    };
    let all = [of(&[1.0, 2.0, 5.0]), of(&[1.0])];
    match &all[0] {
        fine if fine.len() <= 7 => fine.clone(),
        _ => all[1].clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        let series = |number: usize, name: &str, scale: f64| Series {
            name: name.into(),
            look: Look {
                number,
                dashed: number == 1,
            },
            points: (0..3)
                .map(|i| {
                    let v = scale * (i + 1) as f64;
                    (i, v, Some((v * 0.9, v * 1.1)))
                })
                .collect(),
        };
        Plot {
            axis: "layers",
            places: ["1", "8", "100"].map(str::to_owned).to_vec(),
            unit: Unit::PerSecond,
            series: vec![series(0, "a & b", 1000.0), series(1, "vellum", 90_000.0)],
        }
    }

    #[test]
    fn a_plot_has_its_places_its_names_and_its_lines() {
        let svg = plot().svg().unwrap().unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"),
            "{svg}"
        );
        for text in ["layers", "100", "a &amp; b", "vellum", "1.00k/s", "100k/s"] {
            let there = svg.lines().any(|l| l.trim() == text);
            assert!(there, "{text} is missing: {svg}");
        }
        assert!(svg.contains("#D55E00") && svg.contains("#808080") && svg.contains(INK));
    }

    #[test]
    fn what_has_no_logarithm_is_not_drawn() {
        let mut none = plot();
        for series in &mut none.series {
            series.points = vec![(0, 0.0, Some((0.0, 0.0)))];
        }
        assert_eq!(none.svg().unwrap(), None);
        none.series[0].points.push((1, 5.0, Some((0.0, 6.0))));
        assert!(none.svg().unwrap().is_some());
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(ticks(0.9, 12.0), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(ticks(1.0, 1e6).len(), 7);
    }
}
