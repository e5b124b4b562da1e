//! Maps of colours: middle slices, level by level.

use super::canvas::{Area, Canvas};
use super::colour::{BLACK, INK, PAPER};
use super::png::png;
use super::slice::{Display, Kernel, Plane, Taps};
use super::text::{Align, Fonts, Style, NOTE};
use crate::{Grid, Result};

/// Three numbers between 0 and 1 at every voxel of a grid.
#[derive(Debug, Clone)]
pub struct ColouredMap {
    /// What stands above it.
    pub name: String,
    /// Where it lies.
    pub grid: Grid,
    /// Red, green and blue.
    pub colours: [Vec<f32>; 3],
}

const CELL: i32 = 220;
const GAP: i32 = 10;
const MARGIN: i32 = 32;
const TITLE: Style = Style::semibold(16.0, INK);

/// Rows of maps, each with its middle slices, as the bytes of a PNG file: a row has a title and its maps side by side.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) when the picture cannot be made.
pub fn coloured_to_png(rows: &[(String, Vec<ColouredMap>)]) -> Result<Vec<u8>> {
    let slices = |maps: &[ColouredMap]| -> i32 {
        let count = maps
            .iter()
            .map(|map| if map.grid.rank() == 3 { 3 } else { 1 });
        count.sum()
    };
    let columns = rows.iter().map(|(_, maps)| slices(maps)).max().unwrap_or(1);
    let height = CELL + 64;
    let mut canvas = Canvas::new(
        (columns * (CELL + GAP) - GAP + 2 * MARGIN).max(480) as u32,
        (rows.len() as i32 * height + 2 * MARGIN - 20) as u32,
        PAPER,
    );
    let fonts = Fonts::new();
    for (row, (title, maps)) in rows.iter().enumerate() {
        let top = MARGIN + row as i32 * height;
        let base = (top + 14) as f32;
        fonts.draw(&mut canvas, title, MARGIN as f32, base, Align::Left, TITLE);
        let mut left = MARGIN;
        for map in maps {
            let name = &map.name;
            fonts.draw(
                &mut canvas,
                name,
                left as f32,
                base + 20.0,
                Align::Left,
                NOTE,
            );
            left = map.draw(&mut canvas, left, top + 44);
        }
    }
    png(&canvas.into_image(), "feature maps")
}

impl ColouredMap {
    /// Draws the slices from `left` on and returns where the next map begins.
    fn draw(&self, canvas: &mut Canvas, mut left: i32, top: i32) -> i32 {
        let even = vec![1.0; self.grid.voxels()];
        let display = Display::new(&self.grid, &even, 0.0);
        let extents = display.views().iter().map(|view| display.extent(*view));
        let longest = extents.flatten().fold(f64::MIN_POSITIVE, f64::max);
        for &view in display.views() {
            let pixels = display
                .extent(view)
                .map(|mm| ((mm / longest * f64::from(CELL)).round() as i32).max(1));
            let channel = |values: &Vec<f32>| -> Plane<f32> {
                let plane = display.plane(values, view);
                let taps = |from: usize, to: i32| Taps::new(from, to as usize, Kernel::Linear);
                let (across, down) = (taps(plane.width, pixels[0]), taps(plane.height, pixels[1]));
                plane.resample(&across, &down)
            };
            let [red, green, blue] = self.colours.each_ref().map(channel);
            let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
            let raster: Vec<[u8; 3]> = (0..red.values.len())
                .map(|i| [red.values[i], green.values[i], blue.values[i]].map(byte))
                .collect();
            let cell = Area::new(left, top, CELL, CELL);
            canvas.fill(cell, BLACK);
            canvas.paste(cell.centred(pixels[0], pixels[1]), &raster);
            canvas.round_corners(cell, 5, PAPER);
            left += CELL + GAP;
        }
        left
    }
}
