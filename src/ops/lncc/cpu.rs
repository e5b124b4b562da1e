//! The energy and its gradients over a tile, by sums that run along planes and rows.

use super::memory::{images, Layout, Memory, MOMENTS};
use super::row::Row;
use super::stored::Stored;
use super::tile::Tile;
use crate::ops::lanes::{Kernel, Lanes};
use crate::ops::rows::Shared;

/// Added to the product of the variances.
const EPSILON: f64 = 1e-5;

/// Coefficients of both images' gradients.
const COEFFICIENTS: usize = images(2);

/// Two channels and the windows on their grid; sizes fastest axis first, a third axis of one plane in two dimensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a, T> {
    pub images: [&'a [T]; 2],
    /// Taken off the values of each image: variances do not depend on it, but their rounding does.
    pub centre: [f64; 2],
    pub size: [usize; 3],
    /// Voxels of the window on either side of its middle, fewer than the grid has.
    pub radius: [usize; 3],
    /// One over the voxels of each window along a row, zeros up to whole lanes.
    pub shares: &'a [f64],
}

/// Sums up `ab^2 / (aa bb + e)` over a tile and writes the gradients of `factor` times that sum with respect to the first
/// `OF` images.
pub(super) struct Pass<'a, T, const OF: usize> {
    pub pair: Pair<'a, T>,
    pub tile: &'a Tile,
    pub layout: &'a Layout,
    pub memory: Memory<T>,
    pub factor: f64,
    pub gradients: [Shared<T>; OF],
}

impl<T: Stored, const OF: usize> Kernel<f64> for Pass<'_, T, OF> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = f64>>(self) -> f64 {
        const { assert!(Layout::LANES.is_multiple_of(L::COUNT)) };
        let (middle, inner) = (&self.layout.middle, &self.layout.inner);
        let [_, ny, nz] = self.pair.size;
        let [_, ry, rz] = self.pair.radius;
        let (gy, gz) = if OF == 0 { (0, 0) } else { (ry, rz) };
        let mut energy = 0.0;
        // SAFETY: the memory follows the layout, lengths of the images were checked, the tile's rows are its own.
        unsafe {
            for plane in inner.planes.start..(middle.planes.start + rz).min(nz) {
                for row in inner.rows.clone() {
                    self.enter::<L>(row, [Some(plane), None], None);
                }
            }
            for plane in middle.planes.start..self.tile.planes.end + gz {
                if plane >= nz {
                    for row in self.tile.rows.clone() {
                        self.collect::<L>(row, plane);
                    }
                    continue;
                }
                let planes = [
                    (plane + rz < nz).then_some(plane + rz),
                    (plane > inner.planes.start + rz).then(|| plane - rz - 1),
                ];
                self.clear();
                for row in inner.rows.start..(middle.rows.start + ry).min(ny) {
                    self.enter::<L>(row, planes, Some(None));
                }
                for row in middle.rows.start..self.tile.rows.end + gy {
                    if row < ny {
                        let leaving = (row > inner.rows.start + ry).then(|| row - ry - 1);
                        if row + ry < ny {
                            self.enter::<L>(row + ry, planes, Some(leaving));
                        } else if let Some(leaving) = leaving {
                            self.leave::<L>(leaving);
                        }
                        let sum = self.correlate::<L>(row, plane);
                        if self.tile.rows.contains(&row) && self.tile.planes.contains(&plane) {
                            energy += sum;
                        }
                    } else {
                        self.forget::<L>(row);
                    }
                    if OF > 0 && row >= self.tile.rows.start + gy {
                        self.collect::<L>(row - gy, plane);
                    }
                }
            }
        }
        energy
    }
}

impl<T: Stored, const OF: usize> Pass<'_, T, OF> {
    const IMAGES: usize = images(OF);

    /// Sets the sums over rows to zero, as at the first row of a plane.
    unsafe fn clear(&self) {
        let wide = self.layout.wide;
        // SAFETY: the contract of `run`.
        unsafe {
            self.memory.row.write_bytes(0, MOMENTS * wide);
            self.memory.coefficients.write_bytes(0, Self::IMAGES * wide);
        }
    }

    /// `count` values of both images from an element on, without their centres.
    #[inline(always)]
    unsafe fn values<L: Lanes<Element = f64>>(&self, at: usize, count: usize) -> [L; 2] {
        // SAFETY: the contract of `run`.
        unsafe {
            let mut values = [L::splat(0.0); 2];
            for k in 0..2 {
                let value = T::get::<L>(self.pair.images[k].as_ptr().add(at), count);
                let centre = if count == L::COUNT {
                    L::splat(self.pair.centre[k])
                } else {
                    L::load_part([self.pair.centre[k]; Layout::LANES].as_ptr(), count)
                };
                values[k] = value.sub(centre);
            }
            values
        }
    }

    /// Moves the sums over planes of a row: one plane enters, one leaves. Then, where asked, this row enters the sums over rows
    /// and another leaves.
    #[inline(always)]
    unsafe fn enter<L: Lanes<Element = f64>>(
        &self,
        row: usize,
        planes: [Option<usize>; 2],
        rows: Option<Option<usize>>,
    ) {
        let Layout { width, wide, .. } = *self.layout;
        let [nx, ny, _] = self.pair.size;
        let [entering, leaving] = planes.map(|plane| Some((plane? * ny + row) * nx));
        // SAFETY: the contract of `run`.
        unsafe {
            let moments = self.moments(row);
            let others = match rows {
                Some(Some(leaving)) => Some(self.moments(leaving).cast_const()),
                _ => None,
            };
            let mut x = 0;
            while x < width {
                let count = nx.saturating_sub(x).min(L::COUNT);
                let mut sums = [L::splat(0.0); MOMENTS];
                for k in 0..MOMENTS {
                    sums[k] = L::load(moments.add(k * width + x));
                }
                if let Some(start) = entering {
                    let [a, b] = self.values::<L>(start + x, count);
                    sums[0] = sums[0].add(a);
                    sums[1] = sums[1].add(b);
                    sums[2] = sums[2].add(a.mul(a));
                    sums[3] = sums[3].add(a.mul(b));
                    sums[4] = sums[4].add(b.mul(b));
                }
                if let Some(start) = leaving {
                    let [a, b] = self.values::<L>(start + x, count);
                    sums[0] = sums[0].sub(a);
                    sums[1] = sums[1].sub(b);
                    sums[2] = sums[2].sub(a.mul(a));
                    sums[3] = sums[3].sub(a.mul(b));
                    sums[4] = sums[4].sub(b.mul(b));
                }
                for k in 0..MOMENTS {
                    sums[k].store(moments.add(k * width + x));
                }
                if rows.is_some() {
                    for k in 0..MOMENTS {
                        let to = self.memory.row.add(k * wide + self.pair.radius[0] + x);
                        let mut sum = L::load(to).add(sums[k]);
                        if let Some(others) = others {
                            sum = sum.sub(L::load(others.add(k * width + x)));
                        }
                        sum.store(to);
                    }
                }
                x += L::COUNT;
            }
        }
    }

    /// A row leaves the sums over rows.
    #[inline(always)]
    unsafe fn leave<L: Lanes<Element = f64>>(&self, row: usize) {
        let Layout { width, wide, .. } = *self.layout;
        // SAFETY: the contract of `run`.
        unsafe {
            let from = self.moments(row);
            for k in 0..MOMENTS {
                let to = self.memory.row.add(k * wide + self.pair.radius[0]);
                let mut x = 0;
                while x < width {
                    let sum = L::load(to.add(x)).sub(L::load(from.add(k * width + x)));
                    sum.store(to.add(x));
                    x += L::COUNT;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn moments(&self, row: usize) -> *mut f64 {
        let at = (row - self.layout.inner.rows.start) * MOMENTS * self.layout.width;
        // SAFETY: the contract of `run`.
        unsafe { self.memory.moments.add(at) }
    }

    /// The sum of the squared correlations of a row; its coefficients enter the sums over rows, and those of another leave.
    #[inline(always)]
    unsafe fn correlate<L: Lanes<Element = f64>>(&self, row: usize, plane: usize) -> f64 {
        let width = self.layout.width;
        // SAFETY: the contract of `run`.
        unsafe {
            let mut sums = [self.windows::<L>(self.memory.row, 0); MOMENTS];
            for k in 1..MOMENTS {
                sums[k] = self.windows::<L>(self.memory.row, k);
            }
            let share = L::splat(1.0 / (self.count(1, row) * self.count(2, plane)) as f64);
            let (zero, epsilon) = (L::splat(0.0), L::splat(EPSILON));
            let slot = self.slot(1, row);
            let mut total = zero;
            let mut x = 0;
            while x < width {
                let share = share.mul(L::load(self.pair.shares.as_ptr().add(x)));
                let mut mean = [zero; MOMENTS];
                for k in 0..MOMENTS {
                    mean[k] = sums[k].sums::<L>(x).mul(share);
                }
                let [a, b, aa, ab, bb] = mean;
                let aa = aa.sub(a.mul(a)).max(zero);
                let ab = ab.sub(a.mul(b));
                let bb = bb.sub(b.mul(b)).max(zero);
                let ratio = ab.div(aa.fma(bb, epsilon));
                total = ab.fma(ratio, total);
                if OF > 0 {
                    let both = ratio.add(ratio).mul(share);
                    let of_a = zero.sub(both.mul(ratio));
                    let (first, second) = (of_a.mul(bb), of_a.mul(aa));
                    let coefficients = [
                        both,
                        first,
                        zero.sub(both.fma(b, first.mul(a))),
                        second,
                        zero.sub(both.fma(a, second.mul(b))),
                    ];
                    self.roll(slot, x, coefficients);
                }
                x += L::COUNT;
            }
            total.sum()
        }
    }

    /// Row `k` of several with margins, ready to be summed over windows.
    #[inline(always)]
    unsafe fn windows<L: Lanes<Element = f64>>(&self, rows: *const f64, k: usize) -> Row {
        let Layout { width, wide, .. } = *self.layout;
        // SAFETY: the contract of `run`.
        unsafe {
            let halves = self.memory.halves.add(k * wide);
            Row::new::<L>(rows.add(k * wide), halves, (width, self.pair.radius[0]))
        }
    }

    /// Voxels of a window along an axis.
    #[inline(always)]
    fn count(&self, axis: usize, at: usize) -> usize {
        let (size, radius) = (self.pair.size[axis], self.pair.radius[axis]);
        (at + radius + 1).min(size) - at.saturating_sub(radius)
    }

    /// Where the coefficients of a row (`axis` 1) or a plane (2) are kept until they leave, whether others leave in their
    /// place, and whether they will.
    #[inline(always)]
    fn slot(&self, axis: usize, at: usize) -> (usize, [bool; 2]) {
        let (first, end) = if axis == 1 {
            (self.layout.middle.rows.start, self.tile.rows.end)
        } else {
            (self.layout.middle.planes.start, self.tile.planes.end)
        };
        let (radius, window) = (self.pair.radius[axis], 2 * self.pair.radius[axis] + 1);
        let leaves = at >= first + window;
        let kept = at < self.pair.size[axis] && at + window < end + radius;
        ((at - first) % window, [leaves, kept])
    }

    /// Coefficients of a row enter the sums over rows, and those of another leave.
    #[inline(always)]
    unsafe fn roll<L: Lanes<Element = f64>>(
        &self,
        (slot, [leaves, kept]): (usize, [bool; 2]),
        x: usize,
        coefficients: [L; COEFFICIENTS],
    ) {
        let Layout { width, wide, .. } = *self.layout;
        // SAFETY: the contract of `run`.
        unsafe {
            let others = self.memory.kept_rows;
            let others = others.wrapping_add(slot * Self::IMAGES * width);
            for k in 0..Self::IMAGES {
                let to = self
                    .memory
                    .coefficients
                    .add(k * wide + self.pair.radius[0] + x);
                let other = others.wrapping_add(k * width + x);
                let mut sum = L::load(to).add(coefficients[k]);
                if leaves {
                    sum = sum.sub(L::load(other));
                }
                sum.store(to);
                if kept {
                    coefficients[k].store(other);
                }
            }
        }
    }

    /// Coefficients of a row's place leave the sums over rows, beyond the last row.
    #[inline(always)]
    unsafe fn forget<L: Lanes<Element = f64>>(&self, row: usize) {
        let slot = self.slot(1, row);
        if slot.1[0] {
            let mut x = 0;
            while x < self.layout.width {
                // SAFETY: the contract of `run`.
                unsafe { self.roll(slot, x, [L::splat(0.0); COEFFICIENTS]) };
                x += L::COUNT;
            }
        }
    }

    /// The coefficients of a row of a plane enter the sums over planes, beyond the last plane none, and those of another plane
    /// leave; writes the gradients in the middle of the windows.
    #[inline(always)]
    unsafe fn collect<L: Lanes<Element = f64>>(&self, row: usize, plane: usize) {
        let Layout { width, rows, .. } = *self.layout;
        let [nx, ny, nz] = self.pair.size;
        let at = row - self.tile.rows.start;
        let (slot, [leaves, kept]) = self.slot(2, plane);
        let enters = plane < nz;
        let middle = plane.checked_sub(self.pair.radius[2]);
        let written = middle.filter(|plane| self.tile.planes.contains(plane));
        // SAFETY: the contract of `run`.
        unsafe {
            let totals = self.memory.totals.add(at * Self::IMAGES * width);
            let others = self.memory.kept_planes;
            let others = others.wrapping_add((slot * rows + at) * Self::IMAGES * width);
            let mut sums = [self.windows::<L>(self.memory.coefficients, 0); COEFFICIENTS];
            for k in 1..Self::IMAGES {
                sums[k] = self.windows::<L>(self.memory.coefficients, k);
            }
            let factor = L::splat(self.factor);
            let mut x = 0;
            while x < width {
                let mut total = [L::splat(0.0); COEFFICIENTS];
                for k in 0..Self::IMAGES {
                    let other = others.wrapping_add(k * width + x);
                    total[k] = L::load(totals.add(k * width + x));
                    if leaves {
                        total[k] = total[k].sub(T::get(other, L::COUNT));
                    }
                    if enters {
                        let mut sum = sums[k].sums::<L>(x);
                        if kept {
                            // what leaves later is what enters now, to the bit
                            T::put(sum, other, L::COUNT);
                            sum = T::get(other, L::COUNT);
                        }
                        total[k] = total[k].add(sum);
                    }
                    total[k].store(totals.add(k * width + x));
                }
                if let Some(plane) = written {
                    let count = (nx.saturating_sub(x)).min(L::COUNT);
                    let to = (plane * ny + row) * nx + x;
                    let [a, b] = self.values::<L>(to, count);
                    let mixed = [
                        b.fma(total[0], a.fma(total[1], total[2])),
                        a.fma(total[0], b.fma(total[3], total[4])),
                    ];
                    for k in 0..OF {
                        T::put(mixed[k].mul(factor), self.gradients[k].at(to), count);
                    }
                }
                x += L::COUNT;
            }
        }
    }
}
