//! All that is measured.

use std::sync::Arc;
use std::time::Instant;

use candle_core::Tensor;

use super::report::{CaseReport, GradcheckReport, MemoryPoint, PolicyReport, TolerancePoint};
use super::subject::{exact, Found, Subject};
use super::GradcheckArgs;
use crate::adjoint::{compare_gradients, Adjoint, Policy};
use crate::cli::memory::peak_during;
use crate::cli::Session;
use crate::image::Image;
use crate::ops::dot;
use crate::registration::Deformation;
use crate::regulariser::{Bending, Diffusion, Elastic, Regulariser};
use crate::solver::{GradientDescent, Solver};
use crate::transform::{all_transforms, Displacement};
use crate::Result;

const POLICIES: [Policy; 14] = [
    Policy::Exact,
    Policy::GaussNewton,
    Policy::Truncated { products: 5 },
    Policy::Truncated { products: 20 },
    Policy::Truncated { products: 80 },
    Policy::JacobianFree,
    Policy::Phantom { steps: 3 },
    Policy::Phantom { steps: 10 },
    Policy::Phantom { steps: 100 },
    Policy::Block { damping: 1e-4 },
    Policy::Block { damping: 1.0 },
    Policy::Unrolled { steps: 20 },
    Policy::Unrolled { steps: 100 },
    Policy::Unrolled { steps: 500 },
];

/// The inner tolerance of minima that gradients are checked at.
const TIGHT: f64 = 1e-12;

/// Inner tolerances of the first chart.
const TOLERANCES: [f64; 9] = [0.5, 0.2, 0.1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10];

/// Inner iterations of the second chart.
const ITERATIONS: [usize; 5] = [10, 20, 40, 80, 160];

pub(super) fn all(
    args: &GradcheckArgs,
    fixed: &Image,
    moving: &Image,
    session: &Session,
) -> Result<GradcheckReport> {
    let size = usize::from(args.size);
    let subject = Subject::new(fixed, moving, size, args.lambda, args.seed)?;
    let cases = cases(&subject, session)?;
    session.progress.begin("comparing policies", 2);
    let transform = Arc::new(Displacement);
    let certified = subject.certified(transform.clone(), Arc::new(Diffusion), TIGHT)?;
    let cotangent = subject.loss(&certified.problem, &certified.theta)?.1;
    let (reference, _) =
        subject.gradient(&certified.problem, &certified.theta, &cotangent, &exact())?;
    let mut policies = compared(
        &subject,
        &certified,
        "certified",
        exact(),
        &reference,
        session,
    )?;
    session.progress.at(1, "the fast optimum".to_owned());
    let fast = subject.solve(&Deformation {
        transform,
        ..Deformation::default()
    })?;
    policies.extend(compared(
        &subject,
        &fast,
        "fast",
        Adjoint::gauss_newton(),
        &reference,
        session,
    )?);
    session.progress.begin("tolerances and memory", 2);
    Ok(GradcheckReport {
        size: subject.fixed.grid.size().to_vec(),
        lambda: args.lambda,
        cases,
        policies,
        tolerances: tolerances(&subject, &reference, session)?,
        memory: memories(&subject, &certified, &cotangent, session)?,
    })
}

/// Every policy at one optimum, with the tolerances of `adjoint`.
fn compared(
    subject: &Subject,
    found: &Found,
    mode: &'static str,
    adjoint: Adjoint,
    reference: &[Tensor],
    session: &Session,
) -> Result<Vec<PolicyReport>> {
    let cotangent = subject.loss(&found.problem, &found.theta)?.1;
    let mut policies = Vec::new();
    for policy in POLICIES {
        session.proceed()?;
        // steps with linear interpolation do not end at the optimum
        if mode == "fast" && matches!(policy, Policy::Unrolled { .. }) {
            continue;
        }
        let adjoint = Adjoint { policy, ..adjoint };
        let clock = Instant::now();
        let (outcome, peak) =
            peak_during(|| subject.gradient(&found.problem, &found.theta, &cotangent, &adjoint));
        let (gradient, info) = outcome?;
        policies.push(PolicyReport {
            mode,
            info,
            comparison: compare_gradients(&gradient, reference)?,
            seconds: clock.elapsed().as_secs_f64(),
            peak_bytes: peak,
        });
    }
    Ok(policies)
}

/// Gradients at solves that stopped early, against the reference.
fn tolerances(
    subject: &Subject,
    reference: &[Tensor],
    session: &Session,
) -> Result<Vec<TolerancePoint>> {
    let mut points = Vec::new();
    for tolerance in TOLERANCES {
        session.proceed()?;
        let found = subject.certified(Arc::new(Displacement), Arc::new(Diffusion), tolerance)?;
        let cotangent = subject.loss(&found.problem, &found.theta)?.1;
        let error = |adjoint: &Adjoint| -> Result<f64> {
            let (gradient, _) =
                subject.gradient(&found.problem, &found.theta, &cotangent, adjoint)?;
            Ok(compare_gradients(&gradient, reference)?.relative_error)
        };
        points.push(TolerancePoint {
            gradient_ratio: found.gradient_ratio,
            exact: error(&exact())?,
            gauss_newton: error(&Adjoint {
                policy: Policy::GaussNewton,
                ..exact()
            })?,
        });
    }
    Ok(points)
}

/// The memory of a solve with so many iterations and its gradient.
fn memories(
    subject: &Subject,
    certified: &Found,
    cotangent: &Tensor,
    session: &Session,
) -> Result<Vec<MemoryPoint>> {
    let problem = &certified.problem;
    let mut points = Vec::new();
    for iterations in ITERATIONS {
        session.proceed()?;
        let run = |policy: Policy| -> Result<usize> {
            problem.release();
            let start = certified.theta.zeros_like()?;
            let (outcome, peak) = peak_during(|| -> Result<()> {
                let descent = GradientDescent {
                    steps: iterations,
                    gradient: 0.0,
                    ..GradientDescent::default()
                };
                let theta = match policy {
                    // repeats the iterations itself
                    Policy::Unrolled { .. } => certified.theta.clone(),
                    _ => descent.solve(problem, start, &mut |_| Ok(()))?.theta,
                };
                let adjoint = Adjoint { policy, ..exact() };
                subject.gradient(problem, &theta, cotangent, &adjoint)?;
                Ok(())
            });
            outcome?;
            Ok(peak)
        };
        points.push(MemoryPoint {
            iterations,
            implicit_bytes: run(Policy::Exact)?,
            unrolled_bytes: run(Policy::Unrolled { steps: iterations })?,
        });
    }
    Ok(points)
}

/// The exact gradient against finite differences, for each transform and regulariser.
fn cases(subject: &Subject, session: &Session) -> Result<Vec<CaseReport>> {
    let transforms = all_transforms();
    let regularisers: [Arc<dyn Regulariser>; 3] = [
        Arc::new(Diffusion),
        Arc::new(Bending::default()),
        Arc::new(Elastic::default()),
    ];
    let count = transforms.len() * regularisers.len();
    session.progress.begin("checking cases", count);
    let mut cases = Vec::new();
    for transform in &transforms {
        for regulariser in &regularisers {
            session.proceed()?;
            let name = format!("{}, {}", transform.name(), regulariser.name());
            session.progress.at(cases.len(), name);
            let clock = Instant::now();
            let found = subject.certified(transform.clone(), regulariser.clone(), TIGHT)?;
            let solve_seconds = clock.elapsed().as_secs_f64();
            let cotangent = subject.loss(&found.problem, &found.theta)?.1;
            let clock = Instant::now();
            let (gradient, info) =
                subject.gradient(&found.problem, &found.theta, &cotangent, &exact())?;
            let adjoint_seconds = clock.elapsed().as_secs_f64();
            let direction = subject.direction(&found.problem)?;
            let mut slope = 0.0;
            for (g, d) in gradient.iter().zip(&direction) {
                slope += dot(&g.contiguous()?, d)?;
            }
            // third derivatives of a cubic spline jump, so truncation falls with the step; rounding grows: one of the steps
            // is small enough for both
            let mut error = f64::INFINITY;
            for h in [0.1, 0.01, 1e-3, 1e-4, 1e-5] {
                let difference = subject.difference(&found, &direction, h)?;
                error = error.min((slope - difference).abs() / difference.abs());
                if error < 1e-8 {
                    break;
                }
            }
            cases.push(CaseReport {
                transform: transform.name(),
                regulariser: regulariser.name(),
                gradient_ratio: found.gradient_ratio,
                strict_minimum: found.strict_minimum,
                adjoint: info,
                finite_difference_error: error,
                solve_seconds,
                adjoint_seconds,
            });
        }
    }
    Ok(cases)
}
