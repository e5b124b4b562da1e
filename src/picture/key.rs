//! The key below a block of panels: colour bars and lines.

use super::canvas::{Area, Canvas};
use super::colour::{self, CONTOUR, FOLD, GRID_LINE};
use super::layout::{length_text, Layout};
use super::panel::{Kind, Scene};
use super::text::{Align, Fonts, NOTE};

/// What the colours and lines of a block of panels mean.
pub(super) fn draw(
    canvas: &mut Canvas,
    fonts: &Fonts,
    scene: &Scene,
    layout: &Layout,
    kinds: &[Kind],
    y: i32,
) {
    let base = (y + 12) as f32;
    let line = |canvas: &mut Canvas, x: i32, colour, words: &str| {
        let middle = (y + 7) as f32;
        let x = x as f32;
        canvas.line([x + 1.0, middle], [x + 19.0, middle], 2.0, colour);
        fonts.draw(canvas, words, x + 28.0, base, Align::Left, NOTE);
    };
    for (column, kind) in kinds.iter().enumerate() {
        let x = layout.column(column);
        match kind {
            Kind::Moving if scene.labelled() => {
                line(canvas, x, CONTOUR, "outlines of the fixed labels");
            }
            Kind::Before => {
                let area = Area::new(x, y + 2, layout.column(column + 1) + layout.cell - x, 9);
                bar(canvas, area, colour::difference);
                let percent = (scene.difference * 100.0).round();
                let ends = [
                    (area.x, Align::Left, format!("\u{2212}{percent} %")),
                    (
                        area.x + area.width / 2,
                        Align::Centre,
                        "minus fixed, in per cent of the intensity range".to_owned(),
                    ),
                    (area.right(), Align::Right, format!("+{percent} %")),
                ];
                for (x, align, words) in ends {
                    fonts.draw(canvas, &words, x as f32, base + 16.0, align, NOTE);
                }
            }
            Kind::Grid => {
                let step = length_text(f64::from(layout.step));
                let words = format!("moving image, every {step}");
                line(canvas, x, GRID_LINE, &words);
            }
            Kind::Volume => {
                let area = Area::new(x, y + 2, layout.cell - 56, 9);
                bar(canvas, area, colour::determinant);
                let range = f64::from(scene.volume);
                let low = format!("×{:.2}", 1.0 / range);
                let high = format!("×{}", trimmed(range));
                let middle = area.x + area.width / 2;
                for (x, align, words) in [
                    (area.x, Align::Left, low.as_str()),
                    (middle, Align::Centre, "×1"),
                    (area.right(), Align::Right, high.as_str()),
                ] {
                    fonts.draw(canvas, words, x as f32, base + 16.0, align, NOTE);
                }
                let chip = Area::new(area.right() + 20, y + 2, 36, 9);
                canvas.fill(chip, FOLD);
                let middle = (chip.x + chip.width / 2) as f32;
                fonts.draw(canvas, "fold", middle, base + 16.0, Align::Centre, NOTE);
            }
            _ => {}
        }
    }
}

/// A colour map over `-1..=1`, left to right.
fn bar(canvas: &mut Canvas, area: Area, map: fn(f32) -> colour::Colour) {
    for x in 0..area.width {
        let value = 2.0 * (x as f32 + 0.5) / area.width as f32 - 1.0;
        canvas.fill(Area::new(area.x + x, area.y, 1, area.height), map(value));
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
