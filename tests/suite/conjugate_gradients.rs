//! Conjugate gradients on matrices whose eigenvalues are known.

use candle_core::{DType, Device, Shape, Tensor};
use stillpoint::{
    conjugate_gradients, Krylov, LinearInfo, LinearOperator, LinearOptions, LinearStop,
    Preconditioner, Result,
};

use crate::samples::{close, distance, dot, noise, tensor, values};

const N: usize = 12;

/// `A = S Q diag(eigenvalues) Q' S`, so that `M^-1 A` has these eigenvalues for `M = S^2`, with `S` diagonal.
struct Dense {
    matrix: Vec<Vec<f64>>,
    scale: Vec<f64>,
}

impl Dense {
    fn new(eigenvalues: &[f64]) -> Self {
        // two reflections make an orthogonal matrix without structure
        let n = eigenvalues.len();
        let mut q: Vec<Vec<f64>> = (0..n)
            .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
            .collect();
        for seed in [1, 2] {
            let v = values(&noise(&[n], seed));
            let vv: f64 = v.iter().map(|a| a * a).sum();
            for row in &mut q {
                let along: f64 = row.iter().zip(&v).map(|(a, b)| a * b).sum();
                for (entry, b) in row.iter_mut().zip(&v) {
                    *entry -= 2.0 * along * b / vv;
                }
            }
        }
        let scale: Vec<f64> = (0..n).map(|i| 0.5 + 0.2 * i as f64).collect();
        let matrix = (0..n)
            .map(|i| {
                (0..n)
                    .map(|j| {
                        let sum: f64 = (0..n).map(|k| q[i][k] * eigenvalues[k] * q[j][k]).sum();
                        scale[i] * sum * scale[j]
                    })
                    .collect()
            })
            .collect();
        Self { matrix, scale }
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        self.matrix
            .iter()
            .map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum())
            .collect()
    }
}

fn fill(to: &Tensor, v: Vec<f64>) {
    to.slice_set(&tensor(v, to.dims()), 0, 0).unwrap();
}

impl LinearOperator for Dense {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        fill(out, self.times(&values(p)));
        Ok(dot(p, out))
    }
}

struct Diagonal(Vec<f64>);

impl Preconditioner for Diagonal {
    fn apply(&self, r: &Tensor, z: &Tensor) -> Result<[f64; 2]> {
        fill(
            z,
            values(r).iter().zip(&self.0).map(|(a, m)| a / m).collect(),
        );
        Ok([dot(r, z), dot(r, r)])
    }
}

struct Run {
    info: LinearInfo,
    x: Vec<f64>,
    b: Vec<f64>,
    residual: Vec<f64>,
}

fn run(matrix: &Dense, options: &LinearOptions) -> Run {
    let krylov = Krylov::new(&Shape::from(matrix.scale.len()), DType::F64, &Device::Cpu).unwrap();
    let b = values(&noise(&[matrix.scale.len()], 3));
    fill(&krylov.r, b.clone());
    let m = Diagonal(matrix.scale.iter().map(|s| s * s).collect());
    let info = conjugate_gradients(matrix, &m, &krylov, options).unwrap();
    let run = Run {
        info,
        x: values(&krylov.x),
        b,
        residual: values(&krylov.r),
    };
    check(matrix, &run);
    run
}

/// What is reported is true, however the solve ended.
fn check(matrix: &Dense, run: &Run) {
    let Run {
        info,
        x,
        b,
        residual,
    } = run;
    let ax = matrix.times(x);
    let rest: Vec<f64> = b.iter().zip(&ax).map(|(b, a)| b - a).collect();
    let norm = |v: &[f64]| v.iter().map(|a| a * a).sum::<f64>().sqrt();
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let m: Vec<f64> = matrix.scale.iter().map(|s| s * s).collect();
    close(info.right_hand_side, norm(b), 1e-12, "right-hand side");
    close(info.residual, norm(&rest) / norm(b), 1e-9, "residual");
    assert!(
        distance(residual, &rest) < 1e-9 * (1.0 + norm(&ax)),
        "residual vector"
    );
    close(
        info.reduction,
        inner(b, x) - 0.5 * inner(x, &ax),
        1e-9,
        "reduction",
    );
    let length = x.iter().zip(&m).map(|(x, m)| m * x * x).sum::<f64>().sqrt();
    close(info.length, length, 1e-9, "length");
    let scale = b.iter().zip(&m).map(|(b, m)| b * b / m).sum::<f64>().sqrt();
    close(info.scale, scale, 1e-12, "scale");
}

fn free(tolerance: f64, steps: usize) -> LinearOptions {
    LinearOptions {
        tolerance,
        steps,
        radius: f64::INFINITY,
    }
}

fn positive() -> Vec<f64> {
    (0..N).map(|k| 0.3 + 0.7 * k as f64).collect()
}

#[test]
fn a_positive_definite_system_is_solved_and_its_smallest_eigenvalue_found() {
    let run = run(&Dense::new(&positive()), &free(1e-12, 40));
    assert_eq!(run.info.stop, LinearStop::Converged);
    assert!(run.info.steps <= N + 2, "{}", run.info.steps);
    assert!(run.info.residual <= 1e-12);
    close(run.info.smallest_ritz, 0.3, 1e-8, "Ritz value");
}

#[test]
fn few_distinct_eigenvalues_take_few_steps() {
    let spectrum: Vec<f64> = (0..N).map(|k| [1.0, 2.0, 5.0][k % 3]).collect();
    let run = run(&Dense::new(&spectrum), &free(1e-10, 40));
    assert_eq!((run.info.stop, run.info.steps), (LinearStop::Converged, 3));
    close(run.info.smallest_ritz, 1.0, 1e-9, "Ritz value");
}

#[test]
fn the_budget_ends_a_solve_and_ritz_values_come_from_above() {
    let matrix = Dense::new(&positive());
    let mut last = f64::INFINITY;
    let mut reduction = 0.0;
    for steps in 0..N {
        let run = run(&matrix, &free(1e-14, steps));
        assert_eq!(
            (run.info.stop, run.info.steps),
            (LinearStop::MaxSteps, steps)
        );
        if steps == 0 {
            assert!(run.info.smallest_ritz.is_infinite() && run.info.residual == 1.0);
            continue;
        }
        assert!(run.info.smallest_ritz >= 0.3 - 1e-9 && run.info.smallest_ritz <= last + 1e-12);
        assert!(run.info.reduction > reduction);
        // an eigenvalue lies within the residual of the Ritz value, which shrinks as that converges
        let (ritz, residual) = (run.info.smallest_ritz, run.info.ritz_residual);
        let gap = positive()
            .iter()
            .map(|e| (e - ritz).abs())
            .fold(f64::INFINITY, f64::min);
        assert!(gap <= residual + 1e-9, "{gap} beyond {residual}");
        assert!(residual < if steps > 9 { 0.1 } else { 3.0 }, "{residual}");
        (last, reduction) = (run.info.smallest_ritz, run.info.reduction);
    }
}

#[test]
fn a_radius_cuts_the_solution_at_its_border() {
    let matrix = Dense::new(&positive());
    let whole = run(&matrix, &free(1e-12, 40)).info;
    for share in [0.01, 0.3, 0.7, 0.95] {
        let radius = share * whole.length;
        let cut = run(
            &matrix,
            &LinearOptions {
                radius,
                ..free(1e-12, 40)
            },
        );
        assert_eq!(cut.info.stop, LinearStop::Radius);
        close(cut.info.length, radius, 1e-9, "length");
        assert!(cut.info.reduction > 0.0 && cut.info.reduction < whole.reduction);
    }
    let inside = run(
        &matrix,
        &LinearOptions {
            radius: 1.1 * whole.length,
            ..free(1e-12, 40)
        },
    );
    assert_eq!(inside.info.stop, LinearStop::Converged);
}

#[test]
fn negative_curvature_is_found() {
    let mut spectrum = positive();
    spectrum[0] = -0.4;
    let matrix = Dense::new(&spectrum);
    let run_free = run(&matrix, &free(1e-14, 40));
    assert_eq!(run_free.info.stop, LinearStop::NegativeCurvature);
    assert!(run_free.info.smallest_ritz < 0.0 && run_free.info.smallest_ritz >= -0.4 - 1e-9);
    let radius = 50.0;
    let bounded = run(
        &matrix,
        &LinearOptions {
            radius,
            ..free(1e-14, 40)
        },
    );
    assert!(matches!(
        bounded.info.stop,
        LinearStop::NegativeCurvature | LinearStop::Radius
    ));
    close(bounded.info.length, radius, 1e-9, "length");
    assert!(bounded.info.reduction > run_free.info.reduction);
}

#[test]
fn negative_curvature_at_once_returns_the_first_direction() {
    let spectrum: Vec<f64> = positive().iter().map(|v| -v).collect();
    let matrix = Dense::new(&spectrum);
    let free_run = run(&matrix, &free(1e-12, 40));
    assert_eq!(
        (free_run.info.stop, free_run.info.steps),
        (LinearStop::NegativeCurvature, 1)
    );
    let first: Vec<f64> = free_run
        .b
        .iter()
        .zip(&matrix.scale)
        .map(|(b, s)| b / (s * s))
        .collect();
    assert!(distance(&free_run.x, &first) < 1e-14);
    let bounded = run(
        &matrix,
        &LinearOptions {
            radius: 3.0,
            ..free(1e-12, 40)
        },
    );
    assert_eq!(bounded.info.stop, LinearStop::NegativeCurvature);
    close(bounded.info.length, 3.0, 1e-12, "length");
}

#[test]
fn a_zero_right_hand_side_has_the_zero_solution() {
    let matrix = Dense::new(&positive());
    let krylov = Krylov::new(&Shape::from(N), DType::F64, &Device::Cpu).unwrap();
    fill(&krylov.x, vec![5.0; N]);
    let info = conjugate_gradients(&matrix, &(), &krylov, &free(1e-12, 5)).unwrap();
    assert_eq!(
        (info.stop, info.steps, info.residual),
        (LinearStop::Converged, 0, 0.0)
    );
    assert!(values(&krylov.x).iter().all(|x| *x == 0.0));
}

struct Broken;

impl LinearOperator for Broken {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        fill(out, vec![f64::NAN; p.elem_count()]);
        Ok(f64::NAN)
    }
}

#[test]
fn what_is_not_a_number_stops_the_solve_and_leaves_a_finite_solution() {
    let krylov = Krylov::new(&Shape::from(N), DType::F64, &Device::Cpu).unwrap();
    fill(&krylov.r, vec![1.0; N]);
    let info = conjugate_gradients(&Broken, &(), &krylov, &free(1e-12, 5)).unwrap();
    assert_eq!(info.stop, LinearStop::NonFinite);
    assert!(values(&krylov.x).iter().all(|x| x.is_finite()));
}

#[test]
fn a_preconditioner_that_is_not_positive_stops_the_solve() {
    let matrix = Dense::new(&positive());
    for first in [-1.0, 1.0] {
        let krylov = Krylov::new(&Shape::from(N), DType::F64, &Device::Cpu).unwrap();
        fill(
            &krylov.r,
            (0..N).map(|k| if k == 0 { 3.0 } else { 0.4 }).collect(),
        );
        let mut m = vec![-0.5; N];
        m[0] = first;
        let info = conjugate_gradients(&matrix, &Diagonal(m), &krylov, &free(1e-12, 30)).unwrap();
        assert_eq!(info.stop, LinearStop::NonFinite, "{first}");
        assert!(values(&krylov.x).iter().all(|x| x.is_finite()));
    }
}
