//! stillpoint: image registration as a layer that can be differentiated.

#[doc(hidden)]
pub mod cli;
mod error;
mod evaluation;
mod features;
mod geometry;
mod image;
mod linear;
mod ops;
mod phantom;
mod picture;
mod problem;
mod registration;
mod regulariser;
mod rng;
mod solver;
mod transform;

pub use error::{Error, Result};
pub use evaluation::{
    bootstrap_interval, chain_consistency, holm, inverse_consistency, landmark_errors, mean,
    median, overlap, paired_t_test, percentile, regularity, standard_deviation, surface_distance,
    wilcoxon_signed_rank, InverseConsistency, LabelOverlap, LabelSurfaceDistance, LandmarkErrors,
    Overlap, PairedTest, Regularity, Summary, SurfaceDistance,
};
pub use features::{
    foreground_box, gradient_energy, level_grid, matched_grid, IntensityRange, Level,
};
pub use geometry::{Affine, Grid};
pub use image::{
    header_report, read_affine, read_image, read_image_with, read_labels, read_labels_with,
    write_affine, DisplacementField, GeometryReport, HeaderReport, Image, ImageOptions, ImageSpace,
    Labels, NiftiReport, PointSpace, Points, ValueReport,
};
pub use linear::{
    conjugate_gradients, BlockJacobi, Krylov, LinearInfo, LinearOperator, LinearOptions,
    LinearStop, Preconditioner,
};
pub use ops::{
    compose, compose_unfolded, corner_determinants_minimum, coverage, determinants, extend,
    folded_voxels, inverse_displacement, minimum_determinant, non_diffeomorphic_volume,
    pull_to_steps, relax_folds, resize, resize_adjoint, smallest_determinant, smooth,
    smooth_adjoint, spline_coefficients, spline_coefficients_adjoint, warp, warp_adjoint,
    warp_gradient, BarrierCurvature, BlockSystem, CorrelationData, CorrelationDerivative,
    CorrelationSums, Curvature, Differences, FoldBarrier, Instructions, Interpolation, SsdData,
};
pub use phantom::Phantom;
pub use picture::{Curve, ReportPage};
pub use problem::{EnergyProblem, Linearisation, Problem};
pub use registration::{inverse_on, DeformableReport, Deformation, Registered, Registration, Step};
pub use regulariser::{Bending, Diffusion, Elastic, Regulariser};
pub use rng::Rng;
pub use solver::{
    align, Adam, Alignment, AlignmentPair, AlignmentStart, Candidate, Certificate, GaussNewton,
    GradientDescent, Iteration, Lbfgs, LevelReport, Multilevel, MultilevelSolution, Pair,
    ScaleReport, Solution, Solver, StageReport, StartReport, Status, TrustRegion,
};
pub use transform::{
    resample_image, resample_labels, BSpline, Chain, Compositive, Displacement, LabelResampling,
    Linear, LinearKind, Resampling, Transform,
};
