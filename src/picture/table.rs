//! The table of figures.

use super::canvas::{Area, Canvas};
use super::colour::{HAIRLINE, INK, QUIET};
use super::text::{Align, Fonts, Style};

/// Pixels from row to row.
pub(super) const ROW: i32 = 27;

/// Names on the left, values on the right, in columns filled one after the other.
pub(super) fn draw(
    canvas: &mut Canvas,
    fonts: &Fonts,
    area: Area,
    columns: i32,
    figures: &[(String, String)],
) {
    let gap = 40;
    let width = (area.width - gap * (columns - 1)) / columns;
    let rows = figures.len().div_ceil(columns as usize);
    for (index, (name, value)) in figures.iter().enumerate() {
        let x = area.x + (index / rows) as i32 * (width + gap);
        let y = area.y + (index % rows) as i32 * ROW;
        let (name_style, value_style) = (Style::regular(15.0, QUIET), Style::semibold(15.0, INK));
        let value = fonts.shorten(value, width as f32 * 0.6, value_style);
        let text = (y + 18) as f32;
        let right = (x + width) as f32;
        let used = fonts.draw(canvas, &value, right, text, Align::Right, value_style);
        let name = fonts.shorten(name, width as f32 - used - 16.0, name_style);
        fonts.draw(canvas, &name, x as f32, text, Align::Left, name_style);
        if index % rows + 1 < rows {
            canvas.fill(Area::new(x, y + ROW - 1, width, 1), HAIRLINE);
        }
    }
}
