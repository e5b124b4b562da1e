//! How a linear solve ended.

use super::{LinearInfo, LinearStop};

/// How a linear solve ended.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct LinearSolve {
    /// Products with the operator.
    pub steps: usize,
    /// `||b - A x|| / ||b||` at the end.
    pub residual: f64,
    /// Why it stopped.
    pub stop: LinearStop,
}

impl From<LinearInfo> for LinearSolve {
    fn from(info: LinearInfo) -> Self {
        Self {
            steps: info.steps,
            residual: info.residual,
            stop: info.stop,
        }
    }
}
