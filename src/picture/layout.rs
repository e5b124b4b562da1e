//! Where everything goes on the page, before anything is drawn.

use super::panel::{Kind, Scene};
use super::slice::View;

pub(super) const WIDTH: i32 = 1680;
pub(super) const MARGIN: i32 = 44;
pub(super) const INNER: i32 = WIDTH - 2 * MARGIN;

/// Columns of panels, and the scale at which the slices are shown.
pub(super) struct Layout {
    columns: i32,
    pub(super) cell: i32,
    /// Pixels a millimetre.
    pub(super) scale: f64,
    /// Height of the cells of each view.
    pub(super) heights: Vec<i32>,
    /// Millimetres between the lines of the deformed grid.
    pub(super) step: f32,
}

pub(super) const VOLUME_BLOCK: &[&[Kind]] = &[&[
    Kind::Fixed,
    Kind::Moving,
    Kind::Warped,
    Kind::Before,
    Kind::After,
    Kind::Grid,
    Kind::Volume,
]];
pub(super) const SLICE_BLOCKS: &[&[Kind]] = &[
    &[Kind::Fixed, Kind::Moving, Kind::Warped, Kind::Checkerboard],
    &[Kind::Before, Kind::After, Kind::Grid, Kind::Volume],
];

impl Layout {
    pub(super) fn new(scene: &Scene, columns: i32) -> Self {
        let gap = if columns > 4 { 8 } else { 14 };
        let cell = (INNER - gap * (columns - 1)) / columns;
        let tallest = if columns > 4 { 300.0 } else { 440.0 };
        let extents: Vec<[f64; 2]> = scene
            .slices
            .iter()
            .map(|slice| scene.display.extent(slice.view))
            .collect();
        let scale = extents
            .iter()
            .map(|mm| (f64::from(cell) / mm[0]).min(tallest / mm[1]))
            .fold(f64::INFINITY, f64::min);
        let heights = extents
            .iter()
            .map(|mm| ((mm[1] * scale).round() as i32).max(48))
            .collect();
        Self {
            columns,
            cell,
            scale,
            heights,
            step: round_length(11.0 / scale) as f32,
        }
    }

    /// Pixels of a view, across and down.
    pub(super) fn pixels(&self, scene: &Scene, view: View) -> [usize; 2] {
        scene
            .display
            .extent(view)
            .map(|mm| ((mm * self.scale).round() as usize).max(1))
    }

    pub(super) fn column(&self, index: usize) -> i32 {
        // The last column ends at the margin, whatever the division left over.
        let last = f64::from(INNER - self.cell);
        MARGIN + (index as f64 * last / f64::from(self.columns - 1)).round() as i32
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `length`.
pub(super) fn round_length(length: f64) -> f64 {
    let power = 10f64.powf(length.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|d| d * power)
        .into_iter()
        .find(|round| *round >= length * 0.999)
        .unwrap_or(10.0 * power)
}

pub(super) fn length_text(mm: f64) -> String {
    if mm >= 1.0 {
        format!("{mm:.0} mm")
    } else if mm >= 1e-3 {
        format!("{:.0} µm", mm * 1e3)
    } else {
        format!("{mm:e} mm")
    }
}
