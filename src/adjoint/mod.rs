//! Gradients through an optimum: the implicit function theorem, and the cheaper policies it is compared with.
//!
//! This room sees a problem and its solution; neither a similarity nor a transform.

mod attach;
mod autodiff;
mod check;
mod energy;
#[cfg(test)]
mod on_device;
mod policy;
mod residual;
mod unrolled;

pub use attach::{attach, AdjointRecord};
pub use autodiff::{AutodiffProblem, Energy};
pub use check::{compare_gradients, GradientComparison};
pub use policy::{Adjoint, AdjointInfo, Policy, Unconverged};
pub use residual::{attach_residual, Residual};
