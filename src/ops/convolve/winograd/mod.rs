//! Convolution of kernels with three or five taps across rows and planes by minimal filtering: a third of the products in three
//! dimensions where kernels have three taps, a sixth where they have five; half of them or two fifths in two.
//!
//! Rows and planes are filtered, a tile of four rows of results in two or four planes from its products at a time; along rows
//! the taps stay as they are, so that every transform is one of whole rows and needs no shuffles.

mod factors;
mod filter;
mod gather;
mod points;
mod weights;

use super::axis::Axis;
use super::window::{Block, Window};
use filter::Filter;

/// How much dearer a product is here than in the plain sum, transforms included, and how many products take the time in
/// which a product's factor is made of the taps.
const DEARER: f64 = 1.3;
const WEIGHT: f64 = 10.0;
/// For how many inputs the products of a cotangent take the time in which it is transformed.
const COTANGENT: f64 = 3.5;

/// A convolution by minimal filtering.
pub(super) struct Winograd {
    window: Window,
    /// The filters across rows and planes.
    rows: &'static Filter,
    planes: &'static Filter,
}

/// What a block may take.
struct Room {
    /// Channels whose products it holds.
    channels: usize,
    /// Elements that these may take.
    scratch: usize,
    /// Elements of a product that are few enough for any block.
    few: usize,
    /// How much dearer a product is than in the plain sum.
    dearer: f64,
}

impl Winograd {
    /// For an axis each (fastest first) of one volume, if the taps allow it and products are saved, with blocks that fit
    /// the room, or that are as small as can be.
    fn new(axes: &[Axis; 3], room: &Room) -> Option<Self> {
        let [x, y, z] = axes;
        let plain = axes
            .iter()
            .all(|a| a.scale == 1 && a.step == 1 && a.first == 0);
        if !plain {
            return None;
        }
        let [rows, planes] = Filter::pair(y.taps.len(), z.taps.len())?;
        let tile = rows.products * planes.products;
        let products = tile * rows.tiles(y.count) * planes.tiles(z.count);
        let sums = y.count * z.count * y.taps.len() * z.taps.len();
        let cost = (products * x.count) as f64 * room.dearer + tile as f64 * WEIGHT;
        if cost > (sums * x.count) as f64 {
            return None;
        }
        let pitch = x.pitch();
        let run = |high: usize, long: usize| planes.tiles(high) * rows.tiles(long) * pitch;
        let fits =
            |high: usize, long: usize| tile * run(high, long) * room.channels <= room.scratch;
        let steps = [planes.results, rows.results];
        Some(Self {
            window: Window::cheapest(axes.clone(), steps, z.count, room.few, fits, run),
            rows,
            planes,
        })
    }

    /// Whether planes are filtered too.
    fn deep(&self) -> bool {
        self.planes.taps > 1
    }

    /// Products of a tile of results.
    fn products(&self) -> usize {
        self.rows.products * self.planes.products
    }

    /// The tiles of a block.
    fn tiles(&self, block: &Block) -> Tiles {
        self.tiles_of(block.planes, block.rows)
    }

    /// The tiles of so many planes and rows.
    fn tiles_of(&self, planes: usize, rows: usize) -> Tiles {
        let (planes, rows) = (self.planes.tiles(planes), self.rows.tiles(rows));
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
