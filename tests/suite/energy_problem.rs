//! The registration energy: value, gradient and curvature for every transform, regulariser and interpolation.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use stillpoint::{
    spline_coefficients, BSpline, Bending, Compositive, Curvature, Diffusion, Displacement,
    Elastic, EnergyProblem, GlobalAffine, Interpolation, Linearisation, Problem, Regulariser,
    SsdData, Transform, Velocity,
};

use crate::ops_ssd::map;
use crate::regularisers::grid;
use crate::samples::{along, close, distance, dot, noise, shape, uniform, values, zeros};

pub fn data(
    size: &[usize],
    channels: usize,
    interpolation: Interpolation,
    dtype: DType,
) -> SsdData {
    let moving: Vec<usize> = size.iter().map(|n| n + 1).collect();
    let features = noise(&shape(channels, &moving), 1);
    let moving = match interpolation {
        Interpolation::Linear => features,
        Interpolation::Cubic => spline_coefficients(&features).unwrap(),
    };
    SsdData {
        fixed: noise(&shape(channels, size), 2).to_dtype(dtype).unwrap(),
        moving: moving.to_dtype(dtype).unwrap(),
        mask: Some(uniform(&shape(1, size)[1..], 3).to_dtype(dtype).unwrap()),
        channel_weight: (0..channels).map(|c| 0.5 + c as f64).collect(),
        map: map(size.len()),
        interpolation,
    }
}

fn regularisers() -> Vec<Arc<dyn Regulariser>> {
    vec![
        Arc::new(Diffusion),
        Arc::new(Bending { length: 1.7 }),
        Arc::new(Elastic {
            mu: 0.6,
            lambda: 1.4,
        }),
    ]
}

fn transforms() -> Vec<Arc<dyn Transform>> {
    vec![
        Arc::new(Displacement),
        Arc::new(Compositive),
        Arc::new(BSpline { spacing: 3 }),
        Arc::new(GlobalAffine),
        Arc::new(Velocity {
            squarings: 3,
            interpolation: Interpolation::Cubic,
        }),
    ]
}

fn cases(mut check: impl FnMut(&EnergyProblem, &Tensor, &str)) {
    for size in [&[9, 7][..], &[11, 5, 4]] {
        for channels in [1, 2, 7] {
            for interpolation in [Interpolation::Linear, Interpolation::Cubic] {
                for regulariser in regularisers() {
                    for transform in transforms() {
                        let grid = grid(size, &[0.8, 1.3, 2.1]);
                        let name = format!(
                            "{size:?}, {channels} channels, {interpolation:?}, {}, {}",
                            regulariser.name(),
                            transform.name()
                        );
                        let theta = transform.identity(&grid, DType::F64, &Device::Cpu).unwrap();
                        let theta = (noise(theta.dims(), 4) * 0.6).unwrap();
                        let problem = EnergyProblem::new(
                            data(size, channels, interpolation, DType::F64),
                            regulariser.clone(),
                            0.37,
                            transform,
                            grid,
                        );
                        check(&problem, &theta, &name);
                    }
                }
            }
        }
    }
}

fn linearise(
    problem: &EnergyProblem,
    theta: &Tensor,
    curvature: Curvature,
) -> (Linearisation, Tensor) {
    let gradient = noise(theta.dims(), 8);
    let model = problem.linearise(theta, curvature, &gradient).unwrap();
    (model, gradient)
}

fn times(model: &Linearisation, p: &Tensor) -> Tensor {
    let out = noise(p.dims(), 9);
    let form = model.operator.apply(p, &out).unwrap();
    close(form, dot(p, &out), 1e-11, "quadratic form");
    out
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    cases(|problem, theta, name| {
        let (model, gradient) = linearise(problem, theta, Curvature::Newton);
        close(model.energy, problem.value(theta).unwrap(), 1e-12, name);
        let (data, penalty) = problem.parts(theta).unwrap();
        close(model.energy, data + penalty, 1e-12, name);
        for seed in 11..14 {
            let d = noise(theta.dims(), seed);
            let value = |t: f64| problem.value(&along(theta, t, &d)).unwrap();
            let slope = (value(1e-6) - value(-1e-6)) / 2e-6;
            close(dot(&gradient, &d), slope, 1e-6, name);
        }
    });
}

#[test]
fn the_hessian_of_a_certificate_has_full_precision_where_models_are_compact() {
    let size = [11, 5, 4];
    let problem = |compact| {
        let mut problem = EnergyProblem::new(
            data(&size, 2, Interpolation::Cubic, DType::F64),
            Arc::new(Diffusion),
            0.37,
            Arc::new(Displacement),
            grid(&size, &[0.8, 1.3, 2.1]),
        );
        problem.compact = compact;
        problem
    };
    let (compact, full) = (problem(true), problem(false));
    assert_eq!(compact.model_type(DType::F64), DType::F32);
    let (theta, p) = (noise(&shape(3, &size), 4), noise(&shape(3, &size), 5));
    let gradient = zeros(&theta);
    let hessian = compact
        .curvature(&theta, Curvature::Newton, &gradient)
        .unwrap();
    let (exact, slope) = linearise(&full, &theta, Curvature::Newton);
    assert_eq!(values(&gradient), values(&slope));
    assert_eq!(values(&times(&hessian, &p)), values(&times(&exact, &p)));
    let (z, w) = (zeros(&p), zeros(&p));
    hessian.preconditioner.apply(&p, &z).unwrap();
    exact.preconditioner.apply(&p, &w).unwrap();
    assert_eq!(values(&z), values(&w));
}

#[test]
fn the_newton_operator_is_the_derivative_of_the_gradient() {
    cases(|problem, theta, name| {
        let d = noise(theta.dims(), 11);
        let gradient =
            |t: f64| values(&linearise(problem, &along(theta, t, &d), Curvature::Newton).1);
        let step = 1e-6;
        let slope: Vec<f64> = gradient(step)
            .iter()
            .zip(gradient(-step))
            .map(|(h, l)| (h - l) / (2.0 * step))
            .collect();
        let (model, _) = linearise(problem, theta, Curvature::Newton);
        let product = values(&times(&model, &d));
        let size = product.iter().fold(1.0f64, |w, p| w.max(p.abs()));
        assert!(
            distance(&product, &slope) < 1e-5 * size,
            "{name}: {}",
            distance(&product, &slope)
        );
    });
}

/// `d' A d = sum m a (slope of the warp along d)^2 + lambda d' L d`, and a little more that keeps it positive.
#[test]
fn the_gauss_newton_operator_is_that_of_the_slopes() {
    cases(|problem, theta, name| {
        if problem.transform.must_not_fold() {
            return;
        }
        let d = noise(theta.dims(), 11);
        let u = |t: f64| {
            problem
                .transform
                .displacement(&along(theta, t, &d), &problem.grid)
                .unwrap()
        };
        let warped = |t: f64| values(&problem.data.warped(Some(&u(t))).unwrap());
        let (high, low) = (warped(1e-6), warped(-1e-6));
        let mask = values(problem.data.mask.as_ref().unwrap());
        let mut expected = 0.0;
        for k in 0..high.len() {
            let slope = (high[k] - low[k]) / 2e-6;
            expected +=
                mask[k % mask.len()] * problem.data.channel_weight[k / mask.len()] * slope.powi(2);
        }
        let du = problem
            .transform
            .pushforward(theta, &problem.grid, &d)
            .unwrap();
        expected += 2.0 * problem.lambda * problem.regulariser.value(&du, &problem.grid).unwrap();
        expected += 1e-6 * problem.lambda * dot(&du, &du);
        let (model, _) = linearise(problem, theta, Curvature::GaussNewton);
        close(dot(&d, &times(&model, &d)), expected, 1e-6, name);
        let e = noise(theta.dims(), 12);
        close(
            dot(&e, &times(&model, &d)),
            dot(&d, &times(&model, &e)),
            1e-11,
            name,
        );
    });
}

#[test]
fn preconditioners_are_positive_definite() {
    cases(|problem, theta, name| {
        for curvature in [Curvature::GaussNewton, Curvature::Newton] {
            let (model, _) = linearise(problem, theta, curvature);
            let (r, s) = (noise(theta.dims(), 11), noise(theta.dims(), 12));
            let (z, y) = (zeros(&r), zeros(&s));
            let [rz, rr] = model.preconditioner.apply(&r, &z).unwrap();
            model.preconditioner.apply(&s, &y).unwrap();
            assert!(rz > 0.0, "{name}");
            close(rz, dot(&r, &z), 1e-11, name);
            close(rr, dot(&r, &r), 1e-11, name);
            close(dot(&s, &z), dot(&r, &y), 1e-9, name);
        }
    });
}

#[test]
fn damping_adds_multiples_of_the_regulariser() {
    cases(|problem, theta, name| {
        let d = noise(theta.dims(), 11);
        let form = |problem: &EnergyProblem| {
            let (model, gradient) = linearise(problem, theta, Curvature::GaussNewton);
            (dot(&d, &times(&model, &d)), values(&gradient))
        };
        let (plain, gradient) = form(problem);
        let mut damped = EnergyProblem::new(
            problem.data.clone(),
            problem.regulariser.clone(),
            problem.lambda,
            problem.transform.clone(),
            problem.grid.clone(),
        );
        damped.damping = 0.5;
        let (more, same) = form(&damped);
        // models of steps take a velocity for the displacement
        let du = match problem.transform.is_velocity() {
            true => d.clone(),
            false => problem
                .transform
                .pushforward(theta, &problem.grid, &d)
                .unwrap(),
        };
        let penalty = problem.regulariser.value(&du, &problem.grid).unwrap();
        close(more, plain + problem.lambda * penalty, 1e-10, name);
        assert_eq!(gradient, same, "{name}");
    });
}

/// Models at half the precision: scaled, close to the whole one, and the energy and gradient untouched.
#[test]
fn other_moving_features_are_seen_at_once() {
    let size = [9, 7, 5];
    let problem = |data: SsdData| {
        let grid = grid(&size, &[1.0; 3]);
        EnergyProblem::new(
            data,
            Arc::new(Diffusion),
            0.37,
            Arc::new(Displacement),
            grid,
        )
    };
    let first = data(&size, 8, Interpolation::Linear, DType::F64);
    let second = SsdData {
        moving: (&first.moving * 0.5).unwrap(),
        ..first.clone()
    };
    let theta = noise(&shape(3, &size), 4);
    let [before, after] = [&first, &second].map(|d| problem(d.clone()).value(&theta).unwrap());
    assert!((before - after).abs() > 1e-2 * before);
    let mut changed = problem(first);
    assert_eq!(changed.value(&theta).unwrap(), before);
    changed.data = second;
    assert_eq!(changed.value(&theta).unwrap(), after);
}

#[test]
fn compact_models_are_close() {
    for transform in [
        Arc::new(Displacement) as Arc<dyn Transform>,
        Arc::new(Compositive),
    ] {
        for (dtype, small, share) in [
            (DType::F32, DType::F16, 2e-2),
            (DType::F64, DType::F32, 1e-5),
        ] {
            for channels in [1, 2] {
                let size = [11, 5, 4];
                let mut problem = EnergyProblem::new(
                    data(&size, channels, Interpolation::Linear, dtype),
                    Arc::new(Diffusion),
                    0.37,
                    transform.clone(),
                    grid(&size, &[0.8, 1.3, 2.1]),
                );
                let theta = (noise(&shape(3, &size), 4) * 0.2)
                    .unwrap()
                    .to_dtype(dtype)
                    .unwrap();
                let d = noise(theta.dims(), 5);
                let mut product = |compact: bool| {
                    problem.compact = compact;
                    problem.unit = 3.0;
                    let gradient = zeros(&theta);
                    let model = problem
                        .linearise(&theta, Curvature::GaussNewton, &gradient)
                        .unwrap();
                    let kind = problem.model_type(dtype);
                    assert_eq!(kind, if compact { small } else { dtype });
                    let out = zeros(&d.to_dtype(kind).unwrap());
                    model
                        .operator
                        .apply(&d.to_dtype(kind).unwrap(), &out)
                        .unwrap();
                    let product: Vec<f64> = values(&out).iter().map(|v| v / model.scale).collect();
                    (product, values(&gradient), model.energy)
                };
                let (whole, half) = (product(false), product(true));
                assert_eq!((whole.1, whole.2), (half.1, half.2));
                let size = whole.0.iter().fold(0.0f64, |w, v| w.max(v.abs()));
                assert!(distance(&whole.0, &half.0) < share * size);
            }
        }
    }
}

/// Blocks are kept from call to call; another element type needs others.
#[test]
fn one_problem_serves_parameters_of_one_type_after_another() {
    let size = [9, 7];
    let mut problem = EnergyProblem::new(
        data(&size, 1, Interpolation::Linear, DType::F64),
        Arc::new(Diffusion),
        0.37,
        Arc::new(Displacement),
        grid(&size, &[1.0; 3]),
    );
    let theta = (noise(&shape(2, &size), 4) * 0.2).unwrap();
    let (model, _) = linearise(&problem, &theta, Curvature::GaussNewton);
    let wide = times(&model, &theta);
    problem.data = data(&size, 1, Interpolation::Linear, DType::F32);
    let narrow_theta = theta.to_dtype(DType::F32).unwrap();
    let gradient = zeros(&narrow_theta);
    let model = problem
        .linearise(&narrow_theta, Curvature::GaussNewton, &gradient)
        .unwrap();
    let narrow = zeros(&narrow_theta);
    model.operator.apply(&narrow_theta, &narrow).unwrap();
    assert!(distance(&values(&wide), &values(&narrow)) < 1e-4);
}

#[test]
fn folds_lie_outside_the_domain_of_transforms_that_must_not_fold() {
    let size = [9, 7];
    let mut v = values(&zeros(&noise(&shape(2, &size), 1)));
    v[3 * 9 + 4] = 3.0;
    let folded = crate::samples::tensor(v, &shape(2, &size));
    for (transform, inside) in [
        (Arc::new(Displacement) as Arc<dyn Transform>, true),
        (Arc::new(Compositive), false),
    ] {
        let problem = EnergyProblem::new(
            data(&size, 1, Interpolation::Linear, DType::F64),
            Arc::new(Diffusion),
            0.37,
            transform,
            grid(&size, &[1.0; 3]),
        );
        assert_eq!(problem.contains(&folded).unwrap(), inside);
        assert!(problem.contains(&zeros(&folded)).unwrap());
    }
}
