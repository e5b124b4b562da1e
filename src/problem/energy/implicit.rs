//! How the optimum of the registration energy follows its data.

use candle_core::Tensor;

use super::EnergyProblem;
use crate::ops::{dot, BlockSystem, Curvature, Differences};
use crate::problem::ImplicitProblem;
use crate::{Error, Result};

/// The data are, in this order: the fixed features, the moving features (not their coefficients), `lambda` (of shape
/// `[1]`), the channel weights (`[channels]`) and the mask.
impl ImplicitProblem for EnergyProblem {
    fn data_pullback(&self, theta: &Tensor, step: &Tensor) -> Result<Vec<Tensor>> {
        let (u, du);
        let (u, q) = if self.transform.is_field() {
            (theta, step)
        } else {
            u = self.transform.displacement(theta, &self.grid)?;
            du = self
                .transform
                .pushforward(theta, &self.grid, step)?
                .contiguous()?;
            (&u, &du)
        };
        let data = self.data.pullback(u, q)?;
        let (smooth, along) = if self.transform.is_velocity() {
            (theta, step)
        } else {
            (u, q)
        };
        let lambda = -dot(along, &self.regulariser.gradient(smooth, &self.grid)?)?;
        let small = |values: Vec<f64>| -> Result<Tensor> {
            let n = values.len();
            Ok(Tensor::from_vec(values, n, u.device())?.to_dtype(u.dtype())?)
        };
        Ok(vec![
            data.fixed,
            data.moving,
            small(vec![lambda])?,
            small(data.channel_weight)?,
            data.mask,
        ])
    }

    fn solve_blocks(&self, theta: &Tensor, damping: f64, v: &Tensor) -> Result<Tensor> {
        if !self.transform.is_field() {
            return Err(Error::argument(
                "adjoint",
                format!(
                    "the transform {} is no field and has no blocks; choose another policy",
                    self.transform.name()
                ),
            ));
        }
        let rank = self.grid.rank();
        let (out, gradient) = (v.zeros_like()?, v.zeros_like()?);
        let blocks = self
            .kept
            .blocks
            .tensor(rank * (rank + 1) / 2, theta, theta.dtype())?;
        self.data
            .linearise(Some(theta), Curvature::GaussNewton, &gradient, &blocks)?;
        self.prompts
            .add_labels(theta, Curvature::GaussNewton, &gradient, &blocks)?;
        let system = BlockSystem {
            blocks,
            differences: Differences {
                weight: [[0.0; 3]; 3],
            },
            shift: damping * self.unit,
            extra_diagonal: [0.0; 3],
        };
        system.precondition(v, &out)?;
        Ok(out)
    }
}
