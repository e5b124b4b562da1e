//! A small problem whose minimum can be found again and again.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::adjoint::{Adjoint, Policy};
use crate::features::{level_grid, matched_grid, Level, Pyramid};
use crate::image::Image;
use crate::ops::{spline_coefficients, Interpolation};
use crate::problem::{EnergyProblem, ImplicitProblem};
use crate::registration::Deformation;
use crate::regulariser::Regulariser;
use crate::solver::{Pair, SolvedLevel, Solver, TrustRegion};
use crate::transform::Transform;
use crate::{Affine, Error, Result, Rng};

/// Two small images as features, in double precision.
#[derive(Debug)]
pub(super) struct Subject {
    pub fixed: Level,
    pub moving: Level,
    pub lambda: f64,
    pub seed: u64,
}

/// What is found for one transform and regulariser.
pub(super) struct Found {
    pub problem: EnergyProblem,
    pub theta: Tensor,
    /// `||g|| / ||g_0||` there.
    pub gradient_ratio: f64,
    pub strict_minimum: bool,
}

/// The data that gradients are taken of: fixed features, moving features, lambda.
pub(super) const DATA: usize = 3;

impl Subject {
    pub fn new(fixed: &Image, moving: &Image, size: usize, lambda: f64, seed: u64) -> Result<Self> {
        let longest = fixed.grid().size().iter().copied().max().unwrap_or(1);
        let shrink = longest.div_ceil(size).max(1);
        let level = |image: &Image, name: &str| -> Result<Level> {
            let (_, level) = Level::scaled(image, name)?;
            Ok(Level {
                features: level.features.to_dtype(DType::F64)?,
                ..level
            })
        };
        let fixed = level(fixed, "fixed image")?;
        let fixed = fixed.on(&level_grid(&fixed.grid, shrink)?)?;
        let moving = level(moving, "moving image")?;
        let moving = moving.on(&matched_grid(&moving.grid, &fixed.grid)?)?;
        Ok(Self {
            fixed,
            moving,
            lambda,
            seed,
        })
    }

    /// The minimum that a solver finds from the identity, in the certified mode's energy or the fast one's.
    pub fn solve(&self, deformation: &Deformation) -> Result<Found> {
        let deformation = Deformation {
            lambda: self.lambda,
            ..deformation.clone()
        };
        let (fixed, moving) = ([self.fixed.clone()], [self.moving.clone()]);
        let pair = Pair {
            fixed: Pyramid::Levels(&fixed),
            moving: Pyramid::Levels(&moving),
            affine: Affine::identity(),
            channel_weights: None,
            fixed_mask: None,
            moving_mask: None,
            prompts: &[],
        };
        let mut found = None;
        deformation.multilevel(vec![1]).solve_levels(
            &pair,
            &mut |_, _| Ok(()),
            &mut |solved: SolvedLevel| {
                found = Some(Found {
                    gradient_ratio: solved.report.certificate.gradient_ratio,
                    strict_minimum: solved.report.certificate.strict_minimum,
                    problem: solved.problem,
                    theta: solved.theta,
                });
                Ok(())
            },
        )?;
        found.ok_or_else(|| Error::data("gradcheck", "nothing was solved"))
    }

    /// A certified solve of these parts to the given tolerance.
    pub fn certified(
        &self,
        transform: Arc<dyn Transform>,
        regulariser: Arc<dyn Regulariser>,
        gradient: f64,
    ) -> Result<Found> {
        self.solve(&Deformation {
            transform,
            regulariser,
            solver: Some(Arc::new(tight(gradient))),
            ..Deformation::certified()
        })
    }

    /// A random direction in the data of a problem, a hundredth of their own size.
    pub fn direction(&self, problem: &EnergyProblem) -> Result<Vec<Tensor>> {
        let mut rng = Rng::new(self.seed + 1);
        let mut step = |like: &Tensor| -> Result<Tensor> {
            let noise: Vec<f64> = (0..like.elem_count())
                .map(|_| 0.01 * rng.normal())
                .collect();
            Ok(Tensor::from_vec(noise, like.shape(), like.device())?)
        };
        let fixed = step(&problem.data.fixed)?;
        let moving = step(&problem.data.moving)?;
        let lambda = Tensor::from_vec(vec![0.01 * problem.lambda], 1, &Device::Cpu)?;
        Ok(vec![fixed, moving, lambda])
    }

    /// The outer loss of a displacement, `w . u + |u|^2 / 2` with random `w`, and its gradient by the parameters.
    pub fn loss(&self, problem: &EnergyProblem, theta: &Tensor) -> Result<(f64, Tensor)> {
        let (transform, grid) = (&problem.transform, &problem.grid);
        let u = transform.displacement(theta, grid)?.to_dtype(DType::F64)?;
        let mut rng = Rng::new(self.seed + 2);
        let w: Vec<f64> = (0..u.elem_count()).map(|_| rng.normal()).collect();
        let w = Tensor::from_vec(w, u.shape(), u.device())?;
        let value = ((&w * &u)? + (u.sqr()? * 0.5)?)?.sum_all()?.to_scalar()?;
        let v = (w + u)?.to_dtype(theta.dtype())?;
        Ok((value, transform.pullback(theta, grid, &v)?.contiguous()?))
    }

    /// The gradient of the loss with respect to the data, in double precision.
    pub fn gradient(
        &self,
        problem: &dyn ImplicitProblem,
        theta: &Tensor,
        cotangent: &Tensor,
        adjoint: &Adjoint,
    ) -> Result<(Vec<Tensor>, crate::adjoint::AdjointInfo)> {
        let (mut data, info) = adjoint.pullback(problem, theta, cotangent)?;
        data.truncate(DATA);
        let data = data
            .iter()
            .map(|t| t.to_dtype(DType::F64))
            .collect::<candle_core::Result<_>>()?;
        Ok((data, info))
    }

    /// The slope of the loss along a direction of the data, by central differences of minima that are found again from
    /// `theta`.
    pub fn difference(&self, found: &Found, direction: &[Tensor], h: f64) -> Result<f64> {
        let at = |t: f64| -> Result<f64> {
            let problem = moved(&found.problem, direction, t)?;
            let solution = tight(1e-9).solve(&problem, found.theta.copy()?, &mut |_| Ok(()))?;
            Ok(self.loss(&problem, &solution.theta)?.0)
        };
        let near = at(h)? - at(-h)?;
        let far = at(2.0 * h)? - at(-2.0 * h)?;
        Ok((8.0 * near - far) / (12.0 * h))
    }
}

/// The exact adjoint, as tight as double precision allows.
pub(super) fn exact() -> Adjoint {
    Adjoint {
        policy: Policy::Exact,
        tolerance: 1e-11,
        products: 20_000,
        ..Adjoint::gauss_newton()
    }
}

/// The certified solver to another tolerance.
pub(super) fn tight(gradient: f64) -> TrustRegion {
    TrustRegion {
        gradient,
        products: 2000,
        ..TrustRegion::default()
    }
}

/// The problem with its data moved along a direction.
fn moved(problem: &EnergyProblem, direction: &[Tensor], t: f64) -> Result<EnergyProblem> {
    let mut data = problem.data.clone();
    data.fixed = (&data.fixed + (&direction[0] * t)?)?;
    let step = match data.interpolation {
        Interpolation::Linear => direction[1].clone(),
        Interpolation::Cubic => spline_coefficients(&direction[1])?,
    };
    data.moving = (&data.moving + (step * t)?)?;
    let lambda = problem.lambda + t * direction[2].to_vec1::<f64>()?[0];
    let mut other = EnergyProblem::new(
        data,
        problem.regulariser.clone(),
        lambda,
        problem.transform.clone(),
        problem.grid.clone(),
    );
    other.unit = problem.unit;
    other.barrier = problem.barrier;
    Ok(other)
}
