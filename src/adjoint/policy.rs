//! Which gradient is taken, and what is reported of it.

use crate::linear::{LinearSolve, LinearStop};
use crate::Error;

/// Which system stands between the cotangent `v` of an optimum and what its data receive.
///
/// All return the same optimum; only the gradient differs. `H` is the Hessian of the energy at the optimum, `G` its
/// Gauss-Newton part with the regulariser, `P` the block diagonal of `H` (one block a voxel) made positive definite.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "policy")]
pub enum Policy {
    /// `G q = v`: always solvable; the gradient of the fast mode, whose optimum is not exactly stationary.
    GaussNewton,
    /// `H q = v`, the implicit function theorem: the derivative of the optimum. Conjugate gradients, and MINRES where `H`
    /// is found indefinite.
    Exact,
    /// `H q = v` by this many products of conjugate gradients.
    Truncated {
        /// Products.
        products: usize,
    },
    /// This many terms of the Neumann series: the graph of as many gradient steps at the optimum, preconditioned by `P`
    /// (Geng et al. 2021, arXiv:2111.05177).
    Phantom {
        /// Steps.
        steps: usize,
    },
    /// One such step: `q` is `P^-1 v` times the step's length (Fung et al. 2022, arXiv:2103.12803).
    JacobianFree,
    /// `(G_i + damping) q_i = v_i` voxel by voxel, without the regulariser: the published solve (arXiv:2406.07361).
    Block {
        /// Added to the diagonal, relative to the unit of the data term.
        damping: f64,
    },
    /// Differentiates as many gradient steps with momentum from zero parameters, which it repeats and keeps: memory grows
    /// with them.
    Unrolled {
        /// Steps.
        steps: usize,
    },
}

impl Policy {
    /// The policy of a name: `gauss-newton`, `exact`, `truncated-N`, `phantom-N`, `jacobian-free`, `block` or `unrolled-N`
    /// with a number of products or steps; none where there is none.
    pub fn named(name: &str) -> Option<Self> {
        let number = |prefix: &str| name.strip_prefix(prefix)?.parse().ok().filter(|n| *n > 0);
        match name {
            "gauss-newton" => Some(Self::GaussNewton),
            "exact" => Some(Self::Exact),
            "jacobian-free" => Some(Self::JacobianFree),
            "block" => Some(Self::Block { damping: 1e-3 }),
            _ => number("truncated-")
                .map(|products| Self::Truncated { products })
                .or_else(|| number("phantom-").map(|steps| Self::Phantom { steps }))
                .or_else(|| number("unrolled-").map(|steps| Self::Unrolled { steps })),
        }
    }
}

/// What is done about a linear solve that did not reach its tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unconverged {
    /// `backward` returns an error.
    Refuse,
    /// The gradient is used, and the record says what it is worth.
    Warn,
    /// The Gauss-Newton system is solved instead.
    FallBack,
}

/// How gradients pass an optimum.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Adjoint {
    /// The system.
    #[serde(flatten)]
    pub policy: Policy,
    /// Relative residual of its solve.
    pub tolerance: f64,
    /// Products of its solve at most.
    pub products: usize,
    /// What is done when these do not suffice.
    pub unconverged: Unconverged,
}

impl Adjoint {
    /// The default with the fast mode: Gauss-Newton to 1e-2: on brains of 2 mm with 16 channels its cosine to the solved
    /// system is 0.9999, and a tighter solve costs more than all the rest of the backward pass.
    pub fn gauss_newton() -> Self {
        Self {
            policy: Policy::GaussNewton,
            tolerance: 1e-2,
            products: 200,
            unconverged: Unconverged::Warn,
        }
    }

    /// The default with the certified mode: exact to 1e-8, refusing what does not get there.
    pub fn exact() -> Self {
        Self {
            policy: Policy::Exact,
            tolerance: 1e-8,
            products: 5000,
            unconverged: Unconverged::Refuse,
        }
    }

    /// Another policy with the tolerances of [`Adjoint::gauss_newton`].
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::gauss_newton()
        }
    }

    /// Whether the policy promises a tolerance, rather than a number of steps, and the solve missed it.
    pub(super) fn is_missed(&self, solved: &LinearSolve) -> bool {
        matches!(self.policy, Policy::GaussNewton | Policy::Exact)
            && solved.stop != LinearStop::Converged
    }

    /// The refusal of a solve that missed the tolerance.
    pub(super) fn refusal(&self, method: &str, solved: &LinearSolve) -> Error {
        Error::data(
            "adjoint",
            format!(
                "reached a residual of {:.1e} after {} products of {method}, {:.1e} was asked for; allow more products, \
                 converge the solve further, or choose another policy",
                solved.residual, solved.steps, self.tolerance
            ),
        )
    }
}

impl AdjointInfo {
    /// The report of a solve.
    pub(super) fn of(policy: Policy, method: &'static str, solved: LinearSolve) -> Self {
        Self {
            policy,
            method,
            products: solved.steps,
            residual: solved.residual,
            stop: solved.stop,
            fell_back: false,
        }
    }
}

/// What an adjoint reports.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct AdjointInfo {
    /// The policy that was asked for.
    pub policy: Policy,
    /// The method that gave the result: `cg`, `minres`, `gmres`, `neumann`, `direct` or `unrolled`.
    pub method: &'static str,
    /// Products with the curvature (or with the transposed derivative of a residual).
    pub products: usize,
    /// Relative residual of the policy's own system: `||v - H q|| / ||v||`, with `G` in place of `H` where the policy says so;
    /// of unrolled steps, how far their end is from the optimum, relative to its length.
    pub residual: f64,
    /// How the solve ended.
    pub stop: LinearStop,
    /// Whether the Gauss-Newton system was solved in place of an unconverged one.
    pub fell_back: bool,
}
