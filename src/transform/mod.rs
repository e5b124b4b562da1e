//! Parametrisations of a displacement; chains of maps, and images carried through them.

mod bspline;
mod carried;
mod chain;
mod compositive;
mod displacement;
mod flow;
mod global_affine;
mod lattice;
mod linear;
mod named;
mod resample;
mod velocity;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::ops::resize;
use crate::{Grid, Result};

pub use bspline::BSpline;
pub(crate) use chain::lines;
pub use chain::Chain;
pub use compositive::Compositive;
pub use displacement::Displacement;
pub use global_affine::GlobalAffine;
pub use linear::{Linear, LinearKind};
pub(crate) use named::all_transforms;
pub use named::transform_named;
pub use resample::{resample_image, resample_labels, LabelResampling, Resampling};
pub use velocity::Velocity;

/// Corner determinants at or below this count as folded, so that neither storage in a file nor another tool's rounding
/// can fold a displacement.
pub(crate) const SMALLEST_DETERMINANT: f64 = 0.02;

/// A parametrisation `theta -> u(theta)` of displacements on a grid.
///
/// `u` is `[rank, (nz,) ny, nx]`, in voxels of the grid, component 0 along the fastest axis; `phi(x) = x + u(x)` carries
/// fixed points to moving points. The energy is minimised over `theta`; stationary points are those of the energy in `u`
/// pulled back by the derivative, so two transforms of the same displacements share their optima,
/// unless one is a velocity.
pub trait Transform: Send + Sync + std::fmt::Debug {
    /// Name in reports and on the command line.
    fn name(&self) -> &'static str;

    /// Parameters of the transform that moves nothing.
    fn identity(&self, grid: &Grid, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut shape = vec![grid.rank()];
        shape.extend(grid.shape());
        Ok(Tensor::zeros(shape, dtype, device)?)
    }

    /// The displacement at `theta`.
    fn displacement(&self, theta: &Tensor, _grid: &Grid) -> Result<Tensor> {
        Ok(theta.clone())
    }

    /// Whether `theta` is the displacement itself, so that the solver may skip both derivatives.
    fn is_field(&self) -> bool {
        false
    }

    /// The derivative of the displacement at `theta` along `step`.
    fn pushforward(&self, _theta: &Tensor, _grid: &Grid, step: &Tensor) -> Result<Tensor> {
        Ok(step.clone())
    }

    /// The transposed derivative at `theta`, applied to a cotangent of the displacement.
    fn pullback(&self, _theta: &Tensor, _grid: &Grid, cotangent: &Tensor) -> Result<Tensor> {
        Ok(cotangent.clone())
    }

    /// Whether `theta` is a velocity: a field on the grid that is regularised itself, in place of the displacement, and that
    /// models of the fast mode's steps take for the displacement.
    fn is_velocity(&self) -> bool {
        false
    }

    /// The derivative at `theta`, prepared for many products; with a gradient with respect to the displacement they are those
    /// of a Hessian. Velocities have one; others are linear in their parameters.
    fn tangent(
        &self,
        _theta: &Tensor,
        _gradient: Option<&Tensor>,
    ) -> Result<Option<Box<dyn Tangent>>> {
        Ok(None)
    }

    /// The same parametrisation where it is twice continuously differentiable, as certificates and exact gradients need; none
    /// where this one is so already.
    fn smooth(&self) -> Option<Arc<dyn Transform>> {
        None
    }

    /// The diagonal of `D' diag(d) D` with `D` the derivative at any `theta` and `d` in the shape of the displacement, for
    /// preconditioners; none where it is not known.
    fn pull_diagonal(&self, _grid: &Grid, _d: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Writes the parameters reached from `theta` by `t` times `step` to `out`. A transform that must not fold may
    /// shorten `step` in place; returns whether `out` is admissible.
    fn retract(&self, theta: &Tensor, step: &Tensor, t: f64, out: &Tensor) -> Result<bool> {
        crate::ops::copy(theta, out)?;
        crate::ops::combine(t, step, 1.0, out)?;
        Ok(true)
    }

    /// Whether [`Transform::retract`] composes with the step rather than adding it: the gradient of the energy with
    /// respect to the step is then that with respect to the displacement, carried by
    /// [`pull_to_steps`](crate::pull_to_steps). For fields; such a transform takes steps of half precision too.
    fn composes(&self) -> bool {
        false
    }

    /// Whether the solver must keep all determinants positive.
    fn must_not_fold(&self) -> bool {
        false
    }

    /// The same displacement on another grid over the same field of view.
    fn resample(&self, theta: &Tensor, from: &Grid, to: &Grid) -> Result<Tensor> {
        resample_field(theta, from, to)
    }
}

/// The derivative `D` of a displacement at given parameters.
pub trait Tangent: Send + Sync {
    /// `D' inner(D step)`, and where a gradient `g` was given the derivative of `D' g` along the step with it.
    fn through(
        &self,
        step: &Tensor,
        inner: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor>;
}

/// Resizes a field of voxel displacements to another grid over the same field of view.
pub(crate) fn resample_field(u: &Tensor, from: &Grid, to: &Grid) -> Result<Tensor> {
    let mut parts = Vec::with_capacity(from.rank());
    for a in 0..from.rank() {
        let ratio = from.spacing()[a] / to.spacing()[a];
        parts.push((u.narrow(0, a, 1)? * ratio)?);
    }
    resize(&Tensor::cat(&parts, 0)?, to.size())
}
