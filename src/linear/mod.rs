//! Linear systems: large ones without a matrix, small ones dense.

mod cholesky;
mod conjugate_gradients;
mod eigen;
mod gmres;
mod minres;
mod multigrid;
mod operator;
mod solve;
mod tridiagonal;

pub(crate) use cholesky::cholesky_solve;
pub use conjugate_gradients::{conjugate_gradients, Krylov, LinearInfo, LinearOptions, LinearStop};
pub(crate) use eigen::symmetric_eigen;
pub use gmres::gmres;
pub use minres::minres;
pub use multigrid::Multigrid;
pub use operator::{BlockJacobi, Diagonal, LinearOperator, Preconditioner};
pub use solve::LinearSolve;
