//! The layer.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::input::LayerInput;
use super::output::{LayerFailure, LayerLevel, LayerOutput};
use crate::adjoint::{attach, Adjoint, AdjointRecord, Unconverged};
use crate::features::{FeatureLevel, Level, Pyramid};
use crate::registration::Deformation;
use crate::solver::{LevelReport, Pair, SolvedLevel, Status};
use crate::{Affine, Error, Result};

/// Registration as a layer: feature pyramids in, displacements out, gradients through the optimum by the implicit function
/// theorem.
///
/// The forward pass is the engine's own multi-level solve on detached features; only the optimum of each level, the features
/// and the warp are kept, so memory does not grow with the iterations. Each level's optimum carries the gradient with
/// respect to that level's features, `lambda` and channel weights. Through its starting point, the coarser level's optimum,
/// no gradient flows: an optimum does not depend on where its search began.
#[derive(Debug, Clone)]
pub struct RegistrationLayer {
    /// Transform, regulariser, its weight, mode and budgets. Levels are those of the features; `levels` of the deformation
    /// is not used. On a GPU the optima are found and their adjoints solved; displacements and gradients come back to where
    /// the features are.
    pub deformation: Deformation,
    /// Which gradient.
    pub adjoint: Adjoint,
    /// What is done about a certified solve without its certificate: the pair fails, or the gradient is taken all the same
    /// (the report says so), or the Gauss-Newton adjoint, always solvable, takes the exact one's place. Of no effect in the
    /// fast mode, which makes no claim.
    pub uncertified: Unconverged,
}

impl Default for RegistrationLayer {
    /// The fast solve with the Gauss-Newton adjoint.
    fn default() -> Self {
        Self {
            deformation: Deformation::default(),
            adjoint: Adjoint::gauss_newton(),
            uncertified: Unconverged::Warn,
        }
    }
}

/// A level of one pair.
struct Item {
    displacement: Tensor,
    report: LevelReport,
    adjoint: AdjointRecord,
}

impl RegistrationLayer {
    /// The certified solve with the exact adjoint.
    pub fn certified() -> Self {
        Self {
            deformation: Deformation::certified(),
            adjoint: Adjoint::exact(),
            uncertified: Unconverged::FallBack,
        }
    }

    /// Registers a batch.
    ///
    /// A pair that cannot be registered (no overlap, features without any structure, numbers that are not finite) is listed
    /// among the failures and does not touch the others.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::InvalidArgument`] when the parts of the input do not fit each other.
    pub fn forward(&self, input: &LayerInput<'_>) -> Result<LayerOutput> {
        let batch = input.batch()?;
        let weights = input.weights()?;
        let mut items = Vec::with_capacity(batch);
        let mut failures = Vec::new();
        for item in 0..batch {
            match self.pair(input, weights.as_deref(), item) {
                Ok(levels) => items.push(Some(levels)),
                Err(error) => {
                    failures.push(LayerFailure { item, error });
                    items.push(None);
                }
            }
        }
        let levels = (0..input.fixed.len())
            .map(|number| self.level(input, number, &items))
            .collect::<Result<_>>()?;
        Ok(LayerOutput { levels, failures })
    }

    /// All levels of one pair.
    fn pair(
        &self,
        input: &LayerInput<'_>,
        weights: Option<&[Vec<f64>]>,
        item: usize,
    ) -> Result<Vec<Item>> {
        let shrinks = input.fixed.iter().map(|level| level.shrink).collect();
        let mut deformation = self.deformation.clone();
        if let Some(lambda) = input.lambda {
            deformation.lambda = lambda
                .detach()
                .flatten_all()?
                .to_dtype(DType::F64)?
                .to_vec1::<f64>()?
                .first()
                .copied()
                .filter(|lambda| *lambda > 0.0)
                .ok_or_else(|| Error::argument("lambda", "must be positive"))?;
        }
        let mut multilevel = deformation.multilevel(shrinks);
        multilevel.differentiated = input.is_tracked();
        let still = |levels: &[FeatureLevel]| -> Result<Vec<Level>> {
            let one = |level: &FeatureLevel| {
                Ok(Level {
                    features: level.features.detach().get(item)?.contiguous()?,
                    grid: level.grid.clone(),
                })
            };
            levels.iter().map(one).collect()
        };
        let (fixed, moving) = (still(input.fixed)?, still(input.moving)?);
        let mask = |mask: Option<&Tensor>| {
            mask.map(|mask| mask.detach().get(item)?.to_dtype(DType::F32)?.contiguous())
                .transpose()
        };
        let (fixed_mask, moving_mask) = (mask(input.fixed_mask)?, mask(input.moving_mask)?);
        let pair = Pair {
            fixed: Pyramid::Levels(&fixed),
            moving: Pyramid::Levels(&moving),
            affine: affine(input, item),
            channel_weights: weights,
            fixed_mask: fixed_mask.as_ref(),
            moving_mask: moving_mask.as_ref(),
            prompts: input.prompts.map_or(&[], |prompts| &prompts[item]),
        };
        let mut levels = Vec::with_capacity(fixed.len());
        multilevel.solve_levels(&pair, &mut |_, _| Ok(()), &mut |solved| {
            levels.push(self.attached(input, item, levels.len(), solved)?);
            Ok(())
        })?;
        Ok(levels)
    }

    /// A solved level as part of the graph.
    fn attached(
        &self,
        input: &LayerInput<'_>,
        item: usize,
        number: usize,
        solved: SolvedLevel,
    ) -> Result<Item> {
        let SolvedLevel {
            problem,
            theta,
            report,
        } = solved;
        if report.status == Status::NonFinite {
            return Err(Error::data(
                "features",
                format!(
                    "the energy is not finite on level {}; check the features for NaN",
                    number + 1
                ),
            ));
        }
        problem.release();
        let adjoint = self.adjoint_of(&report, number)?;
        let beside = |data: &Tensor| -> Result<Tensor> {
            Ok(data.to_dtype(theta.dtype())?.to_device(theta.device())?)
        };
        let features = |levels: &[FeatureLevel]| beside(&levels[number].features.get(item)?);
        let (fixed, moving) = (features(input.fixed)?, features(input.moving)?);
        let lambda = input
            .lambda
            .map(|lambda| -> Result<Tensor> { Ok((beside(&lambda.reshape(1)?)? * problem.unit)?) })
            .transpose()?;
        let weights = input
            .channel_weights
            .map(|weights| beside(&weights[number]))
            .transpose()?;
        let (transform, grid) = (problem.transform.clone(), problem.grid.clone());
        let (theta, record) = attach(
            Arc::new(problem),
            &theta,
            &[
                Some(&fixed),
                Some(&moving),
                lambda.as_ref(),
                weights.as_ref(),
            ],
            adjoint,
        )?;
        let back = input.fixed[number].features.device();
        Ok(Item {
            displacement: transform.displacement(&theta, &grid)?.to_device(back)?,
            report,
            adjoint: record,
        })
    }

    /// The adjoint of a level, by what its solve is worth.
    fn adjoint_of(&self, report: &LevelReport, number: usize) -> Result<Adjoint> {
        if !self.deformation.certify || report.certificate.strict_minimum {
            return Ok(self.adjoint);
        }
        match self.uncertified {
            Unconverged::Warn => Ok(self.adjoint),
            Unconverged::FallBack => Ok(Adjoint {
                tolerance: self.adjoint.tolerance,
                products: self.adjoint.products,
                ..Adjoint::gauss_newton()
            }),
            Unconverged::Refuse => Err(Error::data(
                "registration layer",
                format!(
                    "level {} has no certificate ({:?}, gradient at {:.1e} of its start); raise lambda or the budget, or let \
                     the layer fall back",
                    number + 1,
                    report.status,
                    report.certificate.gradient_ratio
                ),
            )),
        }
    }

    /// One level of the batch.
    fn level(
        &self,
        input: &LayerInput<'_>,
        number: usize,
        items: &[Option<Vec<Item>>],
    ) -> Result<LayerLevel> {
        let level = &input.fixed[number];
        let mut shape = vec![level.grid.rank()];
        shape.extend(level.grid.shape());
        let dtype = self.deformation.dtype();
        let still = Tensor::zeros(shape, dtype, level.features.device())?;
        let displacements: Vec<&Tensor> = items
            .iter()
            .map(|item| item.as_ref().map_or(&still, |i| &i[number].displacement))
            .collect();
        let of = |item: &Option<Vec<Item>>| item.as_ref().map(|i| i[number].report.clone());
        Ok(LayerLevel {
            grid: level.grid.clone(),
            displacement: Tensor::stack(&displacements, 0)?,
            affine: (0..items.len()).map(|item| affine(input, item)).collect(),
            reports: items.iter().map(of).collect(),
            adjoints: items
                .iter()
                .map(|item| item.as_ref().map(|i| i[number].adjoint.clone()))
                .collect(),
        })
    }
}

fn affine(input: &LayerInput<'_>, item: usize) -> Affine {
    input
        .affine
        .map_or_else(Affine::identity, |affine| affine[item])
}
