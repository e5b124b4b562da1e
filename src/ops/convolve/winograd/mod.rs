//! Convolution of kernels with three taps across rows and planes by minimal filtering: a third of the products in three
//! dimensions, half of them in two.
//!
//! Rows and planes are filtered, four and two results at a time; along rows the taps stay as they are, so that every
//! transform is one of whole rows and needs no shuffles.

mod filter;
mod gather;
mod weights;

use super::axis::Axis;
use super::window::{Block, Window};
use filter::TAPS_OF_TWO;

/// Rows and planes of results that are computed together.
const ROWS: usize = 4;
const PLANES: usize = 2;
/// Products of as many rows and planes of results.
const ROW_PRODUCTS: usize = 6;
const PLANE_PRODUCTS: usize = 4;
/// How much dearer a product is here than in the plain sum, transforms included, and how many products the transform of a
/// weight takes the time of.
const DEARER: f64 = 1.3;
const WEIGHT: f64 = 1000.0;

/// A convolution by minimal filtering.
pub(super) struct Winograd {
    window: Window,
    /// Planes of results that are computed together, [`PLANES`] or one, and products of them.
    high: usize,
    plane_products: usize,
}

impl Winograd {
    /// For an axis each (fastest first) of one volume, if the taps allow it and products are saved, with blocks whose
    /// products of `channels` take at most `scratch` elements, or that are as small as can be.
    fn new(axes: &[Axis; 3], channels: usize, scratch: usize) -> Option<Self> {
        let [x, y, z] = axes;
        let plain = axes
            .iter()
            .all(|a| a.scale == 1 && a.step == 1 && a.first == 0);
        let deep = z.taps.len() == 3;
        if !plain || y.taps.len() != 3 || !(deep || z.taps.len() == 1) {
            return None;
        }
        let (ny, nz) = (y.count, z.count);
        let (high, plane_products) = if deep {
            (PLANES, PLANE_PRODUCTS)
        } else {
            (1, 1)
        };
        let products = (ny.div_ceil(ROWS) * ROW_PRODUCTS) * (nz.div_ceil(high) * plane_products);
        let sums = ny * nz * y.taps.len() * z.taps.len();
        if (products * x.count) as f64 * DEARER + WEIGHT > (sums * x.count) as f64 {
            return None;
        }
        let pitch = x.pitch();
        let tiles = |planes: usize, rows: usize| (planes / high) * (rows / ROWS);
        let fits = |planes: usize, rows: usize| {
            tiles(planes, rows) * plane_products * ROW_PRODUCTS * pitch * channels <= scratch
        };
        let run = |planes: usize, rows: usize| tiles(planes, rows) * pitch;
        Some(Self {
            window: Window::cheapest(axes.clone(), [high, ROWS], nz, fits, run),
            high,
            plane_products,
        })
    }

    /// Whether planes are filtered too.
    fn deep(&self) -> bool {
        self.high > 1
    }

    /// Products of a tile of results.
    fn products(&self) -> usize {
        ROW_PRODUCTS * self.plane_products
    }

    /// The tiles of a block.
    fn tiles(&self, block: &Block) -> Tiles {
        self.tiles_of(block.planes, block.rows)
    }

    /// The tiles of so many planes and rows.
    fn tiles_of(&self, planes: usize, rows: usize) -> Tiles {
        let (planes, rows) = (planes.div_ceil(self.high), rows.div_ceil(ROWS));
        Tiles {
            planes,
            rows,
            elements: planes * rows * self.window.pitch,
        }
    }

    /// The most elements of a channel of a block's tiles.
    fn most_elements(&self) -> usize {
        self.tiles_of(self.window.planes, self.window.rows).elements
    }

    /// The factors of the taps along planes, for each product along them.
    fn plane_factors(&self) -> &'static [[f64; 3]] {
        if self.deep() {
            &TAPS_OF_TWO
        } else {
            &[[1.0, 0.0, 0.0]]
        }
    }

    /// The places in the kernel of an axis' taps, in the order of the inputs they take.
    fn entries(&self, axis: usize) -> Vec<usize> {
        let mut taps = self.window.axes[axis].taps.clone();
        taps.sort_by_key(|t| t.offset);
        taps.iter().map(|t| t.entry).collect()
    }

    /// How far ahead the taps along rows lie, for channel after channel of `elements`.
    fn offsets(&self, channels: usize, elements: usize) -> Vec<u32> {
        let taps = self.window.axes[0].taps.len();
        (0..channels * taps)
            .map(|k| (k / taps * elements + k % taps) as u32)
            .collect()
    }
}

/// The tiles of a block along planes and along rows, and the elements that a channel of them has in each product.
#[derive(Clone, Copy)]
struct Tiles {
    planes: usize,
    rows: usize,
    elements: usize,
}
