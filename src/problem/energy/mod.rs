//! The registration energy.

mod implicit;
mod kept;
mod region;

use std::sync::Arc;

use candle_core::{DType, Tensor};

use kept::Kept;

use super::composite::Composite;
use super::velocity::OfVelocity;
use super::{Linearisation, Problem, PromptTerms};
use crate::linear::{BlockJacobi, Diagonal, LinearOperator, Multigrid, Preconditioner};
use crate::ops::{
    add_unfolded, combine, convert, copy, pull_to_steps, smallest_determinant, BlockSystem,
    Curvature, FoldBarrier, Region, SsdData,
};
use crate::regulariser::Regulariser;
use crate::transform::{Transform, SMALLEST_DETERMINANT};
use crate::{Grid, Result};

/// Regions hold this share of a gradient's squared length
const MOST: f64 = 0.9;

/// within at most this share of the grid's cubes.
const FEW: f64 = 0.05;

/// The registration energy on one level: `E(theta) = data(u) + lambda R(u) + prompts(u)` with `u = u(theta)`; of a velocity
/// `v` it is `data(u(v)) + lambda R(v) + prompts(u(v))`.
#[derive(Debug)]
pub struct EnergyProblem {
    /// The data term.
    pub data: SsdData,
    /// The regulariser.
    pub regulariser: Arc<dyn Regulariser>,
    /// Its weight, in the units of the data term.
    pub lambda: f64,
    /// The parametrisation.
    pub transform: Arc<dyn Transform>,
    /// The fixed grid of the level.
    pub grid: Grid,
    /// A typical curvature of the data term, which keeps half-precision models in range; `lambda` when nothing better
    /// is known.
    pub unit: f64,
    /// Models are stored in half of the precision of the parameters (f16 for f32, f32 for f64), which halves the memory
    /// traffic of the inner solves. Energies and gradients keep full precision.
    pub compact: bool,
    /// Curvature added to the Gauss-Newton model in multiples of the regulariser, which damps steps towards rough ones.
    pub damping: f64,
    /// A penalty that makes folding impossible, as part of the energy. With it, steps are additive for every transform
    /// that is a field.
    pub barrier: Option<FoldBarrier>,
    /// Further terms on the same displacement. With any, models are not compact.
    pub prompts: PromptTerms,
    kept: Kept,
    /// Whether voxels of it are held, which the preconditioner must then keep zero.
    apart: bool,
}

impl EnergyProblem {
    /// The energy of these parts.
    pub fn new(
        data: SsdData,
        regulariser: Arc<dyn Regulariser>,
        lambda: f64,
        transform: Arc<dyn Transform>,
        grid: Grid,
    ) -> Self {
        Self {
            data,
            regulariser,
            lambda,
            transform,
            grid,
            unit: lambda,
            compact: false,
            damping: 0.0,
            barrier: None,
            prompts: PromptTerms::default(),
            kept: Kept::default(),
            apart: false,
        }
    }

    /// The data term and the weighted regulariser at `theta`.
    pub fn parts(&self, theta: &Tensor) -> Result<(f64, f64)> {
        let u = self.transform.displacement(theta, &self.grid)?;
        if self.transform.is_velocity() {
            let penalty = self.lambda * self.regulariser.value(theta, &self.grid)?;
            let [data, _] = self.data.values(Some(&u), None)?;
            return Ok((data, penalty));
        }
        let differences = self.regulariser.differences(&self.grid).scaled(self.lambda);
        let [data, penalty] = self.data.values(Some(&u), Some(&differences))?;
        let extra = self.regulariser.extra_value(&u, &self.grid)?;
        Ok((data, penalty + self.lambda * extra))
    }

    /// The barrier at `theta`; zero where there is none.
    pub fn barrier_value(&self, theta: &Tensor) -> Result<f64> {
        match &self.barrier {
            Some(barrier) => barrier.value(&self.transform.displacement(theta, &self.grid)?),
            None => Ok(0.0),
        }
    }

    /// The prompts at `theta`; zero where there are none.
    pub fn prompt_value(&self, theta: &Tensor) -> Result<f64> {
        if self.prompts.is_empty() {
            return Ok(0.0);
        }
        let u = self.transform.displacement(theta, &self.grid)?;
        let placed = self.kept.landmarks(&self.prompts, &u)?;
        self.prompts.value_with(&u, &placed)
    }

    /// Gives back the memory that linearisations keep from call to call.
    pub fn release(&self) {
        self.kept.release();
    }

    /// Whether models are stored at half the precision of the parameters.
    fn is_compact(&self) -> bool {
        self.compact
            && self.transform.is_field()
            && self.regulariser.extra_diagonal(&self.grid).is_none()
            && self.prompts.is_empty()
    }
}

impl Problem for EnergyProblem {
    fn model_type(&self, theta: DType) -> DType {
        match theta {
            DType::F32 if self.is_compact() => DType::F16,
            DType::F64 if self.is_compact() => DType::F32,
            other => other,
        }
    }

    fn step_type(&self, theta: DType) -> DType {
        let model = self.model_type(theta);
        if model == DType::F16 && self.transform.composes() && self.barrier.is_none() {
            model
        } else {
            theta
        }
    }

    fn value(&self, theta: &Tensor) -> Result<f64> {
        let barrier = self.barrier_value(theta)?;
        if barrier.is_infinite() {
            return Ok(barrier);
        }
        let (data, penalty) = self.parts(theta)?;
        Ok(data + penalty + barrier + self.prompt_value(theta)?)
    }

    fn linearise(
        &self,
        theta: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
    ) -> Result<Linearisation> {
        self.model(
            theta,
            curvature,
            gradient,
            self.model_type(theta.dtype()),
            true,
        )
    }

    fn curvature(
        &self,
        theta: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
    ) -> Result<Linearisation> {
        self.model(theta, curvature, gradient, theta.dtype(), false)
    }

    fn retract(&self, theta: &Tensor, step: &Tensor, t: f64, out: &Tensor) -> Result<bool> {
        if let (Some(barrier), true) = (&self.barrier, self.transform.is_field()) {
            return add_unfolded(theta, step, t, 0.5 * barrier.threshold, out);
        }
        self.transform.retract(theta, step, t, out)
    }

    fn contains(&self, theta: &Tensor) -> Result<bool> {
        if self.barrier.is_some() || !self.transform.must_not_fold() {
            return Ok(true);
        }
        let u = self.transform.displacement(theta, &self.grid)?;
        Ok(smallest_determinant(&u)? > SMALLEST_DETERMINANT)
    }

    fn regions(&self, gradient: &Tensor) -> Result<Vec<Region>> {
        match self.is_local() {
            true => Region::concentrations(gradient, MOST, FEW),
            false => Ok(Vec::new()),
        }
    }

    fn within(&self, region: &Region) -> Result<Option<Box<dyn Problem>>> {
        Ok(match self.is_local() {
            true => Some(Box::new(self.part(region)?)),
            false => None,
        })
    }
}

impl EnergyProblem {
    /// The energy's model with operators that work in `model`; that of the solver's steps (in their coordinates, damped), or
    /// of the parameters.
    fn model(
        &self,
        theta: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
        model: DType,
        steps: bool,
    ) -> Result<Linearisation> {
        let u = self.transform.displacement(theta, &self.grid)?;
        let rank = self.grid.rank();
        let prompted = !self.prompts.is_empty();
        let packed = curvature != Curvature::GaussNewton
            || self.barrier.is_some()
            || !self.prompts.landmarks.is_empty();
        let entries = if packed || prompted || !self.data.is_rank_one() {
            rank * (rank + 1) / 2
        } else {
            rank
        };
        // halves are written as such; other compact blocks are converted below
        let direct = model == DType::F16;
        let factor = if model == u.dtype() {
            1.0
        } else {
            1.0 / self.unit
        };
        let blocks = if direct {
            self.kept.compact_blocks.tensor(entries, &u, model)?
        } else {
            self.kept.blocks.tensor(entries, &u, u.dtype())?
        };
        let field = self.transform.is_field();
        let own;
        let g = if field {
            gradient
        } else {
            own = u.zeros_like()?;
            &own
        };
        let velocity = self.transform.is_velocity();
        let differences = self.regulariser.differences(&self.grid).scaled(self.lambda);
        let extra = self.regulariser.extra_diagonal(&self.grid);
        let steps = steps && curvature == Curvature::GaussNewton;
        let composes = steps && self.barrier.is_none() && self.transform.composes();
        let [data, penalty] = self.data.model(
            Some(&u),
            // what is added below must be carried too
            (!velocity).then_some((&differences, composes && extra.is_none() && !prompted)),
            curvature,
            (g, &blocks),
            factor,
        )?;
        let mut energy = data + penalty;
        if velocity {
            energy += self.lambda * self.regulariser.value(theta, &self.grid)?;
        } else if extra.is_some() {
            energy += self.lambda * self.regulariser.extra_value(&u, &self.grid)?;
            self.regulariser.add_extra(&u, &self.grid, self.lambda, g)?;
        }
        let mut landmarks = Vec::new();
        if prompted {
            let placed = self.kept.landmarks(&self.prompts, &u)?;
            let (value, curvatures) = self.prompts.add_model(&placed, &u, curvature, g, &blocks)?;
            energy += value;
            landmarks = curvatures;
        }
        if composes && (extra.is_some() || prompted) {
            pull_to_steps(&u, g, &blocks)?;
            landmarks = landmarks
                .into_iter()
                .map(|l| l.pulled_to_steps(&u))
                .collect::<Result<_>>()?;
        }
        let barrier = match &self.barrier {
            Some(barrier) => {
                let (value, exact) = barrier.linearise(&u, g)?;
                energy += value;
                Some(match curvature {
                    Curvature::GaussNewton | Curvature::Projected => exact.semidefinite(),
                    Curvature::Newton => exact,
                })
            }
            None => None,
        };
        let stiffness = self.lambda * if steps { 1.0 + self.damping } else { 1.0 };
        let (scale, blocks) = if model == u.dtype() || direct {
            (factor, blocks)
        } else {
            let scale = factor;
            let small = self.kept.compact_blocks.tensor(entries, &u, model)?;
            let one_vector = entries == rank;
            convert(
                if one_vector { scale.sqrt() } else { scale },
                &blocks,
                &small,
            )?;
            (scale, small)
        };
        let stiffness = stiffness * scale;
        // keeps voxels without any gradient or neighbour solvable
        let shift = if steps {
            1e-6 * self.lambda * scale
        } else {
            0.0
        };
        let system = BlockSystem {
            blocks,
            differences: self.regulariser.differences(&self.grid).scaled(stiffness),
            shift,
            extra_diagonal: extra.unwrap_or([0.0; 3]).map(|d| d * stiffness),
        };
        if curvature == Curvature::Projected {
            system.make_semidefinite()?;
        }
        let mut inverse = system.clone();
        if packed {
            inverse.blocks = self.kept.inverse_blocks.tensor(entries, &u, model)?;
            copy(&system.blocks, &inverse.blocks)?;
            if let Some(barrier) = &barrier {
                barrier.add_blocks(scale, &inverse.blocks)?;
            }
            for landmarks in &landmarks {
                landmarks.add_blocks(scale, &inverse.blocks)?;
            }
        }
        // steps of the fast solve ask for a residual that the block diagonal alone reaches as soon
        let corrected = field && !steps && !self.apart && extra.is_none();
        let corrected = corrected && model != DType::F16;
        let multigrid = match (corrected, packed) {
            (false, _) => None,
            (true, false) => Some(Multigrid::late(inverse.clone())),
            // of the blocks as they are before they are made definite
            (true, true) => Some(self.kept.multigrid(&inverse)?),
        };
        if packed {
            inverse.make_definite()?;
        }
        let diagonal = match field {
            true => None,
            false => self
                .transform
                .pull_diagonal(&self.grid, &inverse.main_diagonal()?)?,
        };
        if !field {
            let pulled = self.transform.pullback(theta, &self.grid, g)?;
            copy(&pulled.contiguous()?, gradient)?;
        }
        if velocity {
            let smoothness = self.regulariser.gradient(theta, &self.grid)?;
            combine(self.lambda, &smoothness, 1.0, gradient)?;
        }
        // a model of steps takes the velocity for the displacement
        let field = field || (velocity && steps);
        let tangent = match velocity && !field {
            true => {
                // what the derivative turns, in the scale of the model
                let turned = (curvature == Curvature::Newton).then(|| g * scale);
                self.transform
                    .tangent(theta, turned.transpose()?.as_ref())?
            }
            false => None,
        };
        let plain = field && extra.is_none() && barrier.is_none() && landmarks.is_empty();
        let operator: Box<dyn LinearOperator> = if plain {
            Box::new(system)
        } else {
            let operator = Composite {
                system,
                extra: extra
                    .is_some()
                    .then(|| (self.regulariser.clone(), stiffness)),
                barrier: barrier.map(|b| (b, scale)),
                landmarks: (landmarks, scale),
                transform: (!field && !velocity).then(|| (self.transform.clone(), theta.clone())),
                grid: self.grid.clone(),
            };
            match tangent {
                Some(tangent) => Box::new(OfVelocity {
                    inner: operator.without_smoothness(),
                    tangent,
                    grid: self.grid.clone(),
                    regulariser: self.regulariser.clone(),
                    weight: stiffness,
                    shift,
                }),
                None => Box::new(operator),
            }
        };
        let preconditioner: Box<dyn Preconditioner> = match diagonal {
            Some(diagonal) => Box::new(Diagonal(diagonal)),
            None if field || velocity => match multigrid {
                Some(multigrid) => Box::new(multigrid),
                None => Box::new(BlockJacobi(inverse)),
            },
            None => Box::new(()),
        };
        Ok(Linearisation {
            energy,
            scale,
            operator,
            preconditioner,
        })
    }
}
