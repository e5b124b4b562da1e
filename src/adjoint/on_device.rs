//! Adjoints on a device beside those on the CPU.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Adjoint, Policy};
use crate::ops::{noise, smooth, spline_coefficients, Interpolation, SsdData, Stage, PRECISIONS};
use crate::problem::EnergyProblem;
use crate::regulariser::Diffusion;
use crate::transform::{Compositive, Displacement, Transform};
use crate::{Affine, Grid};

fn smooth_noise(channels: usize, size: &[usize], seed: u64) -> Tensor {
    smooth(&noise(channels, size, seed), &vec![2.0; size.len()]).unwrap()
}

fn problem(
    channels: usize,
    transform: &Arc<dyn Transform>,
    size: &[usize],
    put: impl Fn(Tensor) -> Tensor,
) -> EnergyProblem {
    let mask = noise(1, size, 5).abs().unwrap().get(0).unwrap();
    let moving = smooth_noise(channels, size, 2);
    let other = (smooth_noise(channels, size, 1) * 0.3).unwrap();
    let data = SsdData {
        // nearly alike, so that the Hessian is definite near the identity, and exact solves reach their tolerance
        fixed: put((&moving + other).unwrap()),
        moving: put(spline_coefficients(&moving).unwrap()),
        mask: Some(put(mask)),
        channel_weight: (0..channels).map(|c| 1.0 + c as f64).collect(),
        map: Affine::identity(),
        interpolation: Interpolation::Cubic,
    };
    let grid = Grid::axis_aligned(size, &[1.0, 1.2, 0.9][..size.len()]).unwrap();
    EnergyProblem::new(data, Arc::new(Diffusion), 0.05, transform.clone(), grid)
}

#[test]
fn cotangents_of_the_data_as_on_the_cpu() {
    let transforms: [Arc<dyn Transform>; 2] = [Arc::new(Compositive), Arc::new(Displacement)];
    for stage in Stage::all() {
        for size in [&[21, 16][..], &[12, 11, 9]] {
            for (channels, transform) in [1, 3].into_iter().zip(&transforms) {
                for (dtype, share) in PRECISIONS {
                    let of = |tensor: Tensor| tensor.to_dtype(dtype).unwrap();
                    let here = problem(channels, transform, size, of);
                    let there = problem(channels, transform, size, |t| stage.put(&of(t)));
                    let [u, g] = [3, 4].map(|seed| of(smooth_noise(size.len(), size, seed)));
                    let u = (u * 0.3).unwrap();
                    let (v, h) = (stage.put(&u), stage.put(&g));
                    for policy in [
                        Policy::GaussNewton,
                        Policy::Block { damping: 0.1 },
                        Policy::Exact,
                        Policy::Phantom { steps: 3 },
                        Policy::JacobianFree,
                        Policy::Unrolled { steps: 4 },
                    ] {
                        let adjoint = Adjoint {
                            tolerance: 1e-5 * share.sqrt(),
                            products: 1000,
                            ..Adjoint::new(policy)
                        };
                        let (expected, _) = adjoint.pullback(&here, &u, &g).unwrap();
                        let (got, _) = stage.run(|| adjoint.pullback(&there, &v, &h)).unwrap();
                        for (expected, got) in expected.iter().zip(&got) {
                            let tolerance = 1e-4 * share.sqrt();
                            stage.same(&format!("{policy:?}"), &[expected], &[got], tolerance);
                        }
                    }
                }
            }
        }
    }
}
