//! Equilibria of maps that are no gradients, and energies written in the tensor engine's operations.

use std::sync::Arc;

use candle_core::{Tensor, Var};
use stillpoint::{
    attach_residual, Adjoint, AutodiffProblem, Curvature, Energy, Lbfgs, LinearStop, Policy,
    Problem, Residual, Result, Solver, Status, TrustRegion,
};

use crate::samples::{along, close, dot, noise, slope, values, zeros};

const N: usize = 9;

/// `theta = tanh(W theta + U x + b)`: an equilibrium without an energy, as `W` is not symmetric.
struct Equilibrium;

impl Residual for Equilibrium {
    fn residual(&self, theta: &Tensor, data: &[Tensor]) -> Result<Tensor> {
        let [w, u, x, b] = data else {
            unreachable!("four data")
        };
        let inner = ((w.matmul(theta)? + u.matmul(x)?)? + b)?;
        Ok((theta - inner.tanh()?)?)
    }
}

/// The gradient of `1/2 |A theta - b|^2 + exp(m) / 2 |theta|^2`.
struct LeastSquares;

impl Residual for LeastSquares {
    fn residual(&self, theta: &Tensor, data: &[Tensor]) -> Result<Tensor> {
        let [a, b, m] = data else {
            unreachable!("three data")
        };
        let rest = (a.matmul(theta)? - b)?;
        let pull = a.t()?.matmul(&rest)?;
        Ok((pull + theta.broadcast_mul(&m.exp()?)?)?)
    }

    fn is_symmetric(&self) -> bool {
        true
    }
}

impl Energy for LeastSquares {
    fn energy(&self, theta: &Tensor, data: &[Tensor]) -> Result<Tensor> {
        let [a, b, m] = data else {
            unreachable!("three data")
        };
        let rest = (a.matmul(theta)? - b)?.sqr()?.sum_all()?;
        let pull = (theta.sqr()?.sum_all()? * m.exp()?.sum_all()?)?;
        Ok(((rest + pull)? * 0.5)?)
    }
}

fn equilibrium_data() -> Vec<Tensor> {
    vec![
        (noise(&[N, N], 1) * 0.25).unwrap(),
        noise(&[N, 3], 2),
        noise(&[3, 1], 3),
        noise(&[N, 1], 4),
    ]
}

fn squares_data() -> Vec<Tensor> {
    vec![noise(&[5, N], 1), noise(&[5, 1], 2), noise(&[1, 1], 3)]
}

/// The root, by damped steps.
fn root(residual: &dyn Residual, data: &[Tensor], length: f64) -> Tensor {
    let mut theta = zeros(&noise(&[N, 1], 0));
    for _ in 0..20_000 {
        let g = residual.residual(&theta, data).unwrap();
        theta = along(&theta, -length, &g);
        if dot(&g, &g) < 1e-28 {
            break;
        }
    }
    theta
}

fn loss(theta: &Tensor) -> Tensor {
    let weighted = (theta * noise(theta.dims(), 9)).unwrap();
    (weighted + theta.sqr().unwrap())
        .unwrap()
        .sum_all()
        .unwrap()
}

fn check(residual: Arc<dyn Residual>, data: Vec<Tensor>, length: f64, method: &str) {
    let theta = root(&*residual, &data, length);
    let variables: Vec<Var> = data
        .iter()
        .map(|t| Var::from_tensor(&(t * 0.5).unwrap()).unwrap())
        .collect();
    let doubled: Vec<Tensor> = variables
        .iter()
        .map(|v| (v.as_tensor() * 2.0).unwrap())
        .collect();
    let adjoint = Adjoint {
        tolerance: 1e-12,
        ..Adjoint::exact()
    };
    let (out, record) = attach_residual(residual.clone(), &theta, &doubled, adjoint).unwrap();
    assert_eq!(values(&out), values(&theta));
    let gradients = loss(&out).backward().unwrap();
    let info = record.info().unwrap();
    assert_eq!((info.method, info.stop), (method, LinearStop::Converged));
    for (k, variable) in variables.iter().enumerate() {
        let step = noise(data[k].dims(), 20 + k as u64);
        let at = |t: f64| {
            let mut data = data.clone();
            data[k] = along(&data[k], t, &step);
            loss(&root(&*residual, &data, length))
                .to_scalar::<f64>()
                .unwrap()
        };
        let found = dot(gradients.get(variable).unwrap(), &step) * 0.5;
        close(found, slope(at, 4e-4), 1e-7, &format!("data {k}"));
    }
}

#[test]
fn the_gradient_through_an_equilibrium_is_that_of_finite_differences() {
    check(Arc::new(Equilibrium), equilibrium_data(), 1.0, "gmres");
}

#[test]
fn the_gradient_through_an_energy_in_a_graph_is_that_of_finite_differences() {
    check(Arc::new(LeastSquares), squares_data(), 0.05, "minres");
}

#[test]
fn phantom_steps_are_those_of_the_map_and_lead_to_the_exact_gradient() {
    let data = equilibrium_data();
    let theta = root(&Equilibrium, &data, 1.0);
    let x = Var::from_tensor(&data[2]).unwrap();
    let mut with_graph = data.clone();
    with_graph[2] = x.as_tensor().clone();
    let through = |policy| {
        let adjoint = Adjoint {
            policy,
            ..Adjoint::exact()
        };
        let (out, _) =
            attach_residual(Arc::new(Equilibrium), &theta, &with_graph, adjoint).unwrap();
        values(loss(&out).backward().unwrap().get(&x).unwrap())
    };
    let exact = through(Policy::Exact);
    for steps in [1, 4, 60] {
        // so many steps of the map, with their graph, from the root
        let mut here = theta.clone();
        for _ in 0..steps {
            let g = Equilibrium.residual(&here, &with_graph).unwrap();
            here = (here - g).unwrap();
        }
        let expected = values(loss(&here).backward().unwrap().get(&x).unwrap());
        let found = through(Policy::Phantom { steps });
        for (a, b) in found.iter().zip(&expected) {
            close(*a, *b, 1e-9, &format!("{steps} steps"));
        }
        if steps == 1 {
            assert_eq!(found, through(Policy::JacobianFree));
        }
        if steps == 60 {
            for (a, b) in found.iter().zip(&exact) {
                close(*a, *b, 1e-6, "the limit");
            }
        }
    }
}

#[test]
fn policies_that_need_an_energy_are_refused() {
    let data = equilibrium_data();
    let theta = zeros(&noise(&[N, 1], 0));
    for policy in [Policy::GaussNewton, Policy::Block { damping: 1.0 }] {
        let error = attach_residual(Arc::new(Equilibrium), &theta, &data, Adjoint::new(policy))
            .unwrap_err()
            .to_string();
        assert!(error.contains("needs an energy"), "{error}");
    }
    let wrong = zeros(&noise(&[N, 2], 0));
    assert!(attach_residual(
        Arc::new(LeastSquares),
        &wrong,
        &squares_data(),
        Adjoint::exact()
    )
    .is_err());
}

#[test]
fn an_energy_in_a_graph_is_a_problem_for_every_solver() {
    let data = squares_data();
    let problem = AutodiffProblem::new(Arc::new(LeastSquares), &data);
    let theta = noise(&[N, 1], 5);
    let gradient = zeros(&theta);
    let model = problem
        .linearise(&theta, Curvature::Newton, &gradient)
        .unwrap();
    let d = noise(&[N, 1], 6);
    let value = |t: f64| problem.value(&along(&theta, t, &d)).unwrap();
    close(
        dot(&gradient, &d),
        (value(1e-4) - value(-1e-4)) / 2e-4,
        1e-8,
        "slope",
    );
    let product = zeros(&theta);
    let bend = model.operator.apply(&d, &product).unwrap();
    let second = (value(1e-2) - 2.0 * value(0.0) + value(-1e-2)) / 1e-4;
    close(bend, second, 1e-7, "curvature");
    let limit = values(&root(&LeastSquares, &data, 0.05));
    for solver in [
        &TrustRegion::default() as &dyn Solver,
        &Lbfgs {
            gradient: 1e-6,
            ..Lbfgs::default()
        },
    ] {
        let found = solver
            .solve(&problem, zeros(&theta), &mut |_| Ok(()))
            .unwrap();
        assert_eq!(found.status, Status::Converged, "{}", solver.name());
        let gap = crate::samples::distance(&values(&found.theta), &limit);
        assert!(gap < 1e-4, "{}: {gap}", solver.name());
    }
}
