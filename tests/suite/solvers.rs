//! All solvers on problems whose minima are known, and on a registration.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use stillpoint::{
    spline_coefficients, Adam, Affine, Compositive, Curvature, Diffusion, Displacement,
    EnergyProblem, Error, GaussNewton, GradientDescent, Interpolation, Iteration, Lbfgs,
    LinearOperator, Linearisation, Problem, Result, Rng, Solution, Solver, SsdData, Status,
    Transform, TrustRegion,
};

use crate::regularisers::grid;
use crate::samples::{close, distance, shape, tensor, values};

/// A function of a few variables with its gradient and a curvature, dense.
struct Toy {
    value: fn(&[f64]) -> f64,
    gradient: fn(&[f64]) -> Vec<f64>,
    curvature: fn(&[f64], Curvature) -> Vec<Vec<f64>>,
    /// Points with a larger first entry lie outside.
    wall: f64,
}

struct Dense(Vec<Vec<f64>>);

impl LinearOperator for Dense {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        let x = values(p);
        let y: Vec<f64> = self
            .0
            .iter()
            .map(|row| row.iter().zip(&x).map(|(a, b)| a * b).sum())
            .collect();
        let form = x.iter().zip(&y).map(|(a, b)| a * b).sum();
        out.slice_set(&tensor(y, p.dims()), 0, 0)?;
        Ok(form)
    }
}

impl Problem for Toy {
    fn value(&self, theta: &Tensor) -> Result<f64> {
        Ok((self.value)(&values(theta)))
    }

    fn linearise(
        &self,
        theta: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
    ) -> Result<Linearisation> {
        let x = values(theta);
        gradient.slice_set(&tensor((self.gradient)(&x), theta.dims()), 0, 0)?;
        Ok(Linearisation {
            energy: (self.value)(&x),
            scale: 1.0,
            operator: Box::new(Dense((self.curvature)(&x, curvature))),
            preconditioner: Box::new(()),
        })
    }

    fn retract(&self, theta: &Tensor, step: &Tensor, t: f64, out: &Tensor) -> Result<bool> {
        let moved = crate::samples::along(theta, t, step);
        out.slice_set(&moved.contiguous()?, 0, 0)?;
        self.contains(out)
    }

    fn contains(&self, theta: &Tensor) -> Result<bool> {
        Ok(values(theta)[0] <= self.wall)
    }
}

/// `1/2 sum k (x_k - k)^2 + 1/2 (sum x - 10)^2` with k = 1 to 4: its minimum is (1, 2, 3, 4).
fn quadratic() -> Toy {
    Toy {
        value: |x| {
            let rest = x.iter().sum::<f64>() - 10.0;
            (1..=4)
                .map(|k| 0.5 * k as f64 * (x[k - 1] - k as f64).powi(2))
                .sum::<f64>()
                + 0.5 * rest * rest
        },
        gradient: |x| {
            let rest = x.iter().sum::<f64>() - 10.0;
            (1..=4)
                .map(|k| k as f64 * (x[k - 1] - k as f64) + rest)
                .collect()
        },
        curvature: |_, _| {
            (0..4)
                .map(|i| {
                    (0..4)
                        .map(|j| 1.0 + if i == j { i as f64 + 1.0 } else { 0.0 })
                        .collect()
                })
                .collect()
        },
        wall: f64::INFINITY,
    }
}

/// Rosenbrock's valley, `1/2 (10 (y - x^2))^2 + 1/2 (1 - x)^2`, with its minimum of 0 at (1, 1).
fn valley() -> Toy {
    Toy {
        value: |p| 50.0 * (p[1] - p[0] * p[0]).powi(2) + 0.5 * (1.0 - p[0]).powi(2),
        gradient: |p| {
            let r = p[1] - p[0] * p[0];
            vec![-200.0 * r * p[0] - (1.0 - p[0]), 100.0 * r]
        },
        curvature: |p, curvature| {
            let second = match curvature {
                Curvature::GaussNewton | Curvature::Projected => 0.0,
                Curvature::Newton => -200.0 * (p[1] - p[0] * p[0]),
            };
            vec![
                vec![400.0 * p[0] * p[0] + 1.0 + second, -200.0 * p[0]],
                vec![-200.0 * p[0], 100.0],
            ]
        },
        wall: f64::INFINITY,
    }
}

fn exact() -> GaussNewton {
    GaussNewton {
        steps: 200,
        decrease: 0.0,
        gradient: 1e-9,
        products: 200,
        tolerance: 1e-6,
    }
}

fn solvers() -> Vec<Box<dyn Solver>> {
    vec![
        Box::new(exact()),
        Box::new(TrustRegion {
            gradient: 1e-9,
            ..TrustRegion::default()
        }),
        Box::new(GradientDescent {
            steps: 20_000,
            gradient: 1e-8,
            decrease: 0.0,
        }),
        Box::new(Lbfgs {
            steps: 2_000,
            gradient: 1e-9,
            ..Lbfgs::default()
        }),
        Box::new(Adam {
            steps: 8_000,
            gradient: 1e-8,
            rate: 0.05,
            ..Adam::default()
        }),
    ]
}

fn first_order() -> Vec<Box<dyn Solver>> {
    solvers().into_iter().skip(2).collect()
}

fn solve(solver: &dyn Solver, problem: &dyn Problem, start: &[f64]) -> Solution {
    let mut seen: Vec<Iteration> = Vec::new();
    let solution = solver
        .solve(problem, tensor(start.to_vec(), &[start.len()]), &mut |i| {
            seen.push(*i);
            Ok(())
        })
        .unwrap();
    assert_eq!(seen[0].step, 0);
    let shared = solution
        .iterations
        .iter()
        .zip(&seen)
        .filter(|(a, b)| a.energy == b.energy);
    assert!(
        shared.count() >= seen.len().min(solution.iterations.len()) - 1,
        "what is watched is what is reported"
    );
    solution
}

#[test]
fn the_minimum_of_a_quadratic_is_found() {
    for solver in solvers() {
        let solution = solve(&*solver, &quadratic(), &[5.0, -3.0, 0.0, 9.0]);
        assert_eq!(solution.status, Status::Converged, "{}", solver.name());
        assert!(solution.certificate.gradient_ratio <= 1e-8);
        assert!(
            distance(&values(&solution.theta), &[1.0, 2.0, 3.0, 4.0]) < 1e-6,
            "{}",
            solver.name()
        );
        assert!(solution.energy() < 1e-12, "{}", solver.name());
    }
}

#[test]
fn the_valley_is_followed_to_its_end() {
    for solver in solvers() {
        let solution = solve(&*solver, &valley(), &[-1.2, 1.0]);
        let name = solver.name();
        assert!(
            distance(&values(&solution.theta), &[1.0, 1.0]) < 1e-3,
            "{name}: {:?} {:?}",
            solution.status,
            values(&solution.theta)
        );
        assert!(solution.energy() < 1e-6, "{name}: {}", solution.energy());
    }
}

#[test]
fn lbfgs_needs_fewer_steps_than_steepest_descent() {
    let count = |solver: &dyn Solver| solve(solver, &valley(), &[-1.2, 1.0]).iterations.len();
    let quasi = count(&Lbfgs {
        gradient: 1e-8,
        ..Lbfgs::default()
    });
    let steepest = count(&GradientDescent {
        steps: 20_000,
        gradient: 1e-8,
        decrease: 0.0,
    });
    assert!(quasi < 80 && quasi < steepest, "{quasi} {steepest}");
}

#[test]
fn without_a_memory_lbfgs_goes_down_all_the_same() {
    let solver = Lbfgs {
        memory: 0,
        steps: 200,
        ..Lbfgs::default()
    };
    let solution = solve(&solver, &quadratic(), &[5.0, -3.0, 0.0, 9.0]);
    assert!(solution.energy() < 1e-4);
}

#[test]
fn the_start_may_be_the_minimum() {
    for solver in solvers() {
        let solution = solve(&*solver, &quadratic(), &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(solution.status, Status::Converged, "{}", solver.name());
        assert_eq!(values(&solution.theta), [1.0, 2.0, 3.0, 4.0]);
    }
}

#[test]
fn a_spent_budget_is_reported_with_the_best_iterate() {
    for solver in [
        Box::new(GradientDescent {
            steps: 3,
            ..GradientDescent::default()
        }) as Box<dyn Solver>,
        Box::new(Lbfgs {
            steps: 3,
            ..Lbfgs::default()
        }),
        Box::new(Adam {
            steps: 3,
            ..Adam::default()
        }),
    ] {
        let start = [-1.2, 1.0];
        let solution = solve(&*solver, &valley(), &start);
        assert_eq!(solution.status, Status::MaxSteps, "{}", solver.name());
        let at_best = (valley().value)(&values(&solution.theta));
        assert_eq!(at_best, solution.energy(), "{}", solver.name());
        assert!(at_best < (valley().value)(&start), "{}", solver.name());
    }
}

/// Steps far too long: Adam throws the iterate away, and the start is the best there was.
#[test]
fn adam_returns_the_best_iterate() {
    let solver = Adam {
        steps: 20,
        rate: 50.0,
        ..Adam::default()
    };
    let start = [1.1, 1.2];
    let solution = solve(&solver, &valley(), &start);
    assert_eq!(values(&solution.theta), start);
    assert_eq!(solution.energy(), (valley().value)(&start));
    close(solution.certificate.gradient_ratio, 1.0, 0.0, "ratio");
}

#[test]
fn a_small_decrease_ends_a_descent() {
    for solver in [
        Box::new(GradientDescent {
            decrease: 0.5,
            gradient: 0.0,
            ..GradientDescent::default()
        }) as Box<dyn Solver>,
        Box::new(Lbfgs {
            decrease: 0.5,
            gradient: 0.0,
            ..Lbfgs::default()
        }),
    ] {
        assert_eq!(
            solve(&*solver, &valley(), &[-1.2, 1.0]).status,
            Status::SmallDecrease
        );
    }
}

/// The minimum lies behind a wall.
#[test]
fn iterates_stay_inside_the_domain() {
    for solver in first_order() {
        let walled = Toy {
            wall: 0.5,
            ..valley()
        };
        let solution = solve(&*solver, &walled, &[-1.2, 1.0]);
        assert!(values(&solution.theta)[0] <= 0.5, "{}", solver.name());
        assert!(
            solution.energy() < 0.5 * (walled.value)(&[-1.2, 1.0]),
            "{}",
            solver.name()
        );
        assert_ne!(solution.status, Status::Converged, "{}", solver.name());
    }
    let uphill = Toy {
        value: |x| -x[0],
        gradient: |_| vec![-1.0, 0.0],
        curvature: |_, _| vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        wall: 0.0,
    };
    for solver in first_order() {
        let solution = solve(&*solver, &uphill, &[0.0, 0.0]);
        assert_eq!(solution.status, Status::AtBoundary, "{}", solver.name());
        assert_eq!(values(&solution.theta), [0.0, 0.0]);
    }
}

#[test]
fn what_is_not_a_number_is_reported() {
    for solver in first_order() {
        let broken = Toy {
            value: |_| f64::NAN,
            ..valley()
        };
        let solution = solve(&*solver, &broken, &[0.3, 0.4]);
        assert_eq!(solution.status, Status::NonFinite, "{}", solver.name());
        assert_eq!(values(&solution.theta), [0.3, 0.4]);
        // beyond a point the gradient is not a number: what was there before comes back
        let cliff = Toy {
            gradient: |p| {
                if p[0] > -1.0 {
                    vec![f64::NAN, 0.0]
                } else {
                    vec![-1.0, 0.0]
                }
            },
            value: |p| -p[0],
            ..valley()
        };
        let solution = solve(&*solver, &cliff, &[-1.2, 1.0]);
        assert_eq!(solution.status, Status::NonFinite, "{}", solver.name());
        assert!(values(&solution.theta)[0] <= -1.0, "{}", solver.name());
        assert!(solution.energy().is_finite());
    }
}

#[test]
fn a_watcher_may_stop_a_solve() {
    for solver in solvers() {
        let theta = tensor(vec![-1.2, 1.0], &[2]);
        let stopped = solver.solve(&valley(), theta, &mut |i| {
            if i.step == 1 {
                Err(Error::Interrupted)
            } else {
                Ok(())
            }
        });
        assert!(
            matches!(stopped, Err(Error::Interrupted)),
            "{}",
            solver.name()
        );
    }
}

/// Two smooth images, one moved against the other by about a voxel.
fn registration(transform: Arc<dyn Transform>) -> (EnergyProblem, Tensor) {
    let size = [22, 19];
    let mut rng = Rng::new(5);
    let waves: Vec<[f64; 4]> = (0..6)
        .map(|_| {
            [
                rng.range(0.1, 0.5),
                rng.range(-0.5, 0.5),
                rng.range(0.0, 6.0),
                rng.range(0.3, 1.0),
            ]
        })
        .collect();
    let image = |shift: f64| {
        let voxels = (0..size[0] * size[1])
            .map(|v| {
                let (x, y) = ((v % size[0]) as f64, (v / size[0]) as f64);
                let (x, y) = (x + shift * (0.3 * y).sin(), y + shift * (0.25 * x).cos());
                waves
                    .iter()
                    .map(|w| w[3] * (w[0] * x + w[1] * y + w[2]).sin())
                    .sum()
            })
            .collect();
        tensor(voxels, &shape(1, &size))
    };
    let data = SsdData {
        fixed: image(0.0),
        moving: spline_coefficients(&image(0.8)).unwrap(),
        mask: None,
        channel_weight: vec![1.0],
        map: Affine::identity(),
        interpolation: Interpolation::Cubic,
    };
    let grid = grid(&size, &[1.0; 3]);
    let theta = transform.identity(&grid, DType::F64, &Device::Cpu).unwrap();
    (
        EnergyProblem::new(data, Arc::new(Diffusion), 0.3, transform, grid),
        theta,
    )
}

#[test]
fn all_solvers_register_to_the_same_optimum() {
    for transform in [
        Arc::new(Displacement) as Arc<dyn Transform>,
        Arc::new(Compositive),
    ] {
        let (problem, theta) = registration(transform);
        let start = problem.value(&theta).unwrap();
        let run = |solver: &dyn Solver| {
            solver
                .solve(&problem, theta.copy().unwrap(), &mut |_| Ok(()))
                .unwrap()
        };
        let best = run(&TrustRegion {
            gradient: 1e-9,
            ..TrustRegion::default()
        });
        assert_eq!(best.status, Status::Converged);
        assert!(best.energy() < 0.5 * start);
        for solver in [
            Box::new(exact()) as Box<dyn Solver>,
            Box::new(GradientDescent {
                steps: 5_000,
                gradient: 1e-6,
                decrease: 0.0,
            }),
            Box::new(Lbfgs {
                steps: 1_000,
                gradient: 1e-6,
                ..Lbfgs::default()
            }),
            Box::new(Adam {
                steps: 1_500,
                gradient: 1e-6,
                rate: 0.1,
                ..Adam::default()
            }),
        ] {
            let solution = run(&*solver);
            let name = format!(
                "{} {}: {:?}",
                solver.name(),
                problem.transform.name(),
                solution.status
            );
            assert!(
                (solution.energy() - best.energy()).abs() < 1e-5 * best.energy(),
                "{name}: {} against {}",
                solution.energy(),
                best.energy()
            );
            let gap = distance(&values(&solution.theta), &values(&best.theta));
            assert!(gap < 0.02, "{name}: {gap} voxels");
            assert!(problem.contains(&solution.theta).unwrap());
        }
    }
}
