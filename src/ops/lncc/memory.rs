//! What a task keeps of a tile.

use super::row::Row;
use super::stored::Stored;
use super::tile::Tile;

/// Sums over windows: of both images, of their squares and of their product.
pub(super) const MOMENTS: usize = 5;

/// Images of coefficients that the gradients of `of` images are made of.
pub(super) const fn images(of: usize) -> usize {
    if of == 0 {
        0
    } else {
        2 * of + 1
    }
}

/// Lengths of the parts of a task's memory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Elements of a row, whole lanes.
    pub width: usize,
    /// Elements of a row with its margins.
    pub wide: usize,
    /// Images of coefficients.
    pub images: usize,
    /// Rows and planes whose coefficients gradients of the tile are made of.
    pub middle: Tile,
    /// Rows and planes whose values those are made of.
    pub inner: Tile,
    /// Rows of coefficients that are taken off again.
    pub kept_rows: usize,
    /// Planes of sums of coefficients that are taken off again.
    pub kept_planes: usize,
    /// Rows of the tile.
    pub rows: usize,
}

/// The parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory<T> {
    /// Moments over planes: `[row of inner, moment, x]`.
    pub moments: *mut f64,
    /// Moments over planes and rows, with margins: `[moment, x]`.
    pub row: *mut f64,
    /// Their sums over half windows, and those of coefficients.
    pub halves: *mut f64,
    /// Coefficients over rows, with margins: `[image, x]`.
    pub coefficients: *mut f64,
    /// Coefficients over planes: `[row of the tile, image, x]`.
    pub totals: *mut f64,
    /// Coefficients of rows that are taken off again: `[slot, image, x]`.
    pub kept_rows: *mut f64,
    /// Coefficients over rows of planes that are taken off again: `[slot, row of the tile, image, x]`.
    pub kept_planes: *mut T,
}

impl Layout {
    /// Elements of the longest lanes of doubles.
    pub const LANES: usize = 8;

    /// For gradients with respect to `of` images.
    pub fn new(size: &[usize; 3], radius: &[usize; 3], tile: &Tile, of: usize) -> Self {
        let reach = if of == 0 { [0; 3] } else { *radius };
        let middle = tile.grown(size, &reach);
        let inner = middle.grown(size, radius);
        let kept = |axis: usize, first: usize, end: usize| {
            let leave = (end + reach[axis]).saturating_sub(first + 2 * radius[axis] + 1);
            leave.min(2 * radius[axis] + 1)
        };
        let width = size[0].next_multiple_of(Self::LANES);
        Self {
            width,
            wide: Row::length(width, radius[0]),
            images: images(of),
            kept_rows: kept(1, middle.rows.start, tile.rows.end),
            kept_planes: kept(2, middle.planes.start, tile.planes.end),
            rows: tile.rows.len(),
            middle,
            inner,
        }
    }

    /// The length of all parts, in doubles.
    pub fn length<T: Stored>(&self) -> usize {
        let planes = self.kept_planes * self.rows * self.images * self.width;
        self.starts()[6] + (planes * size_of::<T>()).div_ceil(size_of::<f64>())
    }

    fn starts(&self) -> [usize; 7] {
        let lengths = [
            self.inner.rows.len() * MOMENTS * self.width,
            MOMENTS * self.wide,
            MOMENTS * self.wide,
            self.images * self.wide,
            self.rows * self.images * self.width,
            self.kept_rows * self.images * self.width,
        ];
        let mut starts = [0; 7];
        for k in 0..6 {
            starts[k + 1] = starts[k] + lengths[k];
        }
        starts
    }

    /// The parts of a memory of this length.
    pub fn split<T: Stored>(&self, memory: &mut [f64]) -> Memory<T> {
        assert_eq!(memory.len(), self.length::<T>(), "memory of a tile");
        let starts = self.starts();
        // what is kept is written before it is read
        memory[..starts[5]].fill(0.0);
        let base = memory.as_mut_ptr();
        // SAFETY: every start lies within the length that was asserted.
        let at = |start: usize| unsafe { base.add(start) };
        Memory {
            moments: at(starts[0]),
            row: at(starts[1]),
            halves: at(starts[2]),
            coefficients: at(starts[3]),
            totals: at(starts[4]),
            kept_rows: at(starts[5]),
            kept_planes: at(starts[6]).cast(),
        }
    }
}
