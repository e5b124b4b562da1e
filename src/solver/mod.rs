//! Minimisers of an energy; they see a [`Problem`](crate::Problem) and nothing else.

mod adam;
mod alignment;
mod anderson;
mod descent;
mod device;
mod gauss_newton;
mod gradient_descent;
mod lbfgs;
mod multilevel;
mod prompts;
mod regions;
mod solution;
mod trust_region;

use candle_core::Tensor;

use crate::problem::Problem;
use crate::Result;

pub use adam::Adam;
pub use alignment::{
    align, Alignment, AlignmentFeatures, AlignmentPair, AlignmentStart, Candidate, ScaleReport,
    StageReport, StartReport,
};
pub use anderson::{Anderson, FixedPoint};
pub(crate) use device::{elements_below, fields_of};
pub use gauss_newton::GaussNewton;
pub use gradient_descent::GradientDescent;
pub use lbfgs::Lbfgs;
pub use multilevel::{LevelReport, Multilevel, MultilevelSolution, Pair, SolvedLevel};
pub use solution::{Certificate, Iteration, Solution, Status};
pub use trust_region::TrustRegion;

/// A method that minimises an energy from a starting point.
pub trait Solver: Send + Sync + std::fmt::Debug {
    /// Name in reports and on the command line.
    fn name(&self) -> &'static str;

    /// Minimises `problem` from `theta`, which is overwritten.
    ///
    /// `watch` sees every iteration and may stop the solve by an error, e.g. [`Error::Interrupted`](crate::Error).
    /// The best iterate is what comes back, whatever the status.
    fn solve(
        &self,
        problem: &dyn Problem,
        theta: Tensor,
        watch: &mut dyn FnMut(&Iteration) -> Result<()>,
    ) -> Result<Solution>;
}
