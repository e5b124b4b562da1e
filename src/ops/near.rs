//! A field's differences to its neighbours, for the lanes of a row.

use super::lanes::Lanes;
use super::real::Real;
use super::stencil::row_neighbours;

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
    /// That of a field without differences.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn none() -> Self {
        // SAFETY: within a kernel.
        let zero = unsafe { L::constant(0.0) };
        Self {
            energy: zero,
            force: [zero; D],
            slope: [[zero; D]; D],
        }
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

    /// The first `count` lanes from voxel `i` of a row on; lanes beyond them have no energy. Without `GRADIENT`, the
    /// energy alone.
    ///
    /// # Safety
    /// The field has `D` planes of this size; the lanes lie within the row.
    #[inline(always)]
    pub(crate) unsafe fn at<const GRADIENT: bool>(
        &self,
        row: usize,
        i: usize,
        count: usize,
    ) -> Near<L, D> {
        // SAFETY: neighbours stay within the field.
        unsafe {
            let (n, width) = (self.size.iter().product::<usize>(), self.size[0]);
            let around = row_neighbours(self.size, row);
            let ends = (i == 0, i + count == width);
            let half = L::constant(0.5);
            let mut along = half;
            if ends.0 || ends.1 {
                let mut scales = [L::Element::of(0.5); 16];
                if ends.0 {
                    scales[0] = L::Element::of(1.0);
                }
                if ends.1 {
                    scales[count - 1] = L::Element::of(1.0);
                }
                along = L::load(scales.as_ptr());
            }
            let mut near = Near::none();
            for a in 0..D {
                let here = self.u.add(a * n + row * width + i);
                let middle = L::load_some(here, count);
                let (left, right) = beside(here, middle, count, ends);
                for b in 0..D {
                    let (mut back, mut ahead, mut scale) = (left, right, along);
                    if b > 0 {
                        let (down, up) = around[b];
                        back = L::load_some(here.sub(down), count);
                        ahead = L::load_some(here.add(up), count);
                        scale = half;
                        if down == 0 || up == 0 {
                            scale = L::constant(1.0);
                        }
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
            near
        }
    }
}

/// The neighbours of the lanes at `here` along the row; at its ends a voxel is its own neighbour.
///
/// # Safety
/// Within a kernel only; the lanes lie within a row, whose ends among them are named.
#[inline(always)]
pub(crate) unsafe fn beside<L: Lanes>(
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
