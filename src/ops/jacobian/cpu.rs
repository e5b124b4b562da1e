//! The voxels of a line behind the Jacobian determinants.
//!
//! Formula, layout and boundary: see the functions of `jacobian`. No fused multiply-add is used, so the bits are the same
//! on every processor.

use std::ops::Range;

use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::stencil::{row_neighbours, segment};

/// What is measured at a voxel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Measure {
    /// The determinant by central differences.
    Central,
    /// The smallest determinant of the digital criterion.
    Corners,
    /// The sum of `-min(J, 0)` over the tetrahedra (triangles) that belong to the voxel.
    FoldedVolume,
}

/// A planar displacement with its size.
pub(in crate::ops) struct Field<'a, T> {
    u: &'a [T],
    size: &'a [usize],
}

impl<'a, T: Real> Field<'a, T> {
    pub(in crate::ops) fn new(u: &'a [T], size: &'a [usize]) -> Self {
        let rank = size.len();
        assert!(
            (2..=3).contains(&rank) && !size.contains(&0),
            "the size must have rank 2 or 3 and no zero, got {size:?}"
        );
        assert_eq!(
            u.len(),
            rank * size.iter().product::<usize>(),
            "a displacement of size {size:?} has rank * voxels values"
        );
        Self { u, size }
    }

    pub(super) fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// Voxels in a line.
    pub(super) fn length(&self) -> usize {
        self.size[0]
    }

    pub(super) fn lines(&self) -> usize {
        self.size[1..].iter().product()
    }

    /// Measures the voxels `range` of a line.
    pub(in crate::ops) fn measure(
        &self,
        what: Measure,
        line: usize,
        range: Range<usize>,
        out: &mut [T],
    ) {
        assert!(line < self.lines() && range.end <= self.length() && out.len() == range.len());
        if self.size.len() == 2 {
            dispatch(Line::<T, 2>::new(self, what, line, range, out));
        } else {
            dispatch(Line::<T, 3>::new(self, what, line, range, out));
        }
    }
}

/// The smallest value of a line.
pub(super) fn smallest<T: Real>(values: &[T]) -> T {
    let smaller = |a: T, b: T| if a < b { a } else { b };
    let mut lanes = [values[0]; 16];
    let chunks = values.chunks_exact(16);
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = smaller(*lane, value);
    }
    for chunk in chunks {
        for lane in 0..16 {
            lanes[lane] = smaller(chunk[lane], lanes[lane]);
        }
    }
    lanes.into_iter().fold(values[0], smaller)
}

struct Line<'a, T, const D: usize> {
    u: &'a [T],
    size: [usize; D],
    what: Measure,
    line: usize,
    range: Range<usize>,
    out: &'a mut [T],
}

impl<'a, T: Real, const D: usize> Line<'a, T, D> {
    fn new(
        field: &Field<'a, T>,
        what: Measure,
        line: usize,
        range: Range<usize>,
        out: &'a mut [T],
    ) -> Self {
        Self {
            u: field.u,
            size: std::array::from_fn(|a| field.size[a]),
            what,
            line,
            range,
            out,
        }
    }
}

impl<T: Real, const D: usize> Kernel<T> for Line<'_, T, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: `measure` checked line, range and lengths.
        unsafe {
            match self.what {
                Measure::Central => self.voxels::<L, 0>(),
                Measure::Corners => self.voxels::<L, 1>(),
                Measure::FoldedVolume => self.voxels::<L, 2>(),
            }
        }
    }
}

/// Distances to the neighbours backward and forward along each axis; 0 where there is none.
type Around<const D: usize> = [(usize, usize); D];

/// The edges at a voxel by axis, backward and forward, and their components.
type Edges<L> = [[[L; 3]; 2]; 3];

impl<T: Real, const D: usize> Line<'_, T, D> {
    /// `WHAT`: 0 central, 1 corners, 2 folded volume.
    #[inline(always)]
    unsafe fn voxels<L: Lanes<Element = T>, const WHAT: usize>(self) {
        // SAFETY: neighbours stay within the field, lanes within the range.
        unsafe {
            let n: usize = self.size.iter().product();
            let mut around = row_neighbours(&self.size, self.line);
            let mut x = self.range.start;
            while x < self.range.end {
                let mut s = segment(self.size[0], x, L::COUNT);
                s.count = s.count.min(self.range.end - x);
                around[0] = (s.left, s.right);
                let here = self.u.as_ptr().add(self.line * self.size[0] + x);
                let edge = edges::<L, D>(here, n, &around, s.count);
                let value = match WHAT {
                    0 => central::<L, D>(&edge),
                    1 => corners::<L, D>(&edge, here, n, &around, s.count),
                    _ => folded::<L, D>(&edge, here, n, &around, s.count),
                };
                let to = self.out.as_mut_ptr().add(x - self.range.start);
                value.store_some(to, s.count);
                x += s.count;
            }
        }
    }
}

/// The edges at `here`; one stands for both at the border.
#[inline(always)]
unsafe fn edges<L: Lanes, const D: usize>(
    here: *const L::Element,
    n: usize,
    around: &Around<D>,
    count: usize,
) -> Edges<L> {
    // SAFETY: the caller's neighbours lie within the field.
    unsafe {
        let mut edge = [[[L::constant(0.0); 3]; 2]; 3];
        let one = L::constant(1.0);
        for c in 0..D {
            let middle = L::load_some(here.add(c * n), count);
            for b in 0..D {
                let (back, ahead) = around[b];
                let mut before = middle.sub(L::load_some(here.add(c * n).sub(back), count));
                let mut after = L::load_some(here.add(c * n + ahead), count).sub(middle);
                if b == c {
                    before = before.add(one);
                    after = after.add(one);
                }
                edge[b][0][c] = before;
                edge[b][1][c] = after;
            }
        }
        for b in 0..D {
            let (back, ahead) = around[b];
            if back == 0 {
                edge[b][0] = edge[b][1];
            } else if ahead == 0 {
                edge[b][1] = edge[b][0];
            }
        }
        edge
    }
}

#[inline(always)]
unsafe fn cross<L: Lanes>(b: [L; 3], c: [L; 3]) -> [L; 3] {
    // SAFETY: within a kernel.
    unsafe {
        [
            b[1].mul(c[2]).sub(b[2].mul(c[1])),
            b[2].mul(c[0]).sub(b[0].mul(c[2])),
            b[0].mul(c[1]).sub(b[1].mul(c[0])),
        ]
    }
}

#[inline(always)]
unsafe fn dot<L: Lanes>(a: [L; 3], b: [L; 3]) -> L {
    // SAFETY: within a kernel.
    unsafe { a[0].mul(b[0]).add(a[1].mul(b[1])).add(a[2].mul(b[2])) }
}

/// What the first edge is multiplied with: the normal of the others.
#[inline(always)]
unsafe fn normal<L: Lanes, const D: usize>(second: [L; 3], third: [L; 3]) -> [L; 3] {
    // SAFETY: within a kernel.
    unsafe {
        if D == 3 {
            return cross(second, third);
        }
        let zero = L::constant(0.0);
        [second[1], zero.sub(second[0]), zero]
    }
}

#[inline(always)]
unsafe fn determinant<L: Lanes, const D: usize>(first: [L; 3], normal: [L; 3]) -> L {
    // SAFETY: within a kernel.
    unsafe {
        if D == 3 {
            dot(first, normal)
        } else {
            first[0].mul(normal[0]).add(first[1].mul(normal[1]))
        }
    }
}

/// The determinant of the means of backward and forward edges.
#[inline(always)]
unsafe fn central<L: Lanes, const D: usize>(edge: &Edges<L>) -> L {
    // SAFETY: within a kernel.
    unsafe {
        let half = L::constant(0.5);
        let mut mean = [edge[0][0]; 3];
        for b in 0..D {
            for c in 0..D {
                mean[b][c] = half.mul(edge[b][0][c].add(edge[b][1][c]));
            }
        }
        determinant::<L, D>(mean[0], normal::<L, D>(mean[1], mean[2]))
    }
}

/// The one-sided determinants, index `first + 2 second + 4 third`, 0 backward and 1 forward; in 2D the latter four repeat
/// the first.
#[inline(always)]
unsafe fn octants<L: Lanes, const D: usize>(edge: &Edges<L>) -> [L; 8] {
    // SAFETY: within a kernel.
    unsafe {
        let mut all = [edge[0][0][0]; 8];
        for third in 0..2 {
            for second in 0..2 {
                let at = 2 * second + 4 * third;
                if D == 2 && third == 1 {
                    all[at] = all[at - 4];
                    all[at + 1] = all[at - 3];
                    continue;
                }
                let normal = normal::<L, D>(edge[1][second], edge[2][third]);
                all[at] = determinant::<L, D>(edge[0][0], normal);
                all[at + 1] = determinant::<L, D>(edge[0][1], normal);
            }
        }
        all
    }
}

/// The two diagonal determinants of the cell at `here`, each 2 for the identity.
#[inline(always)]
unsafe fn diagonals<L: Lanes, const D: usize>(
    here: *const L::Element,
    n: usize,
    around: &Around<D>,
    count: usize,
) -> [L; 2] {
    // SAFETY: the caller's cell lies within the field.
    unsafe {
        let (right, up, over) = (around[0].1, around[1].1, around[D - 1].1);
        let zero = L::constant(0.0);
        let one = L::constant(1.0);
        // From (0,0,0) to (0,1,1), (1,0,1), (1,1,0), and from (1,0,0), (0,1,0), (0,0,1) to (1,1,1).
        let (mut low, mut high) = ([[zero; 3]; 3], [[zero; 3]; 3]);
        for c in 0..3 {
            let plane = here.add(c * n);
            let near = L::load_some(plane, count);
            let far = L::load_some(plane.add(right + up + over), count);
            for b in 0..3 {
                let axis = [right, up, over][b];
                let other = L::load_some(plane.add(right + up + over - axis), count);
                let single = L::load_some(plane.add(axis), count);
                low[b][c] = other.sub(near);
                high[b][c] = far.sub(single);
                if b != c {
                    low[b][c] = low[b][c].add(one);
                    high[b][c] = high[b][c].add(one);
                }
            }
        }
        [
            dot(low[0], cross(low[1], low[2])),
            dot(high[0], cross(high[1], high[2])),
        ]
    }
}

/// Whether there is a cell whose lowest corner the voxel is, in 3D.
#[inline(always)]
fn has_cell<const D: usize>(around: &Around<D>) -> bool {
    D == 3 && around[0].1 > 0 && around[1].1 > 0 && around[D - 1].1 > 0
}

/// The smallest one-sided or diagonal determinant.
#[inline(always)]
unsafe fn corners<L: Lanes, const D: usize>(
    edge: &Edges<L>,
    here: *const L::Element,
    n: usize,
    around: &Around<D>,
    count: usize,
) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let all = octants::<L, D>(edge);
        let low = all[0].min(all[1]).min(all[2].min(all[3]));
        let high = all[4].min(all[5]).min(all[6].min(all[7]));
        // Two of the determinants see every neighbour: NaN in one of them must not be lost in the comparisons.
        let seen = L::constant(0.0).mul(all[0].add(all[7]));
        let low = low.min(high).add(seen);
        let low = low.max(L::constant(f64::NEG_INFINITY));
        if !has_cell(around) {
            return low;
        }
        let [first, second] = diagonals::<L, D>(here, n, around, count);
        // not a number where only a voxel beyond the edges is none: that voxel sees it
        L::constant(0.5).mul(first.min(second)).min(low)
    }
}

#[inline(always)]
unsafe fn folded<L: Lanes, const D: usize>(
    edge: &Edges<L>,
    here: *const L::Element,
    n: usize,
    around: &Around<D>,
    count: usize,
) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = L::constant(0.0);
        let all = octants::<L, D>(edge);
        let mut sum = zero;
        for octant in 0..1 << D {
            let mut inside = true;
            for a in 0..D {
                let (back, ahead) = around[a];
                inside &= if octant >> a & 1 == 0 { back } else { ahead } > 0;
            }
            if inside {
                sum = sum.sub(all[octant].min(zero));
            }
        }
        if has_cell(around) {
            let pair = diagonals::<L, D>(here, n, around, count);
            for k in 0..2 {
                sum = sum.sub(pair[k].min(zero));
            }
        }
        sum
    }
}
