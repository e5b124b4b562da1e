//! What `gradcheck` reports.

use serde::Serialize;

use crate::adjoint::{AdjointInfo, GradientComparison, Policy};
use crate::cli::sheet::Sheet;
use crate::picture::{Chart, Series};

/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct GradcheckReport {
    /// Voxels of the fixed grid.
    pub size: Vec<usize>,
    /// Weight of the regulariser.
    pub lambda: f64,
    /// The exact gradient against finite differences.
    pub cases: Vec<CaseReport>,
    /// All policies against the exact gradient at the certified minimum.
    pub policies: Vec<PolicyReport>,
    /// Errors against the inner tolerance.
    pub tolerances: Vec<TolerancePoint>,
    /// Peak memory against the inner iterations.
    pub memory: Vec<MemoryPoint>,
}

/// One transform with one regulariser.
#[derive(Debug, Serialize)]
pub(super) struct CaseReport {
    pub transform: &'static str,
    pub regulariser: &'static str,
    /// `||g|| / ||g_0||` at the minimum.
    pub gradient_ratio: f64,
    pub strict_minimum: bool,
    pub adjoint: AdjointInfo,
    /// Relative error of the slope along a random direction of all data.
    pub finite_difference_error: f64,
    pub solve_seconds: f64,
    pub adjoint_seconds: f64,
}

/// One policy at one optimum.
#[derive(Debug, Serialize)]
pub(super) struct PolicyReport {
    /// `certified` or `fast`.
    pub mode: &'static str,
    #[serde(flatten)]
    pub info: AdjointInfo,
    #[serde(flatten)]
    pub comparison: GradientComparison,
    pub seconds: f64,
    pub peak_bytes: usize,
}

/// Gradients at a solve that stopped early.
#[derive(Debug, Serialize)]
pub(super) struct TolerancePoint {
    pub gradient_ratio: f64,
    /// Relative error of the exact adjoint there.
    pub exact: f64,
    /// That of the Gauss-Newton adjoint.
    pub gauss_newton: f64,
}

/// Memory of a solve with so many iterations and its gradient.
#[derive(Debug, Serialize)]
pub(super) struct MemoryPoint {
    pub iterations: usize,
    pub implicit_bytes: usize,
    pub unrolled_bytes: usize,
}

fn policy_name(policy: &Policy) -> String {
    match policy {
        Policy::GaussNewton => "Gauss-Newton".into(),
        Policy::Exact => "exact".into(),
        Policy::Truncated { products } => format!("CG, {products} products"),
        Policy::Phantom { steps } => format!("phantom, {steps} steps"),
        Policy::JacobianFree => "Jacobian-free".into(),
        Policy::Block { damping } => format!("blocks, damping {damping}"),
        Policy::Unrolled { steps } => format!("unrolled, {steps} steps"),
    }
}

impl GradcheckReport {
    /// The tables.
    pub fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::default();
        let words = |row: &[&str]| row.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        sheet.title("exact gradient against finite differences of minima found again");
        sheet.cells(words(&[
            "transform",
            "regulariser",
            "minimum",
            "|g|/|g0|",
            "adjoint",
            "products",
            "error",
            "solve, s",
            "adjoint, s",
        ]));
        for case in &self.cases {
            sheet.cells([
                case.transform.to_owned(),
                case.regulariser.to_owned(),
                if case.strict_minimum { "strict" } else { "-" }.to_owned(),
                format!("{:.0e}", case.gradient_ratio),
                case.adjoint.method.to_owned(),
                case.adjoint.products.to_string(),
                format!("{:.1e}", case.finite_difference_error),
                format!("{:.2}", case.solve_seconds),
                format!("{:.2}", case.adjoint_seconds),
            ]);
        }
        for mode in ["certified", "fast"] {
            sheet.title(format!(
                "policies at the {mode} optimum, against the exact gradient at the certified one"
            ));
            sheet.cells(words(&[
                "policy", "cosine", "length", "residual", "products", "ms", "MB",
            ]));
            for policy in self.policies.iter().filter(|p| p.mode == mode) {
                sheet.cells([
                    policy_name(&policy.info.policy),
                    format!("{:.6}", policy.comparison.cosine),
                    format!("{:.4}", policy.comparison.relative_norm),
                    format!("{:.0e}", policy.info.residual),
                    policy.info.products.to_string(),
                    format!("{:.1}", 1e3 * policy.seconds),
                    format!("{:.2}", policy.peak_bytes as f64 / 1e6),
                ]);
            }
        }
        sheet
    }

    /// The figure.
    pub fn charts(&self) -> [Chart; 2] {
        let tolerance = |name: &str, error: fn(&TolerancePoint) -> f64| Series {
            name: name.into(),
            points: self
                .tolerances
                .iter()
                .map(|p| [p.gradient_ratio, error(p)])
                .collect(),
        };
        let memory = |name: &str, bytes: fn(&MemoryPoint) -> usize| Series {
            name: name.into(),
            points: self
                .memory
                .iter()
                .map(|p| [p.iterations as f64, bytes(p) as f64 / 1e6])
                .collect(),
        };
        [
            Chart {
                linear: [false; 2],
                title: "Error of the gradient against the inner tolerance".into(),
                across: "|g| / |g0| of the solve".into(),
                up: "relative error".into(),
                series: vec![
                    tolerance("exact adjoint", |p| p.exact),
                    tolerance("Gauss-Newton adjoint", |p| p.gauss_newton),
                ],
            },
            Chart {
                linear: [false; 2],
                title: "Peak memory against the inner iterations".into(),
                across: "iterations".into(),
                up: "MB".into(),
                series: vec![
                    memory("implicit", |p| p.implicit_bytes),
                    memory("unrolled", |p| p.unrolled_bytes),
                ],
            },
        ]
    }
}
