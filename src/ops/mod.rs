//! Spatial operators on tensors; each with kernels is a folder of its own.

mod barrier;
mod blocks;
mod bspline;
mod carried;
mod convolve;
mod correlation;
mod coverage;
mod crop;
mod device;
mod diffusion;
mod displacement;
mod divergence;
mod extend;
mod gradient_energy;
mod invert;
mod jacobian;
mod junction;
mod landmarks;
mod lanes;
mod lncc;
mod mind;
mod near;
mod normalise;
mod pull;
mod real;
mod recorded;
mod region;
mod round_trip;
mod rows;
mod sample;
mod scratch;
mod separable;
mod ssd;
mod stencil;
mod storage;
mod tanh;
mod transfer;
mod vector;
mod warp;
mod zeros;

pub use barrier::{BarrierCurvature, FoldBarrier};
pub use blocks::BlockSystem;
pub use bspline::{spline_coefficients, spline_coefficients_adjoint};
pub(crate) use carried::{CarriedLabels, Shares};
pub(crate) use convolve::{add_centred, centre, convolve_bias_gradient};
pub use convolve::{convolve, convolve_adjoint, convolve_joined, convolve_weight_gradient};
pub use correlation::{CorrelationData, CorrelationDerivative, CorrelationSums};
pub use coverage::coverage;
pub(crate) use crop::{beside, crop};
pub(crate) use device::{check_memory, device_name, free_memory, is_cpu, of_device, on_host};
#[cfg(test)]
pub(crate) use device::{noise, noise_in, Stage, PRECISIONS};
pub use device::{DeviceChoice, Opened};
pub(crate) use diffusion::size;
pub use diffusion::Differences;
pub(crate) use displacement::{add_unfolded, clear_of_folds};
pub use displacement::{
    compose, compose_unfolded, pull_to_steps, relax_folds, smallest_determinant,
};
pub(crate) use divergence::{add_divergence_gradient, divergence_value};
pub use extend::extend;
pub(crate) use gradient_energy::squared_gradient;
pub use invert::inverse_displacement;
pub(crate) use invert::inverted;
pub use jacobian::{
    corner_determinants_minimum, determinants, folded_voxels, minimum_determinant,
    non_diffeomorphic_volume,
};
pub(crate) use jacobian::{determinant_map, digital_folds};
pub(crate) use junction::{record_all, Cotangent};
pub(crate) use landmarks::PlacedLandmarks;
pub use landmarks::{LandmarkCurvature, LandmarkData};
pub use lanes::Instructions;
pub use lncc::{lncc, lncc_gradient};
pub use mind::mind;
pub use normalise::normalise;
pub(crate) use normalise::Normalised;
pub(crate) use recorded::{record, record2};
pub use region::Region;
pub(crate) use round_trip::RoundTrip;
pub use sample::Interpolation;
pub use separable::{average_pool, rescale, resize, resize_adjoint, smooth, smooth_adjoint};
pub(crate) use separable::{average_pool_adjoint, rescale_adjoint, spatial};
pub(crate) use separable::{separable, separable_adjoint, separable_diagonal, Table};
pub use ssd::{Curvature, SsdCotangents, SsdData};
pub(crate) use storage::read;
pub use tanh::tanh;
pub(crate) use tanh::tanh_pull_back;
pub(crate) use transfer::Transfer;
pub(crate) use vector::{clear, combine, convert, copy, dot, halves};
pub(crate) use warp::{
    adjoint_of_both, sampled, sampled_along, sampled_gradient, voxels, warped_values,
};
pub use warp::{warp, warp_adjoint, warp_adjoint_derivative, warp_derivative, warp_gradient};
pub(crate) use zeros::zeros;
