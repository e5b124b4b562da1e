//! The inner problem: an energy, its linearisation, how to move in its space, and how its optimum follows its data.

mod composite;
mod energy;
mod prompts;
mod velocity;

use candle_core::{DType, Tensor};

use crate::linear::{LinearOperator, Preconditioner};
use crate::ops::{combine, copy, Curvature, Region};
use crate::{Error, Result};

pub use energy::EnergyProblem;
pub use prompts::PromptTerms;

/// A second-order model of an energy at a point.
pub struct Linearisation {
    /// The energy there.
    pub energy: f64,
    /// Factor of the model: the operator approximates `scale` times the curvature of the energy.
    pub scale: f64,
    /// Curvature: Gauss-Newton or the Hessian.
    pub operator: Box<dyn LinearOperator>,
    /// An approximate inverse of it, positive definite.
    pub preconditioner: Box<dyn Preconditioner>,
}

/// An energy to be minimised over one tensor; all that a solver sees.
pub trait Problem: Send + Sync {
    /// The element type in which the operators of [`Problem::linearise`] work, for parameters of type `theta`.
    fn model_type(&self, theta: DType) -> DType {
        theta
    }

    /// The element type in which [`Problem::linearise`] writes the gradient and [`Problem::retract`] takes steps, for
    /// parameters of type `theta`: that, or the type of the model. In the latter case what is written is `scale` times the
    /// gradient.
    fn step_type(&self, theta: DType) -> DType {
        theta
    }

    /// The energy at `theta`; infinite outside its domain.
    fn value(&self, theta: &Tensor) -> Result<f64>;

    /// The energy, its gradient (written to `gradient`) and its curvature at `theta`.
    ///
    /// The operator is valid until the next call.
    fn linearise(
        &self,
        theta: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
    ) -> Result<Linearisation>;

    /// The curvature at `theta` with respect to the parameters themselves, undamped and in their precision whatever
    /// [`Problem::model_type`] says: what a certificate and an adjoint rest on. [`Curvature::Newton`] is the true Hessian.
    /// Writes the gradient too, in that precision as well.
    fn curvature(
        &self,
        theta: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
    ) -> Result<Linearisation> {
        self.linearise(theta, curvature, gradient)
    }

    /// Writes the point reached from `theta` by `t` times `step` to `out`; to first order, the step itself.
    ///
    /// Where the way leads out of the energy's domain, `step` may be shortened in place. Returns whether `out` lies
    /// inside; solvers accept no other points.
    fn retract(&self, theta: &Tensor, step: &Tensor, t: f64, out: &Tensor) -> Result<bool> {
        copy(theta, out)?;
        combine(t, step, 1.0, out)?;
        Ok(true)
    }

    /// Whether a point lies inside the energy's domain.
    fn contains(&self, _theta: &Tensor) -> Result<bool> {
        Ok(true)
    }

    /// Boxes of voxels that hold nearly all of a gradient, largest first; none where it is spread, or where the energy is no
    /// sum over voxels and their neighbours.
    fn regions(&self, _gradient: &Tensor) -> Result<Vec<Region>> {
        Ok(Vec::new())
    }

    /// The problem with everything outside a region held, over the part of the parameters that [`Region::crop`] takes: its
    /// energy differs from that of the whole by a constant. None where there are no regions.
    fn within(&self, _region: &Region) -> Result<Option<Box<dyn Problem>>> {
        Ok(None)
    }
}

/// A problem whose optimum may be differentiated with respect to its data, the tensors that `g`, the gradient of the energy
/// with respect to the parameters, depends on.
///
/// At an optimum `g(theta, data) = 0`, so that `H dtheta = -(dg/d data) d data` (implicit function theorem): the cotangent
/// `v` of the optimum is carried to the data as `-(dg/d data)' q` with `H q = v`.
pub trait ImplicitProblem: Problem {
    /// `-(dg/d data)' q` at `theta` for every data tensor, in an order that the problem states.
    fn data_pullback(&self, theta: &Tensor, q: &Tensor) -> Result<Vec<Tensor>>;

    /// Solves `(G_i + damping) q_i = v_i` with the Gauss-Newton blocks of the data term alone, one a voxel; `damping` is
    /// relative to the unit of the data term.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the problem has no such blocks.
    fn solve_blocks(&self, _theta: &Tensor, _damping: f64, _v: &Tensor) -> Result<Tensor> {
        Err(Error::argument(
            "adjoint",
            "this problem has no blocks; choose another policy",
        ))
    }
}
