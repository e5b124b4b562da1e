//! Where the foreground of an image lies.

use candle_core::{DType, Tensor};

use crate::linear::symmetric_eigen;
use crate::{Affine, Error, Grid, Result};

/// Centre of mass and principal axes of a foreground, world mm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mass {
    centre: [f64; 3],
    /// Unit vectors along the axes, as columns of a rotation, the longest first.
    axes: [[f64; 3]; 3],
}

impl Mass {
    /// Of the first channel of `[channels, (nz,) ny, nx]`: each voxel weighs its height above the image's mean, so that
    /// the background counts for nothing.
    pub fn of(features: &Tensor, mask: Option<&Tensor>, grid: &Grid, name: &str) -> Result<Self> {
        let flat = |x: &Tensor| -> Result<Vec<f64>> {
            Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
        };
        let values = flat(&features.narrow(0, 0, 1)?)?;
        let mut weights = match mask {
            Some(mask) => flat(mask)?,
            None => vec![1.0; values.len()],
        };
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let total: f64 = weights.iter().sum();
        let mean = weights
            .iter()
            .zip(&values)
            .map(|(w, v)| w * (v - lowest))
            .sum::<f64>()
            / total;
        for (w, v) in weights.iter_mut().zip(&values) {
            *w *= (v - lowest - mean).max(0.0).min(2.0 * mean);
        }
        let world = grid.index_to_world();
        let point = |v: usize| world.apply(grid.index_of(v).map(|i| i as f64));
        let mass: f64 = weights.iter().sum();
        if mass.is_nan() || mass <= 0.0 {
            return Err(Error::data(
                name,
                "has no foreground of which a centre could be found; start with --init identity",
            ));
        }
        let mut centre = [0.0; 3];
        for (v, w) in weights.iter().enumerate() {
            let p = point(v);
            for a in 0..3 {
                centre[a] += w / mass * p[a];
            }
        }
        let mut covariance = [[0.0; 3]; 3];
        for (v, w) in weights.iter().enumerate() {
            let p = point(v);
            for a in 0..3 {
                for b in 0..3 {
                    covariance[a][b] += w / mass * (p[a] - centre[a]) * (p[b] - centre[b]);
                }
            }
        }
        let mut axes = symmetric_eigen(&covariance).1;
        if grid.rank() == 2 && axes[2][2] < 0.0 {
            // a turn of the plane, not over it
            for row in &mut axes {
                row[1] = -row[1];
                row[2] = -row[2];
            }
        }
        Ok(Self { centre, axes })
    }

    /// The translation of this centre to the other.
    pub fn shift_to(&self, other: &Self) -> Affine {
        self.turned(other, &Affine::identity().matrix)
    }

    /// This centre to the other, turned about it by a rotation.
    pub fn turned(&self, other: &Self, rotation: &[[f64; 3]; 3]) -> Affine {
        Affine::shift(other.centre)
            .compose(&Affine::new(*rotation, [0.0; 3]))
            .compose(&Affine::shift(self.centre.map(|c| -c)))
    }

    /// This centre to the other, these axes to the other's, turned among themselves by a rotation.
    pub fn turned_axes(&self, other: &Self, turn: &[[f64; 3]; 3]) -> Affine {
        let there = Affine::new(other.axes, [0.0; 3]);
        let back: [[f64; 3]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| self.axes[c][r]));
        let rotation = there
            .compose(&Affine::new(*turn, [0.0; 3]))
            .compose(&Affine::new(back, [0.0; 3]));
        self.turned(other, &rotation.matrix)
    }
}
