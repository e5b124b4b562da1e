//! Colours of the page and the colour maps of its panels.

/// A colour, red, green and blue, as displayed (sRGB).
pub(super) type Colour = [u8; 3];

pub(super) const PAPER: Colour = [251, 250, 248];
pub(super) const INK: Colour = [30, 34, 39];
pub(super) const QUIET: Colour = [108, 113, 120];
pub(super) const HAIRLINE: Colour = [226, 224, 219];
pub(super) const BLACK: Colour = [0, 0, 0];
pub(super) const WHITE: Colour = [255, 255, 255];
/// Lines drawn over grey images: label contours and the deformed grid.
pub(super) const CONTOUR: Colour = [255, 122, 38];
pub(super) const GRID_LINE: Colour = [112, 214, 214];
/// Where the determinant is not positive.
pub(super) const FOLD: Colour = [232, 0, 132];

/// The middle of both diverging maps.
pub(super) const NEUTRAL: Colour = [249, 248, 246];

const SERIES: [Colour; 8] = [
    [52, 108, 176],
    [216, 128, 42],
    [66, 146, 110],
    [164, 76, 122],
    [116, 108, 186],
    [128, 120, 96],
    [38, 150, 170],
    [190, 86, 72],
];

const DIFFERENCE: [Colour; 7] = [
    [26, 66, 132],
    [86, 142, 198],
    [190, 214, 234],
    NEUTRAL,
    [245, 210, 190],
    [216, 116, 88],
    [146, 28, 42],
];

const DETERMINANT: [Colour; 7] = [
    [8, 82, 86],
    [80, 158, 152],
    [188, 222, 214],
    NEUTRAL,
    [240, 218, 172],
    [202, 146, 70],
    [128, 74, 16],
];

/// The colour of the n-th curve of a plot.
pub(super) fn series(index: usize) -> Colour {
    SERIES[index % SERIES.len()]
}

/// Black to white over `0..=1`.
pub(super) fn grey(value: f32) -> Colour {
    [(value.clamp(0.0, 1.0) * 255.0).round() as u8; 3]
}

/// Blue through white to red over `-1..=1`.
pub(super) fn difference(value: f32) -> Colour {
    along(&DIFFERENCE, value)
}

/// Green (shrinks) through white to brown (grows) over `-1..=1`.
pub(super) fn determinant(value: f32) -> Colour {
    along(&DETERMINANT, value)
}

/// `a` towards `b` by `share` in `0..=1`.
pub(super) fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|c| {
        let (a, b) = (f32::from(a[c]), f32::from(b[c]));
        (a + (b - a) * share + 0.5) as u8
    })
}

fn along(stops: &[Colour], value: f32) -> Colour {
    let last = stops.len() - 1;
    let position = (value.clamp(-1.0, 1.0) + 1.0) * 0.5 * last as f32;
    let low = (position as usize).min(last - 1);
    mix(stops[low], stops[low + 1], position - low as f32)
}
