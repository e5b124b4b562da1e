//! Text, set in Inter (embedded; see `fonts/OFL.txt`), with figures of equal width.

use super::canvas::Canvas;
use super::colour::{Colour, QUIET};
use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont};

/// The two weights of the page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Weight {
    Regular,
    Semibold,
}

/// Where `x` lies in the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// How a text looks: size in pixels (of the em), weight, colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) size: f32,
    pub(super) weight: Weight,
    pub(super) colour: Colour,
}

impl Style {
    pub(super) const fn regular(size: f32, colour: Colour) -> Self {
        Self {
            size,
            weight: Weight::Regular,
            colour,
        }
    }

    pub(super) const fn semibold(size: f32, colour: Colour) -> Self {
        Self {
            size,
            weight: Weight::Semibold,
            colour,
        }
    }
}

/// Captions, keys and the footer.
pub(super) const NOTE: Style = Style::regular(13.0, QUIET);

/// The fonts, parsed once a page.
pub(super) struct Fonts {
    regular: FontRef<'static>,
    semibold: FontRef<'static>,
}

impl Fonts {
    pub(super) fn new() -> Self {
        let parse = |bytes| {
            FontRef::try_from_slice(bytes)
                .unwrap_or_else(|_| unreachable!("the embedded font is well-formed"))
        };
        Self {
            regular: parse(include_bytes!("fonts/inter-regular.ttf")),
            semibold: parse(include_bytes!("fonts/inter-semibold.ttf")),
        }
    }

    fn font(&self, weight: Weight) -> &FontRef<'static> {
        match weight {
            Weight::Regular => &self.regular,
            Weight::Semibold => &self.semibold,
        }
    }

    /// Width of a text in pixels.
    pub(super) fn width(&self, text: &str, style: Style) -> f32 {
        let font = self.font(style.weight);
        let scaled = font.as_scaled(em(font, style.size));
        text.chars()
            .map(|c| scaled.h_advance(font.glyph_id(c)))
            .sum()
    }

    /// Draws a line of text with its baseline at `y` and returns its width.
    pub(super) fn draw(
        &self,
        canvas: &mut Canvas,
        text: &str,
        x: f32,
        y: f32,
        align: Align,
        style: Style,
    ) -> f32 {
        let width = self.width(text, style);
        let mut pen = match align {
            Align::Left => x,
            Align::Centre => x - width * 0.5,
            Align::Right => x - width,
        };
        let font = self.font(style.weight);
        let scale = em(font, style.size);
        let scaled = font.as_scaled(scale);
        for c in text.chars() {
            let id = font.glyph_id(c);
            let glyph = Glyph {
                id,
                scale,
                position: ab_glyph::point(pen, y),
            };
            pen += scaled.h_advance(id);
            if let Some(outline) = font.outline_glyph(glyph) {
                let bounds = outline.px_bounds();
                let (left, top) = (bounds.min.x as i32, bounds.min.y as i32);
                outline.draw(|dx, dy, cover| {
                    canvas.blend(left + dx as i32, top + dy as i32, style.colour, cover);
                });
            }
        }
        width
    }

    /// The text, with its middle replaced by an ellipsis where it is wider than `limit` pixels.
    ///
    /// The end keeps more than the beginning: that is where file names differ.
    pub(super) fn shorten(&self, text: &str, limit: f32, style: Style) -> String {
        if self.width(text, style) <= limit {
            return text.to_owned();
        }
        let letters: Vec<char> = text.chars().collect();
        let keep = |count: usize| {
            let head = count * 2 / 5;
            let tail = letters.len() - (count - head);
            let mut short: String = letters[..head].iter().collect();
            short.push('…');
            short.extend(&letters[tail..]);
            short
        };
        let (mut low, mut high) = (0, letters.len().saturating_sub(1));
        while low < high {
            let middle = (low + high).div_ceil(2);
            if self.width(&keep(middle), style) <= limit {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        keep(low)
    }
}

/// ab_glyph scales by ascent minus descent; a size is meant of the em.
fn em(font: &FontRef<'_>, size: f32) -> PxScale {
    let units = font.units_per_em().unwrap_or(1000.0);
    PxScale::from(size * font.height_unscaled() / units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_middle_and_fit() {
        let fonts = Fonts::new();
        let style = Style::regular(16.0, [0; 3]);
        let name = "sub-0123456789_ses-2019-follow-up_acq-mprage_desc-preproc_T1w.nii.gz";
        let short = fonts.shorten(name, 200.0, style);
        assert!(fonts.width(&short, style) <= 200.0, "{short}");
        assert!(short.starts_with("sub-"), "{short}");
        assert!(short.ends_with("T1w.nii.gz"), "{short}");
        assert_eq!(fonts.shorten("a.nii", 200.0, style), "a.nii");
        assert_eq!(fonts.shorten(name, 0.0, style), "…");
        assert_eq!(fonts.shorten("", 0.0, style), "");
    }

    #[test]
    fn figures_have_equal_width() {
        let fonts = Fonts::new();
        let style = Style::semibold(20.0, [0; 3]);
        assert_eq!(fonts.width("111.11", style), fonts.width("908.24", style));
    }
}
