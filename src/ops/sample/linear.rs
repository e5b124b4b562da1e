//! Multilinear interpolation.

use super::{splat, Cell};
use crate::ops::lanes::Lanes;

#[inline(always)]
unsafe fn lerp<L: Lanes>(a: L, b: L, t: L) -> L {
    // SAFETY: within a kernel.
    unsafe { t.fma(b.sub(a), a) }
}

/// Multilinear value at a cell.
///
/// # Safety
/// Within a kernel only; `image` has the volume that the cell was made for.
#[inline(always)]
pub(crate) unsafe fn linear_value<L: Lanes, const D: usize>(
    image: *const L::Element,
    cell: &Cell<L, D>,
    offset: L::Index,
    stride: &[usize; D],
) -> L {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        let low = plane_value(image, cell, offset, stride);
        if D == 2 {
            low
        } else {
            let high = plane_value(image.add(stride[D - 1]), cell, offset, stride);
            lerp(low, high, cell.part[D - 1])
        }
    }
}

/// The voxels at both ends of a cell's edge along the fastest axis.
#[inline(always)]
unsafe fn along_row<L: Lanes>(from: *const L::Element, offset: L::Index, stride: usize) -> (L, L) {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        if stride == 0 {
            // an axis of one voxel: what follows is another row, or nothing
            let voxel = L::gather(from, offset);
            (voxel, voxel)
        } else {
            L::gather_pair(from, offset)
        }
    }
}

/// Bilinear value in the plane of the first two axes.
#[inline(always)]
unsafe fn plane_value<L: Lanes, const D: usize>(
    from: *const L::Element,
    cell: &Cell<L, D>,
    offset: L::Index,
    stride: &[usize; D],
) -> L {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        let (a, b) = along_row::<L>(from, offset, stride[0]);
        let (c, d) = along_row::<L>(from.add(stride[1]), offset, stride[0]);
        lerp(
            lerp(a, b, cell.part[0]),
            lerp(c, d, cell.part[0]),
            cell.part[1],
        )
    }
}

/// Bilinear value in the plane of the first two axes, with its derivatives along x, y and both.
#[inline(always)]
unsafe fn plane_gradient<L: Lanes, const D: usize>(
    from: *const L::Element,
    cell: &Cell<L, D>,
    offset: L::Index,
    stride: &[usize; D],
) -> [L; 4] {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        let (a, b) = along_row::<L>(from, offset, stride[0]);
        let (c, d) = along_row::<L>(from.add(stride[1]), offset, stride[0]);
        let (x0, x1) = (b.sub(a), d.sub(c));
        let (low, high) = (cell.part[0].fma(x0, a), cell.part[0].fma(x1, c));
        let y = high.sub(low);
        let xy = x1.sub(x0);
        [cell.part[1].fma(y, low), cell.part[1].fma(xy, x0), y, xy]
    }
}

/// Multilinear value, gradient and Hessian (with respect to the position, zero where clamped).
///
/// Inside a cell only the mixed second derivatives are not zero. Packed as in [`cubic`](super::cubic); what is not used costs nothing.
///
/// # Safety
/// As [`linear_value`].
#[inline(always)]
pub(crate) unsafe fn linear<L: Lanes, const D: usize>(
    image: *const L::Element,
    cell: &Cell<L, D>,
    offset: L::Index,
    stride: &[usize; D],
) -> (L, [L; D], [L; 6]) {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        let [value, x, y, xy] = plane_gradient(image, cell, offset, stride);
        let mut gradient = [x; D];
        gradient[1] = y;
        let mut hessian = [splat::<L>(0.0); 6];
        hessian[1] = xy;
        let mut result = value;
        if D == 3 {
            let above = image.add(stride[D - 1]);
            let [value1, x1, y1, xy1] = plane_gradient(above, cell, offset, stride);
            let t = cell.part[D - 1];
            let z = value1.sub(value);
            result = t.fma(z, value);
            gradient[0] = lerp(x, x1, t);
            gradient[1] = lerp(y, y1, t);
            gradient[D - 1] = z;
            hessian[1] = lerp(xy, xy1, t);
            hessian[2] = x1.sub(x);
            hessian[4] = y1.sub(y);
        }
        cell.keep_inside(&mut gradient, &mut hessian);
        (result, gradient, hessian)
    }
}
