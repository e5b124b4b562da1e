//! Values between the voxels of a volume.

use crate::{Affine, Grid};

/// The voxels of a volume, for positions in its index space. A plane has one voxel along the third axis.
///
/// A position is inside up to half a voxel beyond the outer voxel centres, the far end excluded, as in ITK.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lattice {
    size: [usize; 3],
    stride: [usize; 3],
}

/// The eight voxels around a position, and its place between them.
pub(super) struct Cell {
    base: usize,
    step: [usize; 3],
    part: [f64; 3],
}

/// An index map whose third coordinate is 0 in 2D.
pub(super) fn flat(map: &Affine, rank: usize) -> Affine {
    let mut map = *map;
    if rank == 2 {
        map.matrix[2] = [0.0; 3];
        map.translation[2] = 0.0;
    }
    map
}

impl Lattice {
    pub fn new(grid: &Grid) -> Self {
        let size = std::array::from_fn(|a| grid.size().get(a).copied().unwrap_or(1));
        Self {
            size,
            stride: [1, size[0], size[0] * size[1]],
        }
    }

    fn contains(&self, position: [f64; 3]) -> bool {
        (0..3).all(|a| position[a] >= -0.5 && position[a] < self.size[a] as f64 - 0.5)
    }

    /// Whether a position lies in the box of the voxel centres, but for rounding.
    pub fn between_centres(&self, position: [f64; 3]) -> bool {
        (0..3).all(|a| position[a] >= -1e-6 && position[a] <= (self.size[a] - 1) as f64 + 1e-6)
    }

    /// The cell of a position inside, clamped to the voxel centres.
    #[inline]
    pub fn cell(&self, position: [f64; 3]) -> Option<Cell> {
        if !self.contains(position) {
            return None;
        }
        let mut cell = Cell {
            base: 0,
            step: [0; 3],
            part: [0.0; 3],
        };
        for a in 0..3 {
            let last = self.size[a] - 1;
            let at = position[a].max(0.0).min(last as f64);
            let low = (at as usize).min(last.saturating_sub(1));
            cell.base += low * self.stride[a];
            cell.step[a] = if last > 0 { self.stride[a] } else { 0 };
            cell.part[a] = at - low as f64;
        }
        Some(cell)
    }

    /// The voxel nearest to a position inside; the upper one of two.
    #[inline]
    pub fn nearest(&self, position: [f64; 3]) -> Option<usize> {
        self.contains(position).then(|| {
            (0..3)
                .map(|a| ((position[a] + 0.5) as usize).min(self.size[a] - 1) * self.stride[a])
                .sum()
        })
    }

    /// The cubic B-spline with these coefficients, mirrored at the outer voxel centres.
    #[inline]
    pub fn cubic(&self, coefficients: &[f32], position: [f64; 3]) -> Option<f32> {
        if !self.contains(position) {
            return None;
        }
        let mut weight = [[0.0f32; 4]; 3];
        let mut tap = [[0usize; 4]; 3];
        for a in 0..3 {
            // Shifted by one, so that rounding towards zero rounds down.
            let low = (position[a] + 1.0) as usize;
            weight[a] = spline_weights((position[a] + 1.0 - low as f64) as f32);
            for (n, tap) in tap[a].iter_mut().enumerate() {
                *tap = mirrored(low as isize + n as isize - 2, self.size[a]) * self.stride[a];
            }
        }
        let planes = if self.size[2] == 1 { 1 } else { 4 };
        if planes == 1 {
            weight[2][0] = 1.0;
        }
        let neighbours = tap[0][3] == tap[0][0] + 3 && tap[0][1] == tap[0][0] + 1;
        let mut sum = [0.0f32; 4];
        for (plane, wz) in tap[2].iter().zip(&weight[2]).take(planes) {
            for (row, wy) in tap[1].iter().zip(&weight[1]) {
                let (w, at) = (wz * wy, plane + row);
                let values = if neighbours {
                    coefficients[at + tap[0][0]..][..4]
                        .first_chunk::<4>()
                        .copied()
                        .unwrap_or_default()
                } else {
                    tap[0].map(|t| coefficients[at + t])
                };
                for n in 0..4 {
                    sum[n] += w * values[n];
                }
            }
        }
        Some((0..4).map(|n| weight[0][n] * sum[n]).sum())
    }
}

impl Cell {
    /// Linear interpolation.
    #[inline]
    pub fn linear(&self, values: &[f32]) -> f64 {
        let [sx, sy, sz] = self.step;
        let [x, y, z] = self.part;
        let row = |at: usize| {
            let (a, b) = (f64::from(values[at]), f64::from(values[at + sx]));
            a + x * (b - a)
        };
        let plane = |at: usize| {
            let (a, b) = (row(at), row(at + sy));
            a + y * (b - a)
        };
        if sz == 0 {
            return plane(self.base);
        }
        let (a, b) = (plane(self.base), plane(self.base + sz));
        a + z * (b - a)
    }

    /// The label with the largest share, each of the eight voxels counting by its weight in linear interpolation; of
    /// equal shares the smallest label.
    #[inline]
    pub fn vote(&self, labels: &[u32]) -> u32 {
        let [sx, sy, sz] = self.step;
        let mut around = [0u32; 8];
        for (n, label) in around.iter_mut().enumerate() {
            *label = labels[self.base + (n & 1) * sx + (n >> 1 & 1) * sy + (n >> 2) * sz];
        }
        if around.iter().all(|label| *label == around[0]) {
            return around[0];
        }
        let [x, y, z] = self.part.map(|part| [1.0 - part, part]);
        let (mut best, mut most) = (u32::MAX, 0.0);
        for &label in &around {
            let mut share = 0.0;
            for (n, &other) in around.iter().enumerate() {
                if other == label {
                    share += x[n & 1] * y[n >> 1 & 1] * z[n >> 2];
                }
            }
            if share > most || (share == most && label < best) {
                (best, most) = (label, share);
            }
        }
        best
    }
}

/// An index mirrored at both ends; an axis of one voxel has no other.
fn mirrored(index: isize, size: usize) -> usize {
    if size == 1 {
        return 0;
    }
    let period = 2 * (size as isize - 1);
    let index = index.rem_euclid(period);
    index.min(period - index) as usize
}

fn spline_weights(t: f32) -> [f32; 4] {
    let s = 1.0 - t;
    [
        s * s * s / 6.0,
        2.0 / 3.0 + t * t * (0.5 * t - 1.0),
        2.0 / 3.0 + s * s * (0.5 * s - 1.0),
        t * t * t / 6.0,
    ]
}
