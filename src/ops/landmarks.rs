//! Corresponding points as a term of an energy.

use candle_core::Tensor;

use super::diffusion::size;
use super::real::Real;
use super::storage::{read, with_real, write};
use crate::Result;

/// Corresponding points: `E(u) = weight / 2 sum_i e_i' Q e_i` with `e_i = p_i + u(p_i) - t_i`.
///
/// The displacement `u` (`[rank, (nz,) ny, nx]`, voxels) is smoothed by a Gaussian, which spreads the pull of a point over its
/// neighbourhood, then interpolated linearly; it is continued beyond the border by its nearest value. The points do not move,
/// so the energy is a quadratic function of `u`: its curvature, which couples the voxels around each point, is exact and never
/// negative. Points are taken one after the other: the same bits for any number of threads.
#[derive(Debug, Clone, PartialEq)]
pub struct LandmarkData {
    /// `p_i`, in voxels of the fixed grid.
    pub points: Vec<[f64; 3]>,
    /// `t_i`, where they belong, in voxels of the fixed grid too.
    pub targets: Vec<[f64; 3]>,
    /// `Q`, symmetric and not negative: how a difference in voxels is measured.
    pub metric: [[f64; 3]; 3],
    /// Standard deviation of the Gaussian along each axis, voxels; zero is none.
    pub spread: [f64; 3],
    /// The factor in front.
    pub weight: f64,
}

/// The second derivative of a [`LandmarkData`].
#[derive(Debug, Clone)]
pub struct LandmarkCurvature {
    stencils: Vec<Stencil>,
    /// `weight Q`.
    metric: [[f64; 3]; 3],
}

/// How the displacement at a point follows from the voxels around it: the sum of their shares of their vectors.
#[derive(Debug, Clone)]
struct Stencil {
    voxels: Vec<usize>,
    shares: Vec<f64>,
    /// Each share times what carries a step to a displacement; none where steps are displacements.
    matrices: Option<Vec<[[f64; 3]; 3]>>,
}

impl Stencil {
    /// The matrix of entry `k`.
    fn matrix(&self, k: usize) -> [[f64; 3]; 3] {
        match &self.matrices {
            Some(matrices) => matrices[k],
            None => {
                let s = self.shares[k];
                [[s, 0.0, 0.0], [0.0, s, 0.0], [0.0, 0.0, s]]
            }
        }
    }
}

/// Components and voxels of a field, fastest axis first.
struct Field {
    size: Vec<usize>,
    voxels: usize,
}

impl Field {
    fn of(u: &Tensor) -> Self {
        let size = size(u);
        Self {
            voxels: size.iter().product(),
            size,
        }
    }

    fn stencil(&self, point: &[f64; 3], spread: &[f64; 3]) -> Stencil {
        let (mut voxels, mut shares, mut stride) = (vec![0], vec![1.0], 1);
        for (a, &n) in self.size.iter().enumerate() {
            let line = along_axis(point[a], n, spread[a]);
            let each = |old: &dyn Fn(usize) -> (usize, f64)| {
                let all = line.iter().flat_map(|(index, share)| {
                    (0..voxels.len()).map(move |k| (k, index * stride, *share))
                });
                all.map(|(k, step, share)| (old(k).0 + step, old(k).1 * share))
                    .unzip()
            };
            (voxels, shares) = each(&|k| (voxels[k], shares[k]));
            stride *= n;
        }
        Stencil {
            voxels,
            shares,
            matrices: None,
        }
    }

    /// `I + Du` at a voxel by central differences, one-sided at the border, as
    /// [`pull_to_steps`](crate::pull_to_steps) takes it.
    fn slope<T: Real>(&self, u: &[T], voxel: usize) -> [[f64; 3]; 3] {
        let mut slope = [[0.0; 3]; 3];
        let mut stride = 1;
        for (b, &n) in self.size.iter().enumerate() {
            let index = voxel / stride % n;
            let back = if index > 0 { stride } else { 0 };
            let ahead = if index + 1 < n { stride } else { 0 };
            let scale = if back > 0 && ahead > 0 { 0.5 } else { 1.0 };
            for (a, row) in slope.iter_mut().enumerate().take(self.size.len()) {
                let plane = &u[a * self.voxels..][..self.voxels];
                let unit = if a == b { 1.0 } else { 0.0 };
                let difference = plane[voxel + ahead].wide() - plane[voxel - back].wide();
                row[b] = unit + scale * difference;
            }
            stride *= n;
        }
        slope
    }

    fn sampled<T: Real>(&self, stencil: &Stencil, u: &[T]) -> [f64; 3] {
        let mut out = [0.0; 3];
        for (k, voxel) in stencil.voxels.iter().enumerate() {
            let value = |b: usize| u[b * self.voxels + voxel].wide();
            match &stencil.matrices {
                None => {
                    for (b, out) in out.iter_mut().enumerate().take(self.size.len()) {
                        *out += stencil.shares[k] * value(b);
                    }
                }
                Some(matrices) => {
                    for b in 0..self.size.len() {
                        let value = value(b);
                        for (a, out) in out.iter_mut().enumerate() {
                            *out += matrices[k][a][b] * value;
                        }
                    }
                }
            }
        }
        out
    }

    /// The transpose of [`Field::sampled`], times `scale`, added.
    fn spread<T: Real>(&self, stencil: &Stencil, force: &[f64; 3], scale: f64, out: &mut [T]) {
        for (k, voxel) in stencil.voxels.iter().enumerate() {
            for b in 0..self.size.len() {
                let sum = match &stencil.matrices {
                    None => stencil.shares[k] * force[b],
                    Some(matrices) => (0..3).map(|a| matrices[k][a][b] * force[a]).sum(),
                };
                out[b * self.voxels + voxel] += T::of(scale * sum);
            }
        }
    }
}

/// The Gaussian's weights from `-reach` to `reach`.
fn bell(sigma: f64) -> Vec<f64> {
    let reach = (2.5 * sigma).ceil() as i32;
    let raw: Vec<f64> = (-reach..=reach)
        .map(|j| {
            if j == 0 {
                1.0
            } else {
                (-0.5 * (f64::from(j) / sigma).powi(2)).exp()
            }
        })
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|g| g / sum).collect()
}

/// Voxels of an axis with their shares in what is interpolated at `x` after smoothing.
fn along_axis(x: f64, n: usize, sigma: f64) -> Vec<(usize, f64)> {
    let last = n - 1;
    let x = x.clamp(0.0, last as f64);
    let first = (x as usize).min(last.saturating_sub(1));
    let part = x - first as f64;
    let bell = bell(sigma);
    let reach = bell.len() / 2;
    let mut line: Vec<(usize, f64)> = Vec::with_capacity(bell.len() + 1);
    for j in 0..=bell.len() {
        let here = bell.get(j).map_or(0.0, |g| (1.0 - part) * g);
        let ahead = j.checked_sub(1).map_or(0.0, |j| part * bell[j]);
        let index = (first + j).saturating_sub(reach).min(last);
        match line.last_mut() {
            Some((same, share)) if *same == index => *share += here + ahead,
            _ => line.push((index, here + ahead)),
        }
    }
    line
}

impl LandmarkData {
    /// The energy at `u`.
    pub fn value(&self, u: &Tensor) -> Result<f64> {
        let field = Field::of(u);
        with_real!(u.dtype(), T => read::<T, _>(u, |u| {
            self.errors(&field, u).map(|(_, e)| 0.5 * dot(&e, &self.force(&e))).sum()
        }))
    }

    /// The energy at `u`, with its gradient added to `gradient`, and its curvature.
    pub fn linearise(&self, u: &Tensor, gradient: &Tensor) -> Result<(f64, LandmarkCurvature)> {
        let field = Field::of(u);
        with_real!(u.dtype(), T => read::<T, _>(u, |u| write::<T, _>(gradient, |g| {
            let mut energy = 0.0;
            let mut stencils = Vec::with_capacity(self.points.len());
            for (stencil, e) in self.errors(&field, u) {
                let force = self.force(&e);
                energy += 0.5 * dot(&e, &force);
                field.spread(&stencil, &force, 1.0, g);
                stencils.push(stencil);
            }
            let metric = self.metric.map(|row| row.map(|q| self.weight * q));
            (energy, LandmarkCurvature { stencils, metric })
        }))?)
    }

    /// Every point's stencil with its error `p + u(p) - t`.
    fn errors<'a, T: Real>(
        &'a self,
        field: &'a Field,
        u: &'a [T],
    ) -> impl Iterator<Item = (Stencil, [f64; 3])> + 'a {
        let rank = field.size.len();
        self.points
            .iter()
            .zip(&self.targets)
            .map(move |(point, target)| {
                let stencil = field.stencil(point, &self.spread);
                let mut error = field.sampled(&stencil, u);
                for a in 0..rank {
                    error[a] += point[a] - target[a];
                }
                (stencil, error)
            })
    }

    fn force(&self, error: &[f64; 3]) -> [f64; 3] {
        times(&self.metric, error).map(|f| self.weight * f)
    }
}

impl LandmarkCurvature {
    /// Carried from displacements at `u` to compositive steps, as [`pull_to_steps`](crate::pull_to_steps) does with blocks.
    pub fn pulled_to_steps(mut self, u: &Tensor) -> Result<Self> {
        let field = Field::of(u);
        with_real!(u.dtype(), T => read::<T, _>(u, |u| {
            for stencil in &mut self.stencils {
                let each = stencil.voxels.iter().zip(&stencil.shares);
                let matrices = each.map(|(voxel, share)| {
                    let slope = field.slope(u, *voxel);
                    slope.map(|row| row.map(|s| share * s))
                });
                stencil.matrices = Some(matrices.collect());
            }
        }))?;
        Ok(self)
    }

    /// Adds `scale` times the curvature times `p` to `out`; returns `scale p' C p`.
    pub fn apply(&self, p: &Tensor, scale: f64, out: &Tensor) -> Result<f64> {
        let field = Field::of(p);
        with_real!(p.dtype(), T => read::<T, _>(p, |p| write::<T, _>(out, |out| {
            let mut sum = 0.0;
            for stencil in &self.stencils {
                let here = field.sampled(stencil, p);
                let force = times(&self.metric, &here);
                sum += scale * dot(&here, &force);
                field.spread(stencil, &force, scale, out);
            }
            sum
        }))?)
    }

    /// Adds `scale` times the curvature's diagonal blocks to packed blocks (see [`BlockSystem`](crate::BlockSystem)).
    pub fn add_blocks(&self, scale: f64, blocks: &Tensor) -> Result<()> {
        let field = Field::of(blocks);
        let rank = field.size.len();
        with_real!(blocks.dtype(), T => write::<T, _>(blocks, |blocks| {
            for stencil in &self.stencils {
                for (k, voxel) in stencil.voxels.iter().enumerate() {
                    let m = stencil.matrix(k);
                    let mut entry = 0;
                    for a in 0..rank {
                        for b in a..rank {
                            let column = |c: usize| [m[0][c], m[1][c], m[2][c]];
                            let value = dot(&column(a), &times(&self.metric, &column(b)));
                            blocks[entry * field.voxels + voxel] += T::of(scale * value);
                            entry += 1;
                        }
                    }
                }
            }
        }))
    }
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    (0..3).map(|k| a[k] * b[k]).sum()
}

fn times(m: &[[f64; 3]; 3], v: &[f64; 3]) -> [f64; 3] {
    [dot(&m[0], v), dot(&m[1], v), dot(&m[2], v)]
}
