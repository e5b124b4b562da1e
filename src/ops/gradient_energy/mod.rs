//! Sums of squared gradients of a feature map.

#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;

use super::device::twin;
use super::diffusion::size;
use super::lanes::Source;
use super::rows::sum_over_rows;
use super::storage::{read, with_features};
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
    with_features!(features.dtype(), T, S => {
        read::<S, _>(features, |f| {
            let channels = f.len() / n;
            let [sum, count] = sum_over_rows(n / nx, nx, |rows| {
                let mut total = [0.0, 0.0];
                let mut squares = vec![0.0; nx];
                let mut rooms = [const { Vec::new() }; 3];
                for row in rows {
                    let at = row * nx;
                    let up = if row % ny + 1 < ny { nx } else { 0 };
                    let far = if size.len() == 3 && row / ny + 1 < size[2] { nx * ny } else { 0 };
                    squares.fill(0.0);
                    // a channel of the whole row at a time, so that few rows are read at once
                    for c in 0..channels {
                        let row = |ahead: usize| &f[c * n + at + ahead..][..nx];
                        let [of_here, of_up, of_far] = &mut rooms;
                        let here: &[T] = S::row(row(0), of_here);
                        let (up, far) = (S::row(row(up), of_up), S::row(row(far), of_far));
                        let squares = &mut squares[..nx];
                        let mut add = |x: usize, right: T| {
                            let v = here[x].wide();
                            squares[x] += (right.wide() - v).powi(2)
                                + (up[x].wide() - v).powi(2)
                                + (far[x].wide() - v).powi(2);
                        };
                        for x in 0..nx - 1 {
                            add(x, here[x + 1]);
                        }
                        add(nx - 1, here[nx - 1]);
                    }
                    for &square in squares.iter().filter(|&&square| square > least) {
                        total[0] += square;
                        total[1] += 1.0;
                    }
                }
                total
            });
            GradientSum { sum, count }
        })
    })
}
