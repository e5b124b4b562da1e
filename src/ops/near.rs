//! A field's differences to its neighbours, for the lanes of a row.

use super::lanes::{prefetch, Lanes};
use super::real::Real;
use super::sample::{vectors, RUN};
use super::stencil::row_neighbours;

/// Vectors by which the plane behind is asked for before it is read.
pub(crate) const AHEAD: usize = 4;

/// A field of `D` planes, and how its differences are weighted.
#[derive(Clone, Copy)]
pub(crate) struct Neighbourhood<'a, L: Lanes, const D: usize> {
    u: *const L::Element,
    size: &'a [usize; D],
    /// `weight[a][b]` for component `a` and axis `b`.
    weight: [[L; D]; D],
}

/// What the differences at some voxels come to.
#[derive(Clone, Copy)]
pub(crate) struct Near<L, const D: usize> {
    /// Weighted squares of the differences forward.
    pub energy: L,
    /// The derivative of half the sum of all energies.
    pub force: [L; D],
    /// `I + Du` by central differences, one-sided at the border: component, then axis.
    pub slope: [[L; D]; D],
}

impl<L: Lanes, const D: usize> Near<L, D> {
    /// Room for a run.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn room() -> [Self; RUN] {
        // SAFETY: within a kernel.
        let zero = unsafe { L::constant(0.0) };
        let none = Self {
            energy: zero,
            force: [zero; D],
            slope: [[zero; D]; D],
        };
        [none; RUN]
    }
}

impl<'a, L: Lanes, const D: usize> Neighbourhood<'a, L, D> {
    /// The neighbourhoods of the field at `u`.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn new(
        u: *const L::Element,
        size: &'a [usize; D],
        weights: &[[f64; 3]; 3],
    ) -> Self {
        // SAFETY: within a kernel.
        unsafe {
            let mut weight = [[L::constant(0.0); D]; D];
            for a in 0..D {
                for b in 0..D {
                    weight[a][b] = L::constant(weights[a][b]);
                }
            }
            Self { u, size, weight }
        }
    }

    /// The vectors of a run from voxel `begin` of a row on; lanes beyond the row have no energy. Without `gradient`, the
    /// energy alone. One component is passed after the other, so that few rows are read at a time.
    ///
    /// # Safety
    /// The field has `D` planes of this size; the run begins within the row, at a multiple of the lanes.
    #[inline(always)]
    pub(crate) unsafe fn run(
        &self,
        gradient: bool,
        (row, begin): (usize, usize),
        nears: &mut [Near<L, D>; RUN],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if gradient {
                self.fill::<true>((row, begin), nears);
            } else {
                self.fill::<false>((row, begin), nears);
            }
        }
    }

    #[inline(always)]
    unsafe fn fill<const GRADIENT: bool>(
        &self,
        (row, begin): (usize, usize),
        nears: &mut [Near<L, D>; RUN],
    ) {
        // SAFETY: neighbours stay within the field.
        unsafe {
            let (n, width) = (self.size.iter().product::<usize>(), self.size[0]);
            let around = row_neighbours(self.size, row);
            let half = L::constant(0.5);
            for a in 0..D {
                let plane = self.u.add(a * n + row * width);
                let mut line = Line::at(plane, begin, width);
                for k in 0..vectors::<L>(width - begin) {
                    let i = begin + k * L::COUNT;
                    let (here, count) = (plane.add(i), (width - i).min(L::COUNT));
                    prefetch(here.wrapping_add(around[D - 1].1 + AHEAD * L::COUNT));
                    let (middle, left, right) = line.step(i);
                    let near = &mut nears[k];
                    if a == 0 {
                        near.energy = L::constant(0.0);
                    }
                    near.force[a] = L::constant(0.0);
                    for b in 0..D {
                        let (mut back, mut ahead, mut scale) = (left, right, half);
                        if b > 0 {
                            let (down, up) = around[b];
                            back = L::load_some(here.sub(down), count);
                            ahead = L::load_some(here.add(up), count);
                            if down == 0 || up == 0 {
                                scale = L::constant(1.0);
                            }
                        } else if GRADIENT && (i == 0 || i + count == width) {
                            scale = at_ends(i == 0, i + count == width, count);
                        }
                        let weight = self.weight[a][b];
                        let next = ahead.sub(middle);
                        near.energy = next.mul(next).fma(weight, near.energy);
                        if GRADIENT {
                            let previous = middle.sub(back);
                            near.force[a] = previous.sub(next).fma(weight, near.force[a]);
                            let unit = L::constant(if a == b { 1.0 } else { 0.0 });
                            near.slope[a][b] = ahead.sub(back).fma(scale, unit);
                        }
                    }
                }
            }
        }
    }
}

/// The scales of central differences where some lanes are the ends of a row, whose differences are one-sided.
#[inline(always)]
unsafe fn at_ends<L: Lanes>(first: bool, last: bool, count: usize) -> L {
    let mut scales = [L::Element::of(0.5); 16];
    if first {
        scales[0] = L::Element::of(1.0);
    }
    if last {
        scales[count - 1] = L::Element::of(1.0);
    }
    // SAFETY: no vector has more than 16 lanes.
    unsafe { L::load(scales.as_ptr()) }
}

/// Walks along a row, a vector after the other, with the neighbours on both sides; each vector is loaded once.
pub(crate) struct Line<L: Lanes> {
    row: *const L::Element,
    width: usize,
    before: L,
    mine: L,
}

impl<L: Lanes> Line<L> {
    /// Before the vector at voxel `begin`.
    ///
    /// # Safety
    /// Within a kernel; the row has so many voxels, and `begin` is a multiple of the lanes below that.
    #[inline(always)]
    pub(crate) unsafe fn at(row: *const L::Element, begin: usize, width: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let mine = L::load_some(row.add(begin), (width - begin).min(L::COUNT));
            let mut before = mine;
            if begin > 0 {
                before = L::load(row.add(begin - L::COUNT));
            }
            Self {
                row,
                width,
                before,
                mine,
            }
        }
    }

    /// The vector at voxel `i`, its neighbours before and those after it; at the ends of the row a voxel is its own.
    ///
    /// # Safety
    /// As [`Line::at`]; the vectors are asked for in order.
    #[inline(always)]
    pub(crate) unsafe fn step(&mut self, i: usize) -> (L, L, L) {
        // SAFETY: the caller's promise.
        unsafe {
            let (here, rest) = (self.row.add(i), self.width - i);
            let last = rest <= L::COUNT;
            let (mine, mut next) = (self.mine, self.mine);
            if !last {
                next = L::load_some(here.add(L::COUNT), (rest - L::COUNT).min(L::COUNT));
            }
            let (left, right) = if i == 0 || last {
                beside(here, mine, rest.min(L::COUNT), (i == 0, last))
            } else {
                (mine.one_back(self.before), mine.one_on(next))
            };
            (self.before, self.mine) = (mine, next);
            (mine, left, right)
        }
    }
}

/// The neighbours of the lanes at `here` along the row; at its ends a voxel is its own neighbour.
///
/// # Safety
/// Within a kernel only; the lanes lie within a row, whose ends among them are named.
#[inline(always)]
unsafe fn beside<L: Lanes>(
    here: *const L::Element,
    middle: L,
    count: usize,
    (first, last): (bool, bool),
) -> (L, L) {
    // SAFETY: the caller's lanes lie within a row, and so do their neighbours but at its ends.
    unsafe {
        let mut line = [L::Element::of(0.0); 17];
        let left = if first {
            middle.store(line.as_mut_ptr().add(1));
            line[0] = *here;
            L::load(line.as_ptr())
        } else {
            L::load_some(here.sub(1), count)
        };
        let right = if last {
            middle.store(line.as_mut_ptr());
            line[count] = *here.add(count - 1);
            L::load(line.as_ptr().add(1))
        } else {
            L::load_some(here.add(1), count)
        };
        (left, right)
    }
}
