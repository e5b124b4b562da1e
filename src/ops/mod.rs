//! Spatial operators on tensors; each with kernels is a folder of its own.

mod barrier;
mod blocks;
mod bspline;
mod convolve;
mod correlation;
mod coverage;
mod diffusion;
mod displacement;
mod divergence;
mod extend;
mod gradient_energy;
mod invert;
mod jacobian;
mod lanes;
mod normalise;
mod real;
mod rows;
mod sample;
mod scratch;
mod separable;
mod ssd;
mod stencil;
mod storage;
mod vector;
mod warp;

pub use barrier::{BarrierCurvature, FoldBarrier};
pub use blocks::BlockSystem;
pub use bspline::{spline_coefficients, spline_coefficients_adjoint};
pub use convolve::{convolve, convolve_adjoint, convolve_joined, convolve_weight_gradient};
pub use correlation::{CorrelationData, CorrelationDerivative, CorrelationSums};
pub use coverage::coverage;
pub use diffusion::Differences;
pub(crate) use displacement::add_unfolded;
pub use displacement::{
    compose, compose_unfolded, pull_to_steps, relax_folds, smallest_determinant,
};
pub(crate) use divergence::{add_divergence_gradient, divergence_value};
pub use extend::extend;
pub(crate) use gradient_energy::squared_gradient;
pub use invert::inverse_displacement;
pub use jacobian::{
    corner_determinants_minimum, determinants, folded_voxels, minimum_determinant,
    non_diffeomorphic_volume,
};
pub use lanes::Instructions;
pub use normalise::normalise;
pub use sample::Interpolation;
pub use separable::{average_pool, rescale, resize, resize_adjoint, smooth, smooth_adjoint};
pub(crate) use separable::{separable, Table};
pub use ssd::{Curvature, SsdData};
pub(crate) use storage::read;
pub(crate) use vector::{clear, combine, convert, copy, dot};
pub use warp::{warp, warp_adjoint, warp_gradient};
