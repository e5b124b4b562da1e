//! Scaling and squaring, and its derivatives.

use candle_core::Tensor;

use super::Tangent;
use crate::ops::{
    adjoint_of_both, compose, copy, sampled, sampled_along, sampled_gradient, size, voxels,
    BlockSystem, Curvature, Differences, Interpolation, SsdData,
};
use crate::{Affine, Result};

/// The displacements `u_0 ... u_K` of a flow: `v / 2^K`, and each the square of the one before.
pub(super) struct Flow {
    stages: Vec<Tensor>,
    scale: f64,
    interpolation: Interpolation,
}

/// A displacement that is squared, and what its derivatives need again and again.
struct Stage {
    u: Tensor,
    /// Its voxels, or their B-spline coefficients.
    voxels: Tensor,
    /// The gradient with respect to its square, and the curvature that the interpolation gives it.
    turned: Option<(Tensor, BlockSystem)>,
}

/// The derivative of the end of a flow by its velocity.
pub(super) struct FlowTangent {
    /// From the first on.
    stages: Vec<Stage>,
    scale: f64,
    interpolation: Interpolation,
}

impl Flow {
    /// The flow along `v`.
    pub fn along(v: &Tensor, squarings: usize, interpolation: Interpolation) -> Result<Self> {
        let scale = 0.5f64.powi(squarings as i32);
        let mut stages = vec![(v.detach() * scale)?.contiguous()?];
        for k in 0..squarings {
            let u = &stages[k];
            let out = u.zeros_like()?;
            match interpolation {
                Interpolation::Linear => compose(u, u, 1.0, &out)?,
                Interpolation::Cubic => {
                    let moved = carried(&voxels(u, interpolation)?, u, interpolation)?;
                    copy(&(u + moved)?, &out)?;
                }
            }
            stages.push(out);
        }
        Ok(Self {
            stages,
            scale,
            interpolation,
        })
    }

    /// The displacement after the unit of time.
    pub fn end(&self) -> &Tensor {
        &self.stages[self.stages.len() - 1]
    }

    /// The derivative of the end along a step of the velocity.
    pub fn push(self, step: &Tensor) -> Result<Tensor> {
        let (_, end) = self.tangent(None)?.push(step)?;
        Ok(end)
    }

    /// The transposed derivative, applied to a cotangent of the end.
    pub fn pull(self, cotangent: &Tensor) -> Result<Tensor> {
        self.tangent(None)?.pull(cotangent, &[])
    }

    /// The derivative, prepared; with the gradient by the end that it is to turn.
    pub fn tangent(self, gradient: Option<&Tensor>) -> Result<FlowTangent> {
        let how = self.interpolation;
        let squared = &self.stages[..self.stages.len() - 1];
        let mut stages = Vec::with_capacity(squared.len());
        for u in squared {
            stages.push(Stage {
                u: u.clone(),
                voxels: voxels(u, how)?,
                turned: None,
            });
        }
        if let Some(gradient) = gradient {
            let mut w = gradient.contiguous()?;
            for stage in stages.iter_mut().rev() {
                let next = stage.pulled(&w, None, how)?;
                let bend = stage.bend(&w, how)?;
                stage.turned = Some((w, bend));
                w = next;
            }
        }
        Ok(FlowTangent {
            stages,
            scale: self.scale,
            interpolation: how,
        })
    }
}

/// A field whose voxels or coefficients are given, at `x + u(x)`.
fn carried(voxels: &Tensor, u: &Tensor, how: Interpolation) -> Result<Tensor> {
    sampled(voxels, Some(u), &size(u), &Affine::identity(), how)
}

/// A step of a stage: itself, and its voxels or coefficients.
type Step = (Tensor, Tensor);

impl FlowTangent {
    /// The steps of all stages along a step of the velocity, and that of the end.
    fn push(&self, step: &Tensor) -> Result<(Vec<Step>, Tensor)> {
        let (still, how) = (Affine::identity(), self.interpolation);
        let mut d = (step * self.scale)?.contiguous()?;
        let mut steps = Vec::with_capacity(self.stages.len());
        for Stage {
            u, voxels: of_u, ..
        } in &self.stages
        {
            let of_d = voxels(&d, how)?;
            let next = (&d + carried(&of_d, u, how)?)?;
            let next = (next + sampled_along(of_u, u, &still, how, &d)?)?;
            steps.push((d, of_d));
            d = next;
        }
        Ok((steps, d))
    }

    /// The transposed derivative of a cotangent of the end, and with the steps of all stages how it turns the gradients.
    fn pull(&self, cotangent: &Tensor, steps: &[Step]) -> Result<Tensor> {
        let mut w = cotangent.contiguous()?;
        for (k, stage) in self.stages.iter().enumerate().rev() {
            w = stage.pulled(&w, steps.get(k), self.interpolation)?;
        }
        Ok((w * self.scale)?)
    }
}

impl Tangent for FlowTangent {
    fn through(
        &self,
        step: &Tensor,
        inner: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (steps, end) = self.push(step)?;
        let turns = self.stages.iter().any(|stage| stage.turned.is_some());
        self.pull(&inner(&end)?, if turns { &steps } else { &[] })
    }
}

impl Stage {
    /// A cotangent of the square, carried back; with a step, and where a gradient is to be turned, forward over reverse.
    fn pulled(&self, w: &Tensor, step: Option<&Step>, how: Interpolation) -> Result<Tensor> {
        let (u, still) = (&self.u, Affine::identity());
        let turned = step.zip(self.turned.as_ref());
        let along = turned.map(|((d, _), (gradient, _))| (d, gradient));
        let mut next = (w + adjoint_of_both(1.0, w, along, u, &still, how, &size(u))?)?;
        next = (next + sampled_gradient(&self.voxels, u, &still, how, w)?)?;
        if let Some(((d, of_d), (gradient, bend))) = turned {
            next = (next + sampled_gradient(of_d, u, &still, how, gradient)?)?;
            let bent = d.zeros_like()?;
            bend.apply(d, &bent)?;
            next = (next + bent)?;
        }
        Ok(next)
    }

    /// `sum_c w_c (Hess u_c)(x + u(x))`, one block a voxel: the difference of the two curvatures of squares whose residuals
    /// are `w`.
    fn bend(&self, w: &Tensor, interpolation: Interpolation) -> Result<BlockSystem> {
        let u = &self.u;
        let rank = u.dims()[0];
        let data = SsdData {
            fixed: (carried(&self.voxels, u, interpolation)? - w)?,
            moving: self.voxels.clone(),
            mask: None,
            channel_weight: vec![1.0; rank],
            map: Affine::identity(),
            interpolation,
        };
        let mut shape = u.dims().to_vec();
        shape[0] = rank * (rank + 1) / 2;
        let blocks = |curvature: Curvature| -> Result<Tensor> {
            let blocks = Tensor::zeros(shape.as_slice(), u.dtype(), u.device())?;
            data.linearise(Some(u), curvature, &u.zeros_like()?, &blocks)?;
            Ok(blocks)
        };
        Ok(BlockSystem {
            blocks: (blocks(Curvature::Newton)? - blocks(Curvature::GaussNewton)?)?,
            differences: Differences {
                weight: [[0.0; 3]; 3],
            },
            shift: 0.0,
            extra_diagonal: [0.0; 3],
        })
    }
}
