//! Gradients through a minimum: against finite differences of minima that are found again, and policy against policy.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use stillpoint::{
    attach, compare_gradients, smooth, spline_coefficients, warp, Adjoint, Affine, BSpline,
    Bending, Compositive, Curvature, Diffusion, Displacement, Elastic, EnergyProblem, GlobalAffine,
    ImplicitProblem, Interpolation, Lbfgs, LinearStop, Policy, Problem, Regulariser, Solver,
    SsdData, Status, Transform, TrustRegion, Unconverged, Velocity,
};

use crate::ops_ssd::map;
use crate::prompt_energy::terms;
use crate::regularisers::grid;
use crate::samples::{along, close, dot, noise, shape, slope, slope_error, uniform, zeros};

/// A map that turns and stretches a little, into the inner part of the moving grid.
fn inner(rank: usize) -> Affine {
    let mut map = map(rank);
    for a in 0..rank {
        map.translation[a] += 3.0;
    }
    map
}

/// The data of a small problem, in the order of its pullback.
#[derive(Clone)]
struct Data {
    fixed: Tensor,
    moving: Tensor,
    lambda: Tensor,
    weights: Tensor,
    mask: Tensor,
}

impl Data {
    /// Smooth moving features on a larger grid, so that no position comes near its border, and fixed ones that are about
    /// these, displaced.
    fn new(size: &[usize], channels: usize) -> Self {
        let moving: Vec<usize> = size.iter().map(|n| n + 7).collect();
        let features = noise(&shape(channels, &moving), 2);
        let moving = (smooth(&features, &vec![1.3; size.len()]).unwrap() * 3.0).unwrap();
        let u = (noise(&shape(size.len(), size), 5) * 0.4).unwrap();
        let fixed = warp(&moving, &u, &inner(size.len()), Interpolation::Cubic).unwrap();
        Self {
            fixed: along(&fixed, 0.05, &noise(fixed.dims(), 1)),
            moving,
            lambda: Tensor::from_vec(vec![0.3], 1, &Device::Cpu).unwrap(),
            weights: (uniform(&[channels], 3) + 0.5).unwrap(),
            mask: (uniform(&shape(1, size)[1..], 4) + 0.2).unwrap(),
        }
    }

    fn list(&self) -> [&Tensor; 5] {
        [
            &self.fixed,
            &self.moving,
            &self.lambda,
            &self.weights,
            &self.mask,
        ]
    }

    fn moved(&self, t: f64, step: &[Tensor]) -> Self {
        Self {
            fixed: along(&self.fixed, t, &step[0]),
            moving: along(&self.moving, t, &step[1]),
            lambda: along(&self.lambda, t, &step[2]),
            weights: along(&self.weights, t, &step[3]),
            mask: along(&self.mask, t, &step[4]),
        }
    }

    fn problem(&self, case: &Case) -> EnergyProblem {
        let data = SsdData {
            fixed: self.fixed.clone(),
            moving: match case.interpolation {
                Interpolation::Linear => self.moving.clone(),
                Interpolation::Cubic => spline_coefficients(&self.moving).unwrap(),
            },
            mask: Some(self.mask.clone()),
            channel_weight: self.weights.to_vec1().unwrap(),
            map: inner(case.size.len()),
            interpolation: case.interpolation,
        };
        let mut problem = EnergyProblem::new(
            data,
            case.regulariser.clone(),
            self.lambda.to_vec1::<f64>().unwrap()[0],
            case.transform.clone(),
            grid(&case.size, &[0.8, 1.3, 2.1]),
        );
        if case.prompted {
            problem.prompts = terms(&case.size, case.interpolation);
        }
        problem
    }
}

#[derive(Clone)]
struct Case {
    size: Vec<usize>,
    regulariser: Arc<dyn Regulariser>,
    transform: Arc<dyn Transform>,
    interpolation: Interpolation,
    prompted: bool,
}

impl Case {
    fn new(size: &[usize]) -> Self {
        Self {
            size: size.to_vec(),
            regulariser: Arc::new(Diffusion),
            transform: Arc::new(Displacement),
            interpolation: Interpolation::Cubic,
            prompted: false,
        }
    }

    fn identity(&self) -> Tensor {
        let grid = grid(&self.size, &[0.8, 1.3, 2.1]);
        self.transform
            .identity(&grid, DType::F64, &Device::Cpu)
            .unwrap()
    }
}

fn all_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [&[11, 9][..], &[7, 6, 5]] {
        for regulariser in [
            Arc::new(Diffusion) as Arc<dyn Regulariser>,
            Arc::new(Bending { length: 1.7 }),
            Arc::new(Elastic {
                mu: 0.6,
                lambda: 1.4,
            }),
        ] {
            for transform in [
                Arc::new(Displacement) as Arc<dyn Transform>,
                Arc::new(Compositive),
                Arc::new(BSpline { spacing: 3 }),
                Arc::new(GlobalAffine),
            ] {
                cases.push(Case {
                    size: size.to_vec(),
                    regulariser: regulariser.clone(),
                    transform,
                    interpolation: Interpolation::Cubic,
                    prompted: false,
                });
            }
        }
        cases.push(Case {
            transform: Arc::new(Velocity {
                squarings: 2,
                interpolation: Interpolation::Cubic,
            }),
            ..Case::new(size)
        });
    }
    let diffusion = cases.iter().filter(|c| c.regulariser.name() == "diffusion");
    let prompted: Vec<Case> = diffusion
        .map(|case| Case {
            prompted: true,
            ..case.clone()
        })
        .collect();
    cases.extend(prompted);
    cases
}

fn name(case: &Case) -> String {
    format!(
        "{:?} {} {}{}",
        case.size,
        case.regulariser.name(),
        case.transform.name(),
        if case.prompted { " prompted" } else { "" }
    )
}

/// The minimum that a tight certified solve finds from the identity.
fn minimum(problem: &EnergyProblem, start: Tensor) -> Tensor {
    let solver = TrustRegion {
        gradient: 1e-14,
        products: 2000,
        ..TrustRegion::default()
    };
    let solution = solver.solve(problem, start, &mut |_| Ok(())).unwrap();
    // as far as rounding allows
    let certificate = solution.certificate;
    assert!(certificate.gradient_ratio < 1e-12, "{certificate:?}");
    solution.theta
}

/// The outer loss `w . u + |u|^2 / 2` of the displacement at `theta`, and its gradient by `theta`.
fn loss(problem: &EnergyProblem, theta: &Tensor) -> (f64, Tensor) {
    let (transform, grid) = (&problem.transform, &problem.grid);
    let u = transform.displacement(theta, grid).unwrap();
    let w = noise(u.dims(), 30);
    let value = dot(&w, &u) + 0.5 * dot(&u, &u);
    let v = (w + u).unwrap();
    (value, transform.pullback(theta, grid, &v).unwrap())
}

fn exact() -> Adjoint {
    Adjoint {
        tolerance: 1e-11,
        ..Adjoint::exact()
    }
}

fn pullback(adjoint: Adjoint, problem: &EnergyProblem, theta: &Tensor) -> Vec<Tensor> {
    let (data, _) = adjoint
        .pullback(problem, theta, &loss(problem, theta).1)
        .unwrap();
    data
}

fn steps(data: &Data) -> Vec<Tensor> {
    let scaled = |(k, tensor): (usize, &Tensor)| {
        (noise(tensor.dims(), 40 + k as u64) * [0.3, 0.3, 0.2, 0.2, 0.2][k]).unwrap()
    };
    data.list().into_iter().enumerate().map(scaled).collect()
}

/// The direction in which data tensor `k` alone moves.
fn alone(direction: &[Tensor], k: usize) -> Vec<Tensor> {
    let keep = |(j, step): (usize, &Tensor)| if j == k { step.clone() } else { zeros(step) };
    direction.iter().enumerate().map(keep).collect()
}

#[test]
fn the_pullback_to_all_data_is_that_of_finite_differences() {
    for case in all_cases() {
        let data = Data::new(&case.size, 2);
        let theta = (noise(case.identity().dims(), 5) * 0.4).unwrap();
        let q = noise(theta.dims(), 6);
        let gradient = |data: &Data| {
            let problem = data.problem(&case);
            let g = zeros(&theta);
            problem.curvature(&theta, Curvature::Newton, &g).unwrap();
            dot(&g, &q)
        };
        let found = data.problem(&case).data_pullback(&theta, &q).unwrap();
        let direction = steps(&data);
        for (k, (found, step)) in found.iter().zip(&direction).enumerate() {
            let only = alone(&direction, k);
            let difference =
                -(gradient(&data.moved(1e-3, &only)) - gradient(&data.moved(-1e-3, &only))) / 2e-3;
            let what = format!("{} data {k}", name(&case));
            close(dot(found, step), difference, 1e-7, &what);
        }
    }
}

/// The heart of the crate: the exact adjoint is the derivative of the minimum that is found again for other data.
#[test]
fn the_exact_gradient_is_that_of_finite_differences_of_minima_found_again() {
    for case in all_cases() {
        let data = Data::new(&case.size, 2);
        let problem = data.problem(&case);
        let theta = minimum(&problem, case.identity());
        let found = pullback(exact(), &problem, &theta);
        let direction = steps(&data);
        for (k, (found, step)) in found.iter().zip(&direction).enumerate() {
            let only = alone(&direction, k);
            let at = |t: f64| {
                let problem = data.moved(t, &only).problem(&case);
                loss(&problem, &minimum(&problem, case.identity())).0
            };
            let error = slope_error(dot(found, step), at);
            assert!(
                error < 1e-6,
                "{} data {k}: relative error {error:.1e}",
                name(&case)
            );
        }
    }
}

/// Positions that fall on voxel planes are no special case for an interpolation with two continuous derivatives.
#[test]
fn the_gradient_is_true_where_positions_fall_on_voxel_planes() {
    let case = Case::new(&[9, 8]);
    let mut data = Data::new(&case.size, 1);
    // nothing moves at the minimum: all positions are voxels, inside a larger moving image
    let moving = smooth(&noise(&[1, 12, 13], 2), &[1.2; 2]).unwrap();
    data.moving = (moving * 3.0).unwrap();
    data.fixed = data.moving.narrow(1, 2, 8).unwrap();
    data.fixed = data.fixed.narrow(2, 2, 9).unwrap().contiguous().unwrap();
    let problem = |data: &Data| {
        let mut problem = data.problem(&case);
        problem.data.map = Affine::identity();
        problem.data.map.translation = [2.0, 2.0, 0.0];
        problem
    };
    let start = (noise(case.identity().dims(), 5) * 0.1).unwrap();
    let theta = minimum(&problem(&data), start.clone());
    assert!(dot(&theta, &theta) < 1e-16);
    let found = pullback(exact(), &problem(&data), &theta);
    let step = noise(data.moving.dims(), 50);
    let at = |t: f64| {
        let mut data = data.clone();
        data.moving = along(&data.moving, t, &step);
        let problem = problem(&data);
        loss(&problem, &minimum(&problem, start.clone())).0
    };
    let difference = slope(at, 1e-3);
    let error = (dot(&found[1], &step) - difference).abs() / difference.abs();
    assert!(error < 1e-6, "{error:.1e}");
}

#[test]
fn two_solvers_have_one_gradient_and_many_unrolled_steps_agree() {
    let case = Case::new(&[11, 9]);
    let data = Data::new(&case.size, 2);
    let problem = data.problem(&case);
    let theta = minimum(&problem, case.identity());
    let found = pullback(exact(), &problem, &theta);

    let lbfgs = Lbfgs {
        gradient: 1e-8,
        steps: 2000,
        decrease: -1.0, // energies may rise by their rounding

        ..Lbfgs::default()
    };
    let other = lbfgs
        .solve(&problem, case.identity(), &mut |_| Ok(()))
        .unwrap();
    assert_eq!(other.status, Status::Converged);
    let again = pullback(exact(), &problem, &other.theta);
    let gap = compare_gradients(&again, &found).unwrap();
    assert!(gap.relative_error < 1e-6, "{gap:?}");

    let unrolled = Adjoint::new(Policy::Unrolled { steps: 500 });
    let (by_steps, info) = unrolled
        .pullback(&problem, &theta, &loss(&problem, &theta).1)
        .unwrap();
    assert!(info.residual < 1e-3, "the steps arrive: {info:?}");
    let gap = compare_gradients(&by_steps, &found).unwrap();
    assert!(gap.cosine > 0.9999, "{gap:?}");
}

#[test]
fn more_terms_and_more_products_come_closer_to_the_exact_gradient() {
    for size in [&[11, 9][..], &[7, 6, 5]] {
        let case = Case::new(size);
        let data = Data::new(size, 2);
        let problem = data.problem(&case);
        let theta = minimum(&problem, case.identity());
        let reference = pullback(exact(), &problem, &theta);
        let cosine = |policy| {
            let gradient = pullback(Adjoint::new(policy), &problem, &theta);
            compare_gradients(&gradient, &reference).unwrap().cosine
        };
        let free = cosine(Policy::JacobianFree);
        let phantom = [1, 3, 10, 100].map(|steps| cosine(Policy::Phantom { steps }));
        assert!((free - phantom[0]).abs() < 1e-12);
        assert!(phantom.windows(2).all(|w| w[0] < w[1]), "{phantom:?}");
        let truncated = [1, 5, 20, 60].map(|products| cosine(Policy::Truncated { products }));
        assert!(truncated.windows(2).all(|w| w[0] < w[1]), "{truncated:?}");
        assert!(truncated[3] > 0.9999, "{truncated:?}");
        let gauss_newton = cosine(Policy::GaussNewton);
        assert!(gauss_newton > 0.8 && gauss_newton < 1.0 - 1e-9);
        let block = cosine(Policy::Block { damping: 1e-4 });
        assert!(block < gauss_newton, "{block} {gauss_newton}");
    }
}

#[test]
fn an_attached_minimum_hands_its_gradient_to_every_tensor_of_the_graph() {
    let case = Case::new(&[11, 9]);
    let data = Data::new(&case.size, 2);
    let problem = data.problem(&case);
    let theta = minimum(&problem, case.identity());
    let (value, v) = loss(&problem, &theta);
    let expected = pullback(exact(), &problem, &theta);
    let problem: Arc<dyn ImplicitProblem> = Arc::new(problem);
    let variables: Vec<Var> = data
        .list()
        .iter()
        .map(|t| Var::from_tensor(&(*t * 0.5).unwrap()).unwrap())
        .collect();
    let doubled: Vec<Tensor> = variables
        .iter()
        .map(|v| (v.as_tensor() * 2.0).unwrap())
        .collect();
    // two of five alone, then all
    for used in [vec![1, 4], vec![0, 1, 2, 3, 4]] {
        let list: Vec<Option<&Tensor>> = (0..5)
            .map(|k| used.contains(&k).then(|| &doubled[k]))
            .collect();
        let (out, record) = attach(problem.clone(), &theta, &list, exact()).unwrap();
        assert!(record.info().is_none());
        assert_eq!(dot(&out, &v), dot(&theta, &v));
        let w = noise(theta.dims(), 30);
        let outer = ((&out * &w).unwrap() + (out.sqr().unwrap() * 0.5).unwrap())
            .unwrap()
            .sum_all()
            .unwrap();
        close(outer.to_scalar::<f64>().unwrap(), value, 1e-12, "loss");
        // a graph may be walked again
        for _ in 0..2 {
            let gradients = outer.backward().unwrap();
            for k in 0..5 {
                let found = gradients.get(&variables[k]);
                assert_eq!(found.is_some(), used.contains(&k));
                if let Some(found) = found {
                    let half = [(found * 0.5).unwrap()];
                    let gap = compare_gradients(&half, &expected[k..=k]).unwrap();
                    assert!(gap.relative_error < 1e-9, "data {k}: {gap:?}");
                }
            }
        }
        let info = record.info().unwrap();
        assert_eq!((info.method, info.stop), ("cg", LinearStop::Converged));
    }
    // without a graph there is none to attach to
    let (out, _) = attach(problem, &theta, &[Some(&data.fixed)], exact()).unwrap();
    assert!(!out.track_op());
}

#[test]
fn an_unconverged_adjoint_is_refused_reported_or_replaced() {
    let case = Case::new(&[11, 9]);
    let problem = Data::new(&case.size, 2).problem(&case);
    let theta = minimum(&problem, case.identity());
    let v = loss(&problem, &theta).1;
    let short = |unconverged| Adjoint {
        products: 3,
        unconverged,
        ..exact()
    };
    let refused = short(Unconverged::Refuse).pullback(&problem, &theta, &v);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("after 3 products of cg") && message.contains("another policy"),
        "{message}"
    );
    let (_, warned) = short(Unconverged::Warn)
        .pullback(&problem, &theta, &v)
        .unwrap();
    assert!(warned.stop == LinearStop::MaxSteps && warned.residual > 1e-3);
    let (_, replaced) = short(Unconverged::FallBack)
        .pullback(&problem, &theta, &v)
        .unwrap();
    assert!(replaced.fell_back && replaced.products == 6);
}

#[test]
fn where_the_hessian_is_indefinite_the_exact_system_is_solved_all_the_same() {
    let case = Case::new(&[11, 9]);
    let mut data = Data::new(&case.size, 1);
    data.lambda = (data.lambda * 0.02).unwrap();
    let problem = data.problem(&case);
    // far from any minimum
    let theta = (noise(case.identity().dims(), 5) * 1.5).unwrap();
    let (q, info) = exact()
        .solve(&problem, &theta, &noise(theta.dims(), 7))
        .unwrap();
    assert_eq!((info.method, info.stop), ("minres", LinearStop::Converged));
    let g = zeros(&theta);
    let hessian = problem.curvature(&theta, Curvature::Newton, &g).unwrap();
    let product = zeros(&theta);
    hessian.operator.apply(&q, &product).unwrap();
    let rest = (noise(theta.dims(), 7) - product).unwrap();
    assert!(dot(&rest, &rest) < 1e-20 * dot(&q, &q).max(1.0));
}
