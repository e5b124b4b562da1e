//! Multilinear interpolation.

use super::{along_axes, splat, Cell};
use crate::ops::lanes::{Lanes, Places, Source};

#[inline(always)]
unsafe fn lerp<L: Lanes>(a: L, b: L, t: L) -> L {
    // SAFETY: within a kernel.
    unsafe { t.fma(b.sub(a), a) }
}

/// Vectors of a run. All their places in a volume are found before any is read, so that loads wait for no arithmetic, and a
/// channel is passed over the whole run, so that few rows are read at a time.
pub(crate) const RUN: usize = 8;

/// Runs that passes over several channels take together. A channel is then read for voxels that follow each other over several
/// rows, which the machine foresees and whose cells share voxels, where row by row each would wait for all channels of the last.
pub(crate) const RUNS: usize = 16;

/// Vectors of a run where so many voxels of a row are left.
#[inline(always)]
pub(crate) fn vectors<L: Lanes>(left: usize) -> usize {
    RUN.min(left.div_ceil(L::COUNT))
}

/// Where a vector of positions lies between its voxels.
#[derive(Clone, Copy)]
pub(crate) struct Multilinear<L: Lanes, const D: usize> {
    /// The first voxels of the cells.
    places: Places,
    /// Fractions within the cells, 0 to 1.
    part: [L; D],
    /// One where the position is inside along an axis, zero where it was clamped.
    inside: [L; D],
}

impl<L: Lanes, const D: usize> Multilinear<L, D> {
    /// At a cell of [`Cell::at`], of a volume with these strides.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn of(cell: &Cell<L, D>, stride: &[usize; D]) -> Self {
        // SAFETY: within a kernel.
        unsafe {
            let mut inside = cell.part;
            for a in 0..D {
                inside[a] = cell.inside(a, splat::<L>(1.0));
            }
            Self {
                places: cell.places(stride),
                part: cell.part,
                inside,
            }
        }
    }

    /// The value.
    ///
    /// # Safety
    /// Within a kernel only; `image` has the volume that the cell was made for.
    #[inline(always)]
    pub(crate) unsafe fn value<S: Source<L::Element>>(
        &self,
        image: *const S,
        stride: &[usize; D],
    ) -> L {
        // SAFETY: the cell lies inside the volume.
        unsafe {
            let rows = self.edges(image, stride);
            let low = plane_value(&self.part, rows[0], rows[1]);
            if D == 2 {
                low
            } else {
                let high = plane_value(&self.part, rows[2], rows[3]);
                lerp(low, high, self.part[D - 1])
            }
        }
    }

    /// Value and gradient (with respect to the position, zero where clamped).
    ///
    /// # Safety
    /// As [`Multilinear::value`].
    #[inline(always)]
    pub(crate) unsafe fn slope(
        &self,
        image: *const L::Element,
        stride: &[usize; D],
    ) -> (L, [L; D]) {
        // SAFETY: the caller's promise.
        unsafe {
            let (value, gradient, _) = self.bend(image, stride);
            (value, gradient)
        }
    }

    /// Value, gradient and Hessian (with respect to the position, zero where clamped).
    ///
    /// Inside a cell only the mixed second derivatives are not zero. Packed as in [`cubic`](super::cubic).
    ///
    /// # Safety
    /// As [`Multilinear::value`].
    #[inline(always)]
    pub(crate) unsafe fn bend<S: Source<L::Element>>(
        &self,
        image: *const S,
        stride: &[usize; D],
    ) -> (L, [L; D], [L; 6]) {
        // SAFETY: the cell lies inside the volume.
        unsafe {
            let rows = self.edges(image, stride);
            let [value, x, y, xy] = plane_gradient(&self.part, rows[0], rows[1]);
            let mut gradient = [x; D];
            gradient[1] = y;
            let mut hessian = [splat::<L>(0.0); 6];
            hessian[1] = xy;
            let mut result = value;
            if D == 3 {
                let [value1, x1, y1, xy1] = plane_gradient(&self.part, rows[2], rows[3]);
                let t = self.part[D - 1];
                let z = value1.sub(value);
                result = t.fma(z, value);
                gradient[0] = lerp(x, x1, t);
                gradient[1] = lerp(y, y1, t);
                gradient[D - 1] = z;
                hessian[1] = lerp(xy, xy1, t);
                hessian[2] = x1.sub(x);
                hessian[4] = y1.sub(y);
            }
            along_axes(&self.inside, &mut gradient, &mut hessian);
            (result, gradient, hessian)
        }
    }

    /// The voxels at both ends of the cells' edges along the fastest axis: the edge at the first voxel, the next along y,
    /// and in 3D those two one voxel further along z.
    #[inline(always)]
    unsafe fn edges<S: Source<L::Element>>(
        &self,
        image: *const S,
        stride: &[usize; D],
    ) -> [(L, L); 4] {
        // SAFETY: the cell lies inside the volume.
        unsafe {
            let above = image.add(stride[1]);
            let next = [image.add(stride[D - 1]), above.add(stride[D - 1])];
            if stride[0] == 0 {
                // an axis of one voxel: what follows is another row, or nothing
                let mut edges = [(splat::<L>(0.0), splat::<L>(0.0)); 4];
                let rows = [image, above, next[0], next[1]];
                for r in 0..2 * (D - 1) {
                    let voxel = S::at(rows[r], &self.places);
                    edges[r] = (voxel, voxel);
                }
                edges
            } else if D == 2 {
                let [low, high] = S::pairs([image, above], &self.places);
                [low, high, low, high]
            } else {
                S::pairs([image, above, next[0], next[1]], &self.places)
            }
        }
    }
}

/// Bilinear value in the plane of the first two axes.
#[inline(always)]
unsafe fn plane_value<L: Lanes, const D: usize>(
    part: &[L; D],
    (a, b): (L, L),
    (c, d): (L, L),
) -> L {
    // SAFETY: within a kernel.
    unsafe { lerp(lerp(a, b, part[0]), lerp(c, d, part[0]), part[1]) }
}

/// Bilinear value in the plane of the first two axes, with its derivatives along x, y and both.
#[inline(always)]
unsafe fn plane_gradient<L: Lanes, const D: usize>(
    part: &[L; D],
    (a, b): (L, L),
    (c, d): (L, L),
) -> [L; 4] {
    // SAFETY: within a kernel.
    unsafe {
        let (x0, x1) = (b.sub(a), d.sub(c));
        let (low, high) = (part[0].fma(x0, a), part[0].fma(x1, c));
        let y = high.sub(low);
        let xy = x1.sub(x0);
        [part[1].fma(y, low), part[1].fma(xy, x0), y, xy]
    }
}
