//! Symmetric linear systems without a matrix.

mod conjugate_gradients;
mod operator;
mod tridiagonal;

pub use conjugate_gradients::{conjugate_gradients, Krylov, LinearInfo, LinearOptions, LinearStop};
pub use operator::{BlockJacobi, LinearOperator, Preconditioner};
