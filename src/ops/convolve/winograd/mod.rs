//! Convolution of kernels with three taps across rows and planes by minimal filtering: a third of the products in three
//! dimensions, half of them in two.
//!
//! Rows and planes are filtered, four and two results at a time; along rows the taps stay as they are, so that every
//! transform is one of whole rows and needs no shuffles.

mod filter;
mod gather;
mod weights;

use super::axis::Axis;
use super::window::{Block, Window, BLOCKS};
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
    /// Whether planes are filtered too.
    deep: bool,
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
        let (planes, plane_products) = if deep {
            (PLANES, PLANE_PRODUCTS)
        } else {
            (1, 1)
        };
        let products = (ny.div_ceil(ROWS) * ROW_PRODUCTS) * (nz.div_ceil(planes) * plane_products);
        let sums = ny * nz * y.taps.len() * z.taps.len();
        if (products * x.count) as f64 * DEARER + WEIGHT > (sums * x.count) as f64 {
            return None;
        }
        let pitch = x.pitch();
        let most = (ny * nz * pitch / BLOCKS).max(1);
        let mut best = (f64::INFINITY, planes, ROWS);
        for pz in (planes..=nz.next_multiple_of(planes)).step_by(planes) {
            for ry in (ROWS..=ny.next_multiple_of(ROWS)).step_by(ROWS) {
                let tiles = (pz / planes) * (ry / ROWS);
                let elements = tiles * plane_products * ROW_PRODUCTS * pitch * channels;
                if elements > scratch || pz * ry * pitch > most {
                    continue;
                }
                // rows copied a row of results, and a little for starting a run
                let copies = ((pz + z.reach()) * (ry + y.reach())) as f64 / (pz * ry) as f64;
                let cost = copies + 32.0 / (tiles * pitch) as f64;
                if cost < best.0 {
                    best = (cost, pz, ry);
                }
            }
        }
        Some(Self {
            window: Window::of(axes.clone(), best.1, best.2),
            deep,
        })
    }

    /// Products of a tile of results.
    fn products(&self) -> usize {
        ROW_PRODUCTS * if self.deep { PLANE_PRODUCTS } else { 1 }
    }

    /// The tiles of a block: along planes, along rows, and elements of a channel of them.
    fn tiles(&self, block: &Block) -> Tiles {
        let planes = if self.deep {
            block.planes.div_ceil(PLANES)
        } else {
            block.planes
        };
        let rows = block.rows.div_ceil(ROWS);
        Tiles {
            planes,
            rows,
            elements: planes * rows * self.window.pitch,
        }
    }

    /// The most elements of a channel of a block's tiles.
    fn most_elements(&self) -> usize {
        let block = Block {
            item: 0,
            plane: 0,
            planes: self.window.planes,
            row: 0,
            rows: self.window.rows,
        };
        self.tiles(&block).elements
    }

    /// The factors of the taps along planes, for each product along them.
    fn plane_factors(&self) -> &'static [[f64; 3]] {
        if self.deep {
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
