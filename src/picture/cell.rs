//! One panel on the page: a slice in its frame, with letters and a scale bar.

use super::canvas::{Area, Canvas};
use super::colour::{self, HAIRLINE, PAPER, WHITE};
use super::layout::{length_text, round_length, Layout};
use super::panel::{Kind, Panels};
use super::slice::Display;
use super::text::{Align, Fonts, Style};

/// One slice in its cell, with letters where it is the fixed image, and a scale bar.
pub(super) fn draw(
    canvas: &mut Canvas,
    fonts: &Fonts,
    layout: &Layout,
    panels: &Panels<'_>,
    kind: Kind,
    cell: Area,
) {
    let [width, height] = panels.size.map(|n| n as i32);
    canvas.fill(cell, kind.ground());
    canvas.paste(
        cell.centred(width, height),
        &panels.raster(kind, layout.step),
    );
    if kind == Kind::Fixed {
        let middle = [
            (cell.x + cell.width / 2) as f32,
            (cell.y + cell.height / 2) as f32 + 4.5,
        ];
        let [left, right, up, down] = Display::letters(panels.view());
        over(
            canvas,
            fonts,
            left,
            [(cell.x + 6) as f32, middle[1]],
            Align::Left,
        );
        over(
            canvas,
            fonts,
            right,
            [(cell.right() - 6) as f32, middle[1]],
            Align::Right,
        );
        if cell.height >= 80 {
            let x = middle[0];
            over(canvas, fonts, up, [x, (cell.y + 15) as f32], Align::Centre);
            over(
                canvas,
                fonts,
                down,
                [x, (cell.bottom() - 6) as f32],
                Align::Centre,
            );
        }
        if panels.view().normal == 2 && cell.height >= 80 {
            let length = round_length(0.12 * f64::from(cell.width) / layout.scale);
            let (x, y) = ((cell.x + 8) as f32, (cell.bottom() - 9) as f32);
            let end = x + (length * layout.scale) as f32;
            canvas.line([x, y], [end, y], 2.0, WHITE);
            over(
                canvas,
                fonts,
                &length_text(length),
                [x, y - 6.0],
                Align::Left,
            );
        }
    }
    canvas.round_corners(cell, 5, PAPER);
    if kind.ground() != colour::BLACK {
        canvas.outline(cell, HAIRLINE);
    }
}

/// White letters with a dark rim, legible over any picture.
fn over(canvas: &mut Canvas, fonts: &Fonts, words: &str, at: [f32; 2], align: Align) {
    let rim = Style::semibold(12.0, colour::BLACK);
    for (dx, dy) in [(-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)] {
        fonts.draw(canvas, words, at[0] + dx, at[1] + dy, align, rim);
    }
    fonts.draw(
        canvas,
        words,
        at[0],
        at[1],
        align,
        Style::semibold(12.0, WHITE),
    );
}
