//! Image registration: given a fixed and a moving image, find the map that carries one onto the other, and say how far
//! it can be trusted.
//!
//! Two and three dimensions, any number of channels, NIfTI in and out, warps that ITK and ANTs read. The solver is a
//! second-order one: Gauss-Newton with conjugate gradients, coarse to fine. What it looks for is a *still point* of an
//! energy, and at a still point a solve can be differentiated without being stored; that is why the crate is built of
//! parts that do not know each other: an energy, a transform, a solver.
//!
//! # A first registration
//!
//! A phantom pair, made on the spot; two images of your own come from [`read_image`].
//!
//! ```
//! # fn main() -> stillpoint::Result<()> {
//! use stillpoint::{regularity, Image, Phantom, Registration};
//!
//! let phantom = Phantom::pair(&[80, 96], &[2.0, 2.0], 0)?;
//! let fixed = Image::new(phantom.grid.clone(), 1, phantom.fixed.clone())?;
//! let moving = Image::new(phantom.grid.clone(), 1, phantom.moving.clone())?;
//!
//! // Best of many starts, an affine stage, then a diffeomorphism: the defaults.
//! let registered = Registration::default().run(&fixed, &moving, &mut |_| Ok(()))?;
//!
//! let warped = registered.warped(&fixed, &moving)?; // the moving image on the fixed grid
//! let before = registered.unregistered(&fixed, &moving)?;
//! assert!(registered.difference(&fixed, &warped) < 0.5 * registered.difference(&fixed, &before));
//!
//! let warp = registered.total_field(&fixed)?; // fixed points to moving points, mm
//! // warp.write("warp.nii.gz")?;  can be listed in antsApplyTransforms as it is
//! let regularity = regularity(&warp.into_voxels(), fixed.grid().size())?;
//! assert_eq!(regularity.digital_folds_percent, 0.0);
//! # Ok(())
//! # }
//! ```
//!
//! # The guide
//!
//! * [Coordinates](guide::coordinates): millimetres, voxels, and which way a map points.
//! * [The inner problem](guide::inner_problem): the energy, lambda, the two modes, and how to read a report.
//! * [Choosing a transform](guide::choosing_a_transform): which map to look for, and where to begin.
//! * [Prompts](guide::prompts): telling a registration what you know.
//! * [The layer](guide::the_layer): gradients through an optimum, and which to choose.
//! * [Training](guide::training): features that learn from your data, or from none.
//!
//! # Map of the crate
//!
//! | to | look at |
//! |---|---|
//! | register two images | [`Registration`], [`Deformation`], [`Registered`] |
//! | read and write | [`read_image`], [`read_labels`], [`Image`], [`Labels`], [`DisplacementField`], [`read_affine`], [`write_affine`], [`Points`], [`header_report`] |
//! | know where voxels lie | [`Grid`], [`Affine`] |
//! | carry images, labels and points | [`Chain`], [`resample_image`], [`resample_labels`], [`inverse_on`] |
//! | measure | [`overlap`](fn@overlap), [`surface_distance`], [`regularity`](fn@regularity), [`inverse_consistency`], [`landmark_errors`]; statistics: [`paired_t_test`], [`wilcoxon_signed_rank`], [`holm`], [`bootstrap_interval`] |
//! | say what corresponds | [`Prompt`], [`PromptKind`]; as terms of an energy [`PromptTerms`], [`LandmarkData`] |
//! | choose what is compared | [`Features`], [`mind`](fn@mind), [`IntensityRange`] |
//! | choose or write a transform | [`Transform`]: [`Displacement`], [`Compositive`], [`Velocity`], [`BSpline`], [`GlobalAffine`]; [`Linear`] |
//! | choose or write a regulariser | [`Regulariser`]: [`Diffusion`], [`Bending`], [`Elastic`] |
//! | choose or write a solver | [`Solver`]: [`GaussNewton`], [`TrustRegion`], [`Lbfgs`], [`Adam`], [`GradientDescent`]; over levels [`Multilevel`]; linear stages [`align`] |
//! | state an energy | [`Problem`], [`EnergyProblem`], [`SsdData`], [`FoldBarrier`] |
//! | make features | [`FeatureNetwork`]: [`Unet`] with a [`NetworkConfig`], [`HandMade`] with [`BaseFeatures`]; [`Weights`], [`Provenance`], [`Shipped`] |
//! | build a network | [`convolve`], [`convolve_joined`], [`normalise`](fn@normalise), [`tanh`](fn@tanh), [`average_pool`], [`rescale`] |
//! | learn through a registration | [`RegistrationLayer`], [`LayerInput`], [`LayerOutput`]; networks: [`FeatureNetwork`], [`Unet`]; gradients: [`Adjoint`], [`Policy`], [`attach`] |
//! | train features | [`Trainer`] with a [`TrainingConfig`]: [`DataConfig`], [`SynthesisConfig`], [`Augmentation`], [`PretrainingConfig`], [`LossConfig`] |
//! | bring an energy or a map of your own | [`Residual`], [`attach_residual`], [`Energy`], [`AutodiffProblem`], [`Anderson`] |
//! | use the operators alone | [`warp`](fn@warp), [`warp_adjoint`], [`warp_gradient`], [`smooth`], [`resize`], [`compose`], [`inverse_displacement`], [`determinants`], [`lncc`](fn@lncc), [`lncc_gradient`], [`conjugate_gradients`] |
//! | solve on a GPU | [`DeviceChoice`], [`Deformation::device`] |
//! | try without data | [`Phantom`], [`Rng`] |
//! | draw | [`ReportPage`] |
//!
//! Tensors are candle's, `[channels, (nz,) ny, nx]`; displacements `[rank, (nz,) ny, nx]` in voxels, component 0 along the
//! fastest axis. Sums run in a fixed order: the same bits for any number of threads. What a user can do wrong is an
//! [`Error`] that names the file or argument and a remedy; not converging is no error but a [`Status`].

mod adjoint;
#[doc(hidden)]
pub mod cli;
mod error;
mod evaluation;
mod features;
mod geometry;
pub mod guide;
mod image;
mod layer;
mod linear;
#[doc(hidden)]
pub mod memory;
mod ops;
mod phantom;
mod picture;
mod problem;
mod prompt;
mod registration;
mod regulariser;
mod rng;
mod solver;
mod train;
mod transform;

pub use adjoint::{
    attach, attach_residual, compare_gradients, Adjoint, AdjointInfo, AdjointRecord,
    AutodiffProblem, Energy, GradientComparison, Policy, Residual, Unconverged,
};
pub use error::{Error, Result};
pub use evaluation::{
    bootstrap_interval, chain_consistency, holm, inverse_consistency, landmark_errors, mean,
    median, overlap, paired_t_test, percentile, regularity, standard_deviation, surface_distance,
    wilcoxon_signed_rank, InverseConsistency, LabelOverlap, LabelSurfaceDistance, LandmarkErrors,
    Overlap, PairedTest, PrincipalComponents, Regularity, Summary, SurfaceDistance,
};
pub use features::{
    foreground_box, gradient_energy, level_grid, matched_grid, named_base, read_tensors,
    write_tensors, Architecture, BaseFeatures, CoarseMind, Downsampling, FeatureLevel, FeatureMaps,
    FeatureNetwork, Features, HandMade, HeadActivation, Intensities, IntensityRange, Level,
    LevelGrids, Mind, NetworkConfig, Normalisation, Parameters, Provenance, Pyramid, Shipped, Unet,
    Weights,
};
pub use geometry::{Affine, Grid};
pub use image::{
    header_report, read_affine, read_image, read_image_with, read_labels, read_labels_with,
    write_affine, DisplacementField, GeometryReport, HeaderReport, Image, ImageOptions, ImageSpace,
    Labels, NiftiReport, PointSpace, Points, ValueReport,
};
pub use layer::{LayerFailure, LayerInput, LayerLevel, LayerOutput, RegistrationLayer};
pub use linear::{
    conjugate_gradients, gmres, minres, BlockJacobi, Diagonal, Krylov, LinearInfo, LinearOperator,
    LinearOptions, LinearSolve, LinearStop, Multigrid, Preconditioner,
};
pub use ops::{
    average_pool, compose, compose_unfolded, convolve, convolve_adjoint, convolve_joined,
    convolve_weight_gradient, corner_determinants_minimum, coverage, determinants, extend,
    folded_voxels, inverse_displacement, lncc, lncc_gradient, mind, minimum_determinant,
    non_diffeomorphic_volume, normalise, pull_to_steps, relax_folds, rescale, resize,
    resize_adjoint, smallest_determinant, smooth, smooth_adjoint, spline_coefficients,
    spline_coefficients_adjoint, tanh, warp, warp_adjoint, warp_adjoint_derivative,
    warp_derivative, warp_gradient, BarrierCurvature, BlockSystem, CorrelationData,
    CorrelationDerivative, CorrelationSums, Curvature, DeviceChoice, Differences, FoldBarrier,
    Instructions, Interpolation, LandmarkCurvature, LandmarkData, Opened, Region, SsdCotangents,
    SsdData,
};
pub use phantom::Phantom;
pub use picture::{
    charts_to_png, coloured_to_png, Chart, ColouredMap, ColouredRow, Curve, ReportPage, Series,
};
pub use problem::{EnergyProblem, ImplicitProblem, Linearisation, Problem, PromptTerms};
pub use prompt::{Prompt, PromptKind};
pub use registration::{
    inverse_on, DeformableReport, Deformation, Footprint, FootprintStage, Landscape, Registered,
    Registration, Step,
};
pub use regulariser::{Bending, Diffusion, Elastic, Regulariser};
pub use rng::Rng;
pub use solver::{
    align, Adam, Alignment, AlignmentFeatures, AlignmentPair, AlignmentStart, Anderson, Candidate,
    Certificate, FixedPoint, GaussNewton, GradientDescent, Iteration, Lbfgs, LevelReport,
    Multilevel, MultilevelSolution, Pair, ScaleReport, Solution, SolvedLevel, Solver, StageReport,
    StartReport, Status, TrustRegion,
};
pub use train::{
    Augmentation, DataConfig, DataSet, GradientSide, LabelSource, LossConfig, OptimiserConfig,
    PairStart, PretrainingConfig, RateSchedule, SliceConfig, SolveConfig, Subject, SynthesisConfig,
    Trainer, TrainingConfig, TrainingStep, Validation,
};
pub use transform::{
    resample_image, resample_labels, transform_named, BSpline, Chain, Compositive, Displacement,
    GlobalAffine, LabelResampling, Linear, LinearKind, Resampling, Tangent, Transform, Velocity,
};
