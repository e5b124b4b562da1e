//! Charts of measured points.

use super::canvas::{Area, Canvas};
use super::colour::{self, HAIRLINE, INK, PAPER};
use super::png::png;
use super::scale::{tick_text, Scale};
use super::text::{Align, Fonts, Style, NOTE};
use crate::Result;

/// A line through measured points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Across and up, in order; points that are not finite are left out.
    pub points: Vec<[f64; 2]>,
}

/// Measured lines over one axis; an axis whose values are positive and far apart is logarithmic.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// What lies across, with its unit.
    pub across: String,
    /// What lies up, with its unit.
    pub up: String,
    /// The lines.
    pub series: Vec<Series>,
    /// Whether the axes, across and up, are linear even where their values are positive and far apart.
    pub linear: [bool; 2],
}

const WIDTH: i32 = 760;
const HEIGHT: i32 = 520;
const MARGIN: i32 = 32;
const TITLE: Style = Style::semibold(18.0, INK);

/// Charts side by side, as the bytes of a PNG file.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) when the picture cannot be made.
pub fn charts_to_png(charts: &[Chart]) -> Result<Vec<u8>> {
    let width = WIDTH * charts.len().max(1) as i32;
    let mut canvas = Canvas::new(width as u32, HEIGHT as u32, PAPER);
    let fonts = Fonts::new();
    for (index, chart) in charts.iter().enumerate() {
        let area = Area::new(
            index as i32 * WIDTH + MARGIN,
            MARGIN,
            WIDTH - 2 * MARGIN,
            HEIGHT - 2 * MARGIN,
        );
        chart.draw(&mut canvas, &fonts, area);
    }
    png(&canvas.into_image(), "chart")
}

impl Chart {
    /// The axis over one coordinate of all points.
    fn scale(&self, coordinate: usize, linear: bool) -> Option<Scale> {
        let values = || {
            let points = self.series.iter().flat_map(|series| &series.points);
            points.map(|p| p[coordinate]).filter(|v| v.is_finite())
        };
        let (low, high) = (
            values().fold(f64::INFINITY, f64::min),
            values().fold(f64::NEG_INFINITY, f64::max),
        );
        (low <= high).then(|| match linear {
            true => Scale::linear(low, high),
            false => Scale::new(low, high),
        })
    }

    fn draw(&self, canvas: &mut Canvas, fonts: &Fonts, area: Area) {
        let left = area.x as f32;
        let top = (area.y + 14) as f32;
        fonts.draw(canvas, &self.title, left, top, Align::Left, TITLE);
        fonts.draw(canvas, &self.up, left, top + 24.0, Align::Left, NOTE);
        let (Some(x_axis), Some(y_axis)) =
            (self.scale(0, self.linear[0]), self.scale(1, self.linear[1]))
        else {
            fonts.draw(canvas, "no points", left, top + 60.0, Align::Left, NOTE);
            return;
        };
        let legend = 22 * self.series.len().div_ceil(2) as i32;
        let frame = Area::new(
            area.x + 64,
            area.y + 54,
            area.width - 76,
            area.height - 54 - 52 - legend,
        );
        let across = |x: f64| frame.x as f32 + x_axis.share(x) as f32 * frame.width as f32;
        let height = |y: f64| frame.bottom() as f32 - y_axis.share(y) as f32 * frame.height as f32;
        for &tick in &y_axis.ticks {
            let y = height(tick);
            canvas.fill(Area::new(frame.x, y as i32, frame.width, 1), HAIRLINE);
            let at = (frame.x - 8) as f32;
            fonts.draw(canvas, &tick_text(tick), at, y + 5.0, Align::Right, NOTE);
        }
        for &tick in &x_axis.ticks {
            let x = across(tick);
            canvas.fill(Area::new(x as i32, frame.y, 1, frame.height), HAIRLINE);
            let below = (frame.bottom() + 18) as f32;
            fonts.draw(canvas, &tick_text(tick), x, below, Align::Centre, NOTE);
        }
        let below = (frame.bottom() + 38) as f32;
        fonts.draw(
            canvas,
            &self.across,
            frame.right() as f32,
            below,
            Align::Right,
            NOTE,
        );
        for (index, series) in self.series.iter().enumerate() {
            let colour = colour::series(index);
            let points: Vec<[f32; 2]> = series
                .points
                .iter()
                .filter(|p| p.iter().all(|v| v.is_finite()))
                .map(|p| [across(p[0]), height(p[1])])
                .collect();
            for pair in points.windows(2) {
                canvas.line(pair[0], pair[1], 2.0, colour);
            }
            for point in &points {
                canvas.disc(*point, 3.5, colour);
            }
            let x = area.x + (index % 2) as i32 * area.width / 2;
            let y = area.bottom() - legend + 22 * (index / 2) as i32 + 12;
            canvas.disc([x as f32 + 6.0, y as f32], 4.5, colour);
            let (at, base) = ((x + 18) as f32, y as f32 + 4.5);
            fonts.draw(canvas, &series.name, at, base, Align::Left, NOTE);
        }
    }
}
