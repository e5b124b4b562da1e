//! Energies that a researcher writes in the tensor engine's operations, as problems for every solver.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::residual::{Residual, Transposed};
use crate::linear::LinearOperator;
use crate::ops::{copy, dot, Curvature};
use crate::problem::{Linearisation, Problem};
use crate::{Error, Result};

/// An energy `E(theta, data)` whose gradient is its [`Residual`].
pub trait Energy: Residual {
    /// The energy, a tensor of one element.
    fn energy(&self, theta: &Tensor, data: &[Tensor]) -> Result<Tensor>;
}

/// The problem of an [`Energy`] with its data: gradients are the residual's values, products with the Hessian come from
/// differentiating the residual. For energies without closed forms; where they are known, [`EnergyProblem`] is faster.
///
/// [`EnergyProblem`]: crate::EnergyProblem
pub struct AutodiffProblem {
    energy: Arc<dyn Energy>,
    data: Vec<Tensor>,
}

impl AutodiffProblem {
    /// The problem, with data cut from their graphs.
    pub fn new(energy: Arc<dyn Energy>, data: &[Tensor]) -> Self {
        Self {
            energy,
            data: data.iter().map(Tensor::detach).collect(),
        }
    }
}

impl Problem for AutodiffProblem {
    fn value(&self, theta: &Tensor) -> Result<f64> {
        let energy = self.energy.energy(&theta.detach(), &self.data)?;
        Ok(energy
            .flatten_all()?
            .to_dtype(DType::F64)?
            .to_vec1::<f64>()?
            .first()
            .copied()
            .unwrap_or(f64::NAN))
    }

    /// The Hessian, whichever curvature is asked for: solvers that need a definite one stop where it is not.
    fn linearise(
        &self,
        theta: &Tensor,
        _curvature: Curvature,
        gradient: &Tensor,
    ) -> Result<Linearisation> {
        let hessian = Transposed::new(&*self.energy, &theta.copy()?, &self.data)?;
        if hessian.value().dims() != gradient.dims() {
            return Err(Error::Shape {
                what: "residual",
                expected: gradient.dims().to_vec(),
                got: hessian.value().dims().to_vec(),
            });
        }
        copy(&hessian.value().detach().contiguous()?, gradient)?;
        Ok(Linearisation {
            energy: self.value(theta)?,
            scale: 1.0,
            operator: Box::new(Hessian(hessian)),
            preconditioner: Box::new(()),
        })
    }
}

/// The derivative of a residual that is a gradient, and so symmetric.
struct Hessian(Transposed);

impl LinearOperator for Hessian {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        copy(&self.0.product(p)?, out)?;
        dot(p, out)
    }
}
