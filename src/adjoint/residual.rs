//! Optima and equilibria that a researcher states in the tensor engine's operations.

use std::sync::Arc;

use candle_core::{Tensor, Var};

use super::attach::AdjointRecord;
use super::policy::{Adjoint, AdjointInfo, Policy, Unconverged};
use crate::linear::{gmres, minres, LinearOperator, LinearSolve, LinearStop};
use crate::ops::{copy, dot, record};
use crate::{Error, Result};

/// A function `g(theta, data)` whose root is the output of a layer: the gradient of an energy, or `theta - T(theta, data)` for
/// the fixed points of a map, such as a learned update.
pub trait Residual: Send + Sync {
    /// `g`, in the shape of `theta`, written in the tensor engine's operations (or others with a derivative).
    ///
    /// Everything that is to receive a gradient is in `data`: feature maps, weights of a network, scalars. It is called with
    /// detached tensors too, and must not be the result of a `backward`, which the engine cannot differentiate.
    fn residual(&self, theta: &Tensor, data: &[Tensor]) -> Result<Tensor>;

    /// Whether `dg/dtheta` is symmetric, as for the gradient of an energy; then MINRES is used, else GMRES.
    fn is_symmetric(&self) -> bool {
        false
    }
}

/// Vectors that GMRES keeps between restarts.
const MEMORY: usize = 40;

/// The root `theta` of a residual as a function of its data: the same values, with the derivative of the implicit function.
///
/// `backward` solves `(dg/dtheta)' q = v` with transposed products by automatic differentiation at `theta`, and hands `-q` to
/// the graph of `g(theta, data)`, from where the engine carries it to all data. Policies: [`Policy::Exact`],
/// [`Policy::Truncated`], [`Policy::Phantom`] (`sum_j (I - (dg/dtheta)')^j v`: the graph of as many steps of the map
/// `theta - g`) and [`Policy::JacobianFree`] (its first term). Memory does not depend on how the root was found.
///
/// # Errors
/// [`Error::InvalidArgument`] for the other policies, which need an energy, [`Error::Shape`] when the residual has not the
/// shape of `theta`; in `backward`, [`Error::Data`] for an unconverged solve that the adjoint refuses, those of the residual.
pub fn attach_residual(
    residual: Arc<dyn Residual>,
    theta: &Tensor,
    data: &[Tensor],
    adjoint: Adjoint,
) -> Result<(Tensor, AdjointRecord)> {
    if !matches!(
        adjoint.policy,
        Policy::Exact | Policy::Truncated { .. } | Policy::Phantom { .. } | Policy::JacobianFree
    ) {
        return Err(Error::argument(
            "adjoint",
            "this policy needs an energy; a residual takes exact, truncated, phantom and jacobian-free",
        ));
    }
    let theta = theta.detach().contiguous()?;
    let g = residual.residual(&theta, data)?;
    if g.dims() != theta.dims() {
        return Err(Error::Shape {
            what: "residual",
            expected: theta.dims().to_vec(),
            got: g.dims().to_vec(),
        });
    }
    let info = AdjointRecord::default();
    let (report, at) = (info.clone(), theta.clone());
    let still: Vec<Tensor> = data.iter().map(Tensor::detach).collect();
    let out = record("attach", &g.contiguous()?, theta, move |v| {
        let (q, solved) = solve(&*residual, &at, &still, v, &adjoint)?;
        report.set(solved);
        Ok(q.neg()?)
    })?;
    Ok((out, info))
}

/// `(dg/dtheta)' p` by automatic differentiation; the graph of `g` is built once.
pub(super) struct Transposed {
    theta: Var,
    g: Tensor,
}

impl Transposed {
    /// `g` at `theta`.
    pub fn value(&self) -> &Tensor {
        &self.g
    }

    pub fn new(residual: &dyn Residual, theta: &Tensor, data: &[Tensor]) -> Result<Self> {
        let theta = Var::from_tensor(theta)?;
        let g = residual.residual(theta.as_tensor(), data)?;
        Ok(Self { theta, g })
    }

    pub fn product(&self, p: &Tensor) -> Result<Tensor> {
        let sum = (&self.g * p.detach())?.sum_all()?;
        let gradients = sum.backward()?;
        Ok(match gradients.get(&self.theta) {
            Some(q) => q.contiguous()?,
            None => p.zeros_like()?,
        })
    }
}

impl LinearOperator for Transposed {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        copy(&self.product(p)?, out)?;
        dot(p, out)
    }
}

fn solve(
    residual: &dyn Residual,
    theta: &Tensor,
    data: &[Tensor],
    v: &Tensor,
    adjoint: &Adjoint,
) -> Result<(Tensor, AdjointInfo)> {
    let operator = Transposed::new(residual, theta, data)?;
    let krylov = |tolerance: f64, products: usize| {
        if residual.is_symmetric() {
            minres(&operator, &(), v, tolerance, products).map(|(q, solved)| (q, "minres", solved))
        } else {
            gmres(&mut |p| operator.product(p), v, tolerance, products, MEMORY)
                .map(|(q, solved)| (q, "gmres", solved))
        }
    };
    let neumann = |terms: usize| -> Result<(Tensor, &'static str, LinearSolve)> {
        let (mut q, mut rest) = (v.zeros_like()?, v.clone());
        for _ in 0..terms {
            q = (&q + &rest)?;
            rest = (v - operator.product(&q)?)?;
        }
        let solved = LinearSolve {
            steps: terms,
            residual: (dot(&rest, &rest)? / dot(v, v)?.max(f64::MIN_POSITIVE)).sqrt(),
            stop: LinearStop::MaxSteps,
        };
        Ok((q, "neumann", solved))
    };
    let (q, method, solved) = match adjoint.policy {
        Policy::Truncated { products } => krylov(0.0, products)?,
        Policy::Phantom { steps } => neumann(steps)?,
        Policy::JacobianFree => neumann(1)?,
        _ => krylov(adjoint.tolerance, adjoint.products)?,
    };
    if adjoint.is_missed(&solved) && adjoint.unconverged != Unconverged::Warn {
        return Err(adjoint.refusal(method, &solved));
    }
    Ok((q, AdjointInfo::of(adjoint.policy, method, solved)))
}
