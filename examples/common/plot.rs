//! What the charts share: a page that becomes an SVG file, colours, axes, markers and a legend.
#![allow(dead_code)] // Each chart uses a part.

use std::fs;
use std::ops::Range;
use std::path::Path;

use plotters::coord::combinators::{IntoLogRange, LogCoord, WithKeyPoints};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::common::Failure;

pub type Page<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

pub const INK: RGBColor = RGBColor(51, 51, 51);
pub const GRID: RGBColor = RGBColor(228, 228, 228);

/// Draws a page of `size` pixels and writes it to `path`.
pub fn save(path: &Path, size: (u32, u32), draw: impl FnOnce(&Page<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut svg = String::new();
    {
        let page = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        page.fill(&WHITE)?;
        draw(&page)?;
        page.present()?;
    }
    fs::write(path, svg)
        .map_err(|why| format!("--svg {}: {why}; expected a file that can be written", path.display()).into())
}

/// Letters of `size` pixels in `colour`, whose anchor is their `horizontal` and `vertical` end.
pub fn letters(size: u32, colour: RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let font = ("sans-serif", size).into_font();
    TextStyle { font, color: colour.to_backend_color(), pos: Pos::new(horizontal, vertical) }
}

/// A logarithmic axis with marks at 1, 2 and 5 of each power of ten.
pub fn logarithmic(range: Range<f64>) -> WithKeyPoints<LogCoord<f64>> {
    let of_power = |power: i32| [1.0, 2.0, 5.0].map(|mark| mark * 10f64.powi(power));
    let marks = (-9..12).flat_map(of_power).filter(|mark| range.contains(mark)).collect::<Vec<_>>();
    marked(range, marks)
}

/// A logarithmic axis with such marks.
pub fn marked(range: Range<f64>, marks: Vec<f64>) -> WithKeyPoints<LogCoord<f64>> {
    range.log_scale().with_key_points(marks)
}

/// A range around `values`, with some room, that spans `least` at least.
pub fn range(values: impl Iterator<Item = f64> + Clone, least: f64) -> Range<f64> {
    let (low, high) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
    let span = high - low;
    let room = 0.06 * span + (least - span).max(0.0) / 2.0;
    low - room..high + room
}

/// An empty chart over all of `page`, with its title and its axes, each of them with its words.
pub fn chart<'a, 'b, X, Y>(
    page: &'a Page<'b>,
    title: &str,
    (x, x_words): (X, &str),
    (y, y_words): (Y, &str),
) -> Result<Chart<'a, 'b, X::CoordDescType, Y::CoordDescType>, Failure>
where
    X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    let mut chart = ChartBuilder::on(page)
        .caption(title, letters(19, INK, HPos::Left, VPos::Top))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(60)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(WHITE)
        .axis_style(INK)
        .label_style(letters(14, INK, HPos::Left, VPos::Top))
        // In f32 a mark such as 0.1 has no digits of rounding.
        .x_label_formatter(&|mark| (*mark as f32).to_string())
        .y_label_formatter(&|mark| (*mark as f32).to_string())
        .x_desc(x_words)
        .y_desc(y_words)
        .draw()?;
    Ok(chart)
}

/// A filled shape around a point, in pixels.
#[derive(Debug, Clone, Copy)]
pub enum Marker {
    Circle,
    Square,
    Diamond,
    TriangleUp,
    TriangleDown,
    /// A piece of a line, for the legend.
    Line,
}

impl Marker {
    fn corners(self) -> Vec<(i32, i32)> {
        match self {
            Marker::Circle => Vec::new(),
            Marker::Square => vec![(-5, -5), (5, -5), (5, 5), (-5, 5)],
            Marker::Diamond => vec![(0, -7), (7, 0), (0, 7), (-7, 0)],
            Marker::TriangleUp => vec![(0, -7), (7, 5), (-7, 5)],
            Marker::TriangleDown => vec![(0, 7), (7, -5), (-7, -5)],
            Marker::Line => vec![(-9, -1), (9, -1), (9, 2), (-9, 2)],
        }
    }

    /// Draws the marker at `at`.
    pub fn draw<C: CoordTranslate>(
        self,
        area: &DrawingArea<SVGBackend<'_>, C>,
        at: C::From,
        colour: RGBAColor,
    ) -> Result<(), Failure>
    where
        C::From: Clone,
    {
        match self {
            Marker::Circle => area.draw(&Circle::new(at, 5, colour.filled()))?,
            _ => area.draw(&(EmptyElement::at(at) + Polygon::new(self.corners(), colour.filled())))?,
        }
        Ok(())
    }
}

/// Draws a list of what stands for what, its title at `(x, y)` of the page, over what is there.
pub fn legend(
    page: &Page<'_>,
    (x, y): (i32, i32),
    title: &str,
    entries: &[(Marker, RGBColor, String)],
) -> Result<(), Failure> {
    // At 7 pixels a letter.
    let longest = entries.iter().map(|(.., words)| words.len() as i32).max().unwrap_or(0);
    let corner = (x + (24 + 7 * longest).max(116), y + 14 + 20 * entries.len() as i32);
    page.draw(&Rectangle::new([(x - 16, y - 14), corner], WHITE.filled()))?;
    let write = |words: &str, x, y| {
        page.draw(&Text::new(words.to_string(), (x, y), letters(14, INK, HPos::Left, VPos::Center)))
    };
    write(title, x - 9, y)?;
    for (line, (marker, colour, words)) in (1..).zip(entries) {
        let y = y + 20 * line;
        marker.draw(page, (x, y), colour.to_rgba())?;
        write(words, x + 16, y)?;
    }
    Ok(())
}
