//! What a linear solver needs to know of a matrix.

use candle_core::Tensor;

use crate::ops::{combine, copy, dot, BlockSystem};
use crate::Result;

/// A symmetric operator `A` on tensors of one shape.
pub trait LinearOperator: Send + Sync {
    /// `out = A p`; returns `p' A p`. `out` has the shape of `p` and shares no storage with it.
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64>;
}

/// A symmetric positive definite approximation `M` of an operator whose inverse is cheap.
pub trait Preconditioner: Send + Sync {
    /// `z = M^-1 r`; returns `(r' z, r' r)`.
    fn apply(&self, r: &Tensor, z: &Tensor) -> Result<[f64; 2]>;

    /// The part of it that acts voxel by voxel, itself positive definite; none where that is all of it.
    fn local(&self) -> Option<&dyn Preconditioner> {
        None
    }

    /// One update of conjugate gradients: `x += alpha p`, `r -= alpha q`, then `q = M^-1 r`; returns `(r' q, r' r)`.
    fn advance(
        &self,
        alpha: f64,
        p: &Tensor,
        x: &Tensor,
        r: &Tensor,
        q: &Tensor,
    ) -> Result<[f64; 2]> {
        combine(alpha, p, 1.0, x)?;
        combine(-alpha, q, 1.0, r)?;
        self.apply(r, q)
    }
}

/// No preconditioning: `M = I`.
impl Preconditioner for () {
    fn apply(&self, r: &Tensor, z: &Tensor) -> Result<[f64; 2]> {
        copy(r, z)?;
        let rr = dot(r, r)?;
        Ok([rr, rr])
    }
}

impl LinearOperator for BlockSystem {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        self.apply(p, out)
    }
}

/// The inverse of the block diagonal of a system of voxel blocks.
#[derive(Debug, Clone)]
pub struct BlockJacobi(pub(crate) BlockSystem);

impl Preconditioner for BlockJacobi {
    fn apply(&self, r: &Tensor, z: &Tensor) -> Result<[f64; 2]> {
        self.0.precondition(r, z)
    }

    fn advance(
        &self,
        alpha: f64,
        p: &Tensor,
        x: &Tensor,
        r: &Tensor,
        q: &Tensor,
    ) -> Result<[f64; 2]> {
        self.0.advance(alpha, p, x, r, q)
    }
}

/// Division by a positive diagonal.
#[derive(Debug, Clone)]
pub struct Diagonal(pub Tensor);

impl Preconditioner for Diagonal {
    fn apply(&self, r: &Tensor, z: &Tensor) -> Result<[f64; 2]> {
        copy(&(r / &self.0)?, z)?;
        Ok([dot(r, z)?, dot(r, r)?])
    }
}
