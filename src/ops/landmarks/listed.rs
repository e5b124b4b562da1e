//! Stencils of points one after the other, on the CPU.

use candle_core::Tensor;

use super::stencil::Stencil;
use super::{dot, times, LandmarkData};
use crate::ops::diffusion::size;
use crate::ops::real::Real;
use crate::ops::storage::{read, with_real, write};
use crate::Result;

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

/// The points of a term on a grid.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    stencils: Vec<Stencil>,
    /// `weight Q`.
    metric: [[f64; 3]; 3],
    /// `p_i - t_i`.
    apart: Vec<[f64; 3]>,
}

impl Listed {
    /// On the grid of a displacement.
    pub fn new(data: &LandmarkData, size: &[usize]) -> Self {
        let points = data.points.iter();
        Self {
            stencils: points
                .map(|point| Stencil::new(size, point, &data.spread))
                .collect(),
            metric: data.curvature(),
            apart: data.apart(size.len()),
        }
    }

    /// The energy at `u`.
    pub fn value(&self, u: &Tensor) -> Result<f64> {
        let field = Field::of(u);
        with_real!(u.dtype(), T => read::<T, _>(u, |u| {
            let each = self.stencils.iter().zip(&self.apart);
            each.map(|(stencil, apart)| {
                let error = plus(field.sampled(stencil, u), apart);
                0.5 * dot(&error, &times(&self.metric, &error))
            })
            .sum()
        }))
    }

    /// The energy at `u`, with its gradient added to `gradient`.
    pub fn add_gradient(&self, u: &Tensor, gradient: &Tensor) -> Result<f64> {
        let field = Field::of(u);
        with_real!(u.dtype(), T => read::<T, _>(u, |u| write::<T, _>(gradient, |g| {
            let mut energy = 0.0;
            for (stencil, apart) in self.stencils.iter().zip(&self.apart) {
                let error = plus(field.sampled(stencil, u), apart);
                let force = times(&self.metric, &error);
                energy += 0.5 * dot(&error, &force);
                field.spread(stencil, &force, 1.0, g);
            }
            energy
        }))?)
    }

    /// See [`LandmarkCurvature::pulled_to_steps`](super::LandmarkCurvature::pulled_to_steps).
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

    /// See [`LandmarkCurvature::apply`](super::LandmarkCurvature::apply).
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

    /// See [`LandmarkCurvature::add_blocks`](super::LandmarkCurvature::add_blocks).
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

fn plus(a: [f64; 3], b: &[f64; 3]) -> [f64; 3] {
    std::array::from_fn(|k| a[k] + b[k])
}
