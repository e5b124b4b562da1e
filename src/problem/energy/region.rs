//! The energy with all but a box of voxels held.

use candle_core::{DType, Tensor};

use super::EnergyProblem;
use crate::linear::LinearOperator;
use crate::ops::{is_cpu, Curvature, Region, SsdData};
use crate::problem::{Linearisation, Problem};
use crate::{Affine, Result};

impl EnergyProblem {
    /// Whether a box of voxels can be solved apart: the parameters are the displacement, and no term reaches far. On a GPU
    /// small boxes are no quicker than the whole.
    pub(super) fn is_local(&self) -> bool {
        self.transform.is_field() && self.prompts.is_empty() && is_cpu(self.data.fixed.device())
    }

    /// The energy over a box: up to a constant that of the whole, while what lies outside and the box's held voxels stay.
    pub(super) fn part(&self, region: &Region) -> Result<Part> {
        let shift: [f64; 3] =
            std::array::from_fn(|a| region.start.get(a).map_or(0.0, |&s| s as f64));
        let data = SsdData {
            fixed: region.crop(&self.data.fixed)?,
            moving: self.data.moving.clone(),
            mask: match &self.data.mask {
                Some(mask) => Some(region.crop(&mask.unsqueeze(0)?)?.squeeze(0)?),
                None => None,
            },
            channel_weight: self.data.channel_weight.clone(),
            map: self.data.map.compose(&Affine::shift(shift)),
            interpolation: self.data.interpolation,
        };
        let mut problem = Self::new(
            data,
            self.regulariser.clone(),
            self.lambda,
            self.transform.clone(),
            self.grid.cropped(&region.start, &region.size)?,
        );
        problem.unit = self.unit;
        problem.compact = self.compact;
        problem.damping = self.damping;
        problem.barrier = self.barrier;
        problem.apart = true;
        Ok(Part {
            problem,
            region: region.clone(),
        })
    }
}

/// A box of an energy; steps leave its held voxels where they are.
#[derive(Debug)]
pub(super) struct Part {
    problem: EnergyProblem,
    region: Region,
}

impl Part {
    /// A model in which held voxels have neither gradient nor curvature.
    fn held(&self, mut model: Linearisation, gradient: &Tensor) -> Result<Linearisation> {
        self.region.clear_held(gradient)?;
        model.operator = Box::new(Held {
            operator: model.operator,
            region: self.region.clone(),
        });
        Ok(model)
    }
}

impl Problem for Part {
    fn model_type(&self, theta: DType) -> DType {
        self.problem.model_type(theta)
    }

    fn step_type(&self, theta: DType) -> DType {
        self.problem.step_type(theta)
    }

    fn value(&self, theta: &Tensor) -> Result<f64> {
        self.problem.value(theta)
    }

    fn linearise(
        &self,
        theta: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
    ) -> Result<Linearisation> {
        let model = self.problem.linearise(theta, curvature, gradient)?;
        self.held(model, gradient)
    }

    fn curvature(
        &self,
        theta: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
    ) -> Result<Linearisation> {
        let model = self.problem.curvature(theta, curvature, gradient)?;
        self.held(model, gradient)
    }

    fn retract(&self, theta: &Tensor, step: &Tensor, t: f64, out: &Tensor) -> Result<bool> {
        self.problem.retract(theta, step, t, out)
    }

    fn contains(&self, theta: &Tensor) -> Result<bool> {
        self.problem.contains(theta)
    }
}

/// An operator on vectors that are zero where voxels are held. A preconditioner of voxel blocks keeps them so.
struct Held {
    operator: Box<dyn LinearOperator>,
    region: Region,
}

impl LinearOperator for Held {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        let curvature = self.operator.apply(p, out)?;
        self.region.clear_held(out)?;
        Ok(curvature)
    }
}
