//! The convergence plot.

use super::canvas::{Area, Canvas};
use super::colour::{self, HAIRLINE};
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

/// The vertical axis: its ends are its first and last tick.
struct Scale {
    ticks: Vec<f64>,
    logarithmic: bool,
}

impl Scale {
    fn new(low: f64, high: f64) -> Self {
        let logarithmic = low > 0.0;
        let ratio = high / low;
        let ticks = if logarithmic && ratio > 1e4 {
            let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
            let every = (last - first + 5) / 6;
            let steps = (last - first + every - 1) / every;
            (0..=steps).map(|i| 10f64.powi(first + i * every)).collect()
        } else if logarithmic && ratio > 4.0 {
            let digits: &[f64] = if ratio > 200.0 {
                &[1.0, 10.0]
            } else {
                &[1.0, 2.0, 5.0, 10.0]
            };
            let below = 10f64.powf(low.log10().floor());
            let mut ticks: Vec<f64> = (0..6)
                .flat_map(|power| {
                    digits[1..]
                        .iter()
                        .map(move |d| below * d * 10f64.powi(power))
                })
                .collect();
            ticks.insert(0, below);
            let first = ticks.iter().rposition(|t| *t <= low * 1.000_001);
            let last = ticks.iter().position(|t| *t >= high * 0.999_999);
            ticks[first.unwrap_or(0)..=last.unwrap_or(ticks.len() - 1)].to_vec()
        } else {
            let pad = if high > low {
                0.0
            } else {
                0.1 * low.abs() + f64::from(u8::from(low == 0.0))
            };
            let mut ticks = nice_ticks(low - pad, high + pad, 5);
            let step = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
            if ticks[0] > low - pad {
                ticks.insert(0, ticks[0] - step);
            }
            let last = ticks[ticks.len() - 1];
            if last < high + pad {
                ticks.push(last + step);
            }
            ticks
        };
        Self {
            logarithmic: logarithmic && ticks[0] > 0.0,
            ticks,
        }
    }

    /// 0 at the first tick, 1 at the last.
    fn share(&self, value: f64) -> f64 {
        let (low, high) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        if self.logarithmic {
            (value.ln() - low.ln()) / (high.ln() - low.ln())
        } else {
            (value - low) / (high - low)
        }
    }
}

/// Round values in `low..=high`, about `count` of them at most.
fn nice_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count as f64;
    if !(rough > 0.0 && rough.is_finite()) {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|d| d * power)
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number in as few letters as it needs.
fn tick_text(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) {
        let power = (size.log10() + 1e-9).floor() as i32;
        let lead = value / 10f64.powi(power);
        return format!("{}e{power}", trimmed(lead, 3));
    }
    trimmed(value, if size < 0.1 { 5 } else { 4 })
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_axis_has_few_round_ticks_around_its_values() {
        for (low, high) in [
            (0.011, 0.013),
            (0.0101, 0.091),
            (0.1, 1.0),
            (2e-3, 0.9),
            (1e-7, 3.0),
            (0.2, 0.9),
            (-2.0, 5.0),
            (3.0, 3.0),
            (0.0, 0.0),
            (1e-200, 1e200),
        ] {
            let scale = Scale::new(low, high);
            assert!((2..=8).contains(&scale.ticks.len()), "{:?}", scale.ticks);
            assert!(scale.ticks.windows(2).all(|t| t[0] < t[1]));
            let (bottom, top) = (scale.share(low), scale.share(high));
            assert!(bottom > -1e-6 && top < 1.0 + 1e-6, "{:?}", scale.ticks);
            assert!(low == high || top - bottom > 0.3, "{:?}", scale.ticks);
        }
        assert_eq!(Scale::new(0.0101, 0.091).ticks.len(), 4);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(tick_text(0.5), "0.5");
        assert_eq!(tick_text(20.0), "20");
        assert_eq!(tick_text(3e-6), "3e-6");
        assert_eq!(tick_text(-0.25), "\u{2212}0.25");
    }
}
