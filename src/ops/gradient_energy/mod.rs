//! Sums of squared gradients of a feature map.

#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;

use super::device::twin;
use super::diffusion::size;
use super::rows::sum_over_rows;
use super::storage::{read, with_real};
use crate::Result;

/// A sum over voxels and how many there were.
pub(crate) struct GradientSum {
    pub sum: f64,
    pub count: f64,
}

/// Sum over the voxels whose squared gradient (forward differences, all channels) exceeds `least`, and their number.
/// Features are `[channels, (nz,) ny, nx]`.
pub(crate) fn squared_gradient(features: &Tensor, least: f64) -> Result<GradientSum> {
    use super::real::Real;
    let size = size(features);
    twin!(features, launcher => cuda::squared_gradient(&launcher, features, &size, least));
    let (nx, ny) = (size[0], size[1]);
    let n: usize = size.iter().product();
    with_real!(features.dtype(), T => {
        read::<T, _>(features, |f| {
            let channels = f.len() / n;
            let [sum, count] = sum_over_rows(n / nx, nx, |rows| {
                let mut total = [0.0, 0.0];
                for row in rows {
                    let at = row * nx;
                    let up = if row % ny + 1 < ny { nx } else { 0 };
                    let far = if size.len() == 3 && row / ny + 1 < size[2] { nx * ny } else { 0 };
                    for x in 0..nx {
                        let right = usize::from(x + 1 < nx);
                        let mut square = 0.0;
                        for c in 0..channels {
                            let here = &f[c * n + at + x..];
                            let v = here[0].wide();
                            square += (here[right].wide() - v).powi(2)
                                + (here[up].wide() - v).powi(2)
                                + (here[far].wide() - v).powi(2);
                        }
                        if square > least {
                            total[0] += square;
                            total[1] += 1.0;
                        }
                    }
                }
                total
            });
            GradientSum { sum, count }
        })
    })
}
