//! The convergence plot.

use super::canvas::{Area, Canvas};
use super::colour::{self, HAIRLINE};
use super::scale::{nice_ticks, tick_text, Scale};
use super::text::{Align, Fonts, NOTE};

/// The energies of one level, one value an iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What the legend calls it, such as `affine 4`.
    pub name: String,
    /// Energy at the start and after each iteration, lower is better.
    pub energies: Vec<f64>,
}

/// Draws the curves one after another along the iterations; logarithmic unless an energy is not positive.
pub(super) fn draw(canvas: &mut Canvas, fonts: &Fonts, area: Area, curves: &[Curve]) {
    let bottom = legend(canvas, fonts, area, curves);
    let finite = || {
        curves
            .iter()
            .flat_map(|curve| &curve.energies)
            .copied()
            .filter(|e| e.is_finite())
    };
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), e| {
        (low.min(e), high.max(e))
    });
    let steps: usize = curves.iter().map(|curve| curve.energies.len()).sum();
    if low > high {
        let middle = (area.y + bottom) as f32 * 0.5;
        let centre = (area.x + area.width / 2) as f32;
        fonts.draw(canvas, "no iterations", centre, middle, Align::Centre, NOTE);
        return;
    }
    let scale = Scale::new(low, high);
    let gutter = scale
        .ticks
        .iter()
        .map(|t| fonts.width(&tick_text(*t), NOTE))
        .fold(0.0, f32::max)
        .ceil() as i32
        + 10;
    let frame = Area::new(
        area.x + gutter,
        area.y + 6,
        area.width - gutter - 8,
        bottom - area.y - 34,
    );
    let height = |energy: f64| {
        frame.bottom() as f32 - 4.0 - scale.share(energy) as f32 * (frame.height - 8) as f32
    };
    let across = |step: usize| {
        let share = step as f32 / steps.saturating_sub(1).max(1) as f32;
        frame.x as f32 + 6.0 + share * (frame.width - 12) as f32
    };
    for &tick in &scale.ticks {
        let y = height(tick);
        canvas.fill(Area::new(frame.x, y as i32, frame.width, 1), HAIRLINE);
        let left = (frame.x - 10) as f32;
        fonts.draw(canvas, &tick_text(tick), left, y + 5.0, Align::Right, NOTE);
    }
    let mut last = f32::NEG_INFINITY;
    for step in nice_ticks(0.0, steps.saturating_sub(1) as f64, 8) {
        let x = across(step as usize);
        let below = (frame.bottom() + 18) as f32;
        if step.fract() == 0.0 && x > last + 24.0 {
            fonts.draw(canvas, &tick_text(step), x, below, Align::Centre, NOTE);
            last = x;
        }
    }
    let mut start = 0;
    for (index, curve) in curves.iter().enumerate() {
        let colour = colour::series(index);
        let points: Vec<[f32; 2]> = curve
            .energies
            .iter()
            .enumerate()
            .filter(|(_, e)| e.is_finite())
            .map(|(i, e)| [across(start + i), height(*e)])
            .collect();
        for pair in points.windows(2) {
            canvas.line(pair[0], pair[1], 2.0, colour);
        }
        let radius = if steps <= 60 { 3.0 } else { 2.0 };
        for point in &points {
            canvas.disc(*point, radius, colour);
        }
        start += curve.energies.len();
    }
}

/// Chips and names along the bottom, wrapped; returns where the plot may end.
fn legend(canvas: &mut Canvas, fonts: &Fonts, area: Area, curves: &[Curve]) -> i32 {
    let mut rows: Vec<Vec<(usize, String, i32)>> = vec![Vec::new()];
    let mut used = 0;
    for (index, curve) in curves.iter().enumerate() {
        let name = fonts.shorten(&curve.name, 160.0, NOTE);
        let width = fonts.width(&name, NOTE).ceil() as i32 + 36;
        if used > 0 && used + width > area.width {
            rows.push(Vec::new());
            used = 0;
        }
        if rows.len() > 3 {
            break;
        }
        if let Some(row) = rows.last_mut() {
            row.push((index, name, width));
        }
        used += width;
    }
    let rows = &rows[..rows.len().min(3)];
    let top = area.bottom() - 20 * rows.len() as i32;
    for (line, row) in rows.iter().enumerate() {
        let middle = top + 20 * line as i32 + 11;
        let mut x = area.x;
        for (index, name, width) in row {
            canvas.disc([x as f32 + 5.0, middle as f32], 4.5, colour::series(*index));
            let (left, base) = ((x + 16) as f32, middle as f32 + 4.5);
            fonts.draw(canvas, name, left, base, Align::Left, NOTE);
            x += width;
        }
    }
    top
}
