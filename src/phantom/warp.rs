//! A smooth random velocity and the displacement it generates.

use crate::{Grid, Rng};
use rayon::prelude::*;

/// Knots of the velocity along an axis, the middle of them at the origin.
const KNOTS: usize = 16;
/// Distance of the knots, mm.
const APART: f64 = 34.0;
/// Standard deviation of a coefficient, mm.
const AMPLITUDE: f64 = 7.5;
/// Distance of the nodes at which trajectories are followed, mm.
const NODE: f64 = 8.0;
/// Steps of a trajectory.
const STEPS: usize = 3;

/// A stationary velocity: a cubic B-spline with random coefficients, mm.
pub(super) struct Velocity {
    rank: usize,
    coefficients: Vec<[f64; 3]>,
}

impl Velocity {
    pub(super) fn new(rank: usize, rng: &mut Rng) -> Self {
        let knots = KNOTS.pow(rank as u32);
        let coefficients = (0..knots)
            .map(|_| {
                std::array::from_fn(|a| {
                    if a < rank {
                        AMPLITUDE * rng.normal().clamp(-2.0, 2.0)
                    } else {
                        0.0
                    }
                })
            })
            .collect();
        Self { rank, coefficients }
    }

    fn at(&self, point: [f64; 3]) -> [f64; 3] {
        let mut first = [0; 3];
        let mut weights = [[1.0, 0.0, 0.0, 0.0]; 3];
        for a in 0..self.rank {
            // Beyond the knots the velocity goes on as it is at the last of them.
            let knot =
                (point[a] / APART + 0.5 * (KNOTS - 1) as f64).clamp(1.0, KNOTS as f64 - 2.001);
            first[a] = knot as usize - 1;
            let t = knot.fract();
            let s = 1.0 - t;
            weights[a] = [
                s * s * s / 6.0,
                (4.0 - 3.0 * t * t * (2.0 - t)) / 6.0,
                (4.0 - 3.0 * s * s * (2.0 - s)) / 6.0,
                t * t * t / 6.0,
            ];
        }
        let mut sum = [0.0; 3];
        for k in 0..if self.rank == 3 { 4 } else { 1 } {
            for j in 0..4 {
                let start = first[0] + KNOTS * (first[1] + j + KNOTS * (first[2] + k));
                let weight = weights[1][j] * weights[2][k];
                for (c, along) in self.coefficients[start..start + 4].iter().zip(weights[0]) {
                    for a in 0..3 {
                        sum[a] += weight * along * c[a];
                    }
                }
            }
        }
        sum
    }

    /// Where the flow takes a point in unit time, minus the point (classical Runge-Kutta).
    fn follow(&self, start: [f64; 3], direction: f64) -> [f64; 3] {
        let h = direction / STEPS as f64;
        let add = |p: [f64; 3], v: [f64; 3], f: f64| -> [f64; 3] {
            std::array::from_fn(|a| p[a] + f * v[a])
        };
        let mut point = start;
        for _ in 0..STEPS {
            let a = self.at(point);
            let b = self.at(add(point, a, 0.5 * h));
            let c = self.at(add(point, b, 0.5 * h));
            let d = self.at(add(point, c, h));
            for i in 0..3 {
                point[i] += h / 6.0 * (a[i] + 2.0 * (b[i] + c[i]) + d[i]);
            }
        }
        add(point, start, -1.0)
    }

    /// The displacement of `exp(direction * v)`, everything shrunk by `scale`: planar, mm, on the grid.
    ///
    /// Trajectories start at coarse nodes; between them cubic Lagrange interpolation, one axis after the other.
    pub(super) fn displacement(&self, grid: &Grid, scale: f64, direction: f64) -> Vec<f32> {
        let rank = self.rank;
        let axes: Vec<Axis> = (0..rank)
            .map(|a| {
                Axis::new(
                    grid.size()[a],
                    grid.spacing()[a] / scale,
                    grid.origin()[a] / scale,
                )
            })
            .collect();
        let count = |a: usize| axes.get(a).map_or(1, |axis| axis.nodes);
        let nodes: Vec<[f64; 3]> = (0..count(0) * count(1) * count(2))
            .into_par_iter()
            .with_min_len(64)
            .map(|n| {
                let index = [
                    n % count(0),
                    n / count(0) % count(1),
                    n / (count(0) * count(1)),
                ];
                let start = std::array::from_fn(|a| {
                    axes.get(a)
                        .map_or(0.0, |axis| axis.first + NODE * index[a] as f64)
                });
                self.follow(start, direction)
            })
            .collect();
        let mut out = Vec::with_capacity(rank * grid.voxels());
        for component in 0..rank {
            let mut values: Vec<f32> = nodes
                .iter()
                .map(|u| (u[component] * scale) as f32)
                .collect();
            let mut before = 1;
            // The slowest axis first: the early passes are over small arrays.
            for a in (0..rank).rev() {
                let inner: usize = (0..a).map(count).product();
                values = axes[a].refine(&values, inner, before);
                before *= axes[a].weights.len();
            }
            out.extend(values);
        }
        out
    }
}

/// Interpolation from nodes to voxels along one axis.
struct Axis {
    nodes: usize,
    /// Position of the first node, mm.
    first: f64,
    /// The first of four nodes, and their weights, for every voxel.
    weights: Vec<(usize, [f32; 4])>,
}

impl Axis {
    fn new(voxels: usize, spacing: f64, origin: f64) -> Self {
        let first = origin - NODE;
        let weights: Vec<(usize, [f32; 4])> = (0..voxels)
            .map(|i| {
                let place = (origin + spacing * i as f64 - first) / NODE;
                let t = place.fract();
                let weights = [
                    -t * (t - 1.0) * (t - 2.0) / 6.0,
                    (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
                    -(t + 1.0) * t * (t - 2.0) / 2.0,
                    (t + 1.0) * t * (t - 1.0) / 6.0,
                ];
                (place as usize - 1, weights.map(|w| w as f32))
            })
            .collect();
        Self {
            nodes: weights.last().map_or(4, |last| last.0 + 4),
            first,
            weights,
        }
    }

    /// `values` of shape `[before, nodes, inner]` to `[before, voxels, inner]`.
    fn refine(&self, values: &[f32], inner: usize, before: usize) -> Vec<f32> {
        let voxels = self.weights.len();
        let mut out = vec![0.0; before * voxels * inner];
        out.par_chunks_mut(inner * voxels)
            .zip(values.par_chunks(inner * self.nodes))
            .with_min_len(1 + 4096 / (inner * voxels))
            .for_each(|(out, values)| {
                for (out, (node, weights)) in out.chunks_mut(inner).zip(&self.weights) {
                    let row = |n: usize| &values[(node + n) * inner..][..inner];
                    let rows = [row(0), row(1), row(2), row(3)];
                    for (i, value) in out.iter_mut().enumerate() {
                        *value = weights[0] * rows[0][i]
                            + weights[1] * rows[1][i]
                            + weights[2] * rows[2][i]
                            + weights[3] * rows[3][i];
                    }
                }
            });
        out
    }
}
