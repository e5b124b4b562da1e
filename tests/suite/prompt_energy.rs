//! Prompts as terms of the energy: value, gradient and curvature beside the data term.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use stillpoint::{
    smooth, spline_coefficients, BSpline, Bending, Compositive, Curvature, Diffusion, Displacement,
    EnergyProblem, FoldBarrier, Interpolation, Linearisation, Problem, PromptTerms, Regulariser,
    SsdData, Transform, Velocity,
};

use crate::ops_landmarks::landmarks;
use crate::ops_ssd::map;
use crate::regularisers::grid;
use crate::samples::{along, close, distance, dot, noise, shape, uniform, values, zeros};

/// Soft maps with a mask and weights of their own, and landmarks that ask for about half a voxel.
pub fn terms(size: &[usize], interpolation: Interpolation) -> PromptTerms {
    let labels = |channels: usize, seed: u64| {
        let moving: Vec<usize> = size.iter().map(|n| n + 2).collect();
        let soft = |size: &[usize], seed| {
            let map = uniform(&shape(channels, size), seed);
            (smooth(&map, &vec![1.1; size.len()]).unwrap() * 2.0).unwrap()
        };
        let moving = soft(&moving, seed);
        SsdData {
            fixed: soft(size, seed + 1),
            moving: match interpolation {
                Interpolation::Linear => moving,
                Interpolation::Cubic => spline_coefficients(&moving).unwrap(),
            },
            mask: Some(uniform(&shape(1, size)[1..], seed + 2)),
            channel_weight: (0..channels).map(|c| 0.4 + 0.3 * c as f64).collect(),
            map: map(size.len()),
            interpolation,
        }
    };
    let mut marks = landmarks(size, 80);
    for (t, p) in marks.targets.iter_mut().zip(&marks.points) {
        for a in 0..size.len() {
            t[a] = p[a] + 0.08 * (t[a] - p[a]);
        }
    }
    PromptTerms {
        labels: vec![labels(1, 60), labels(2, 70)],
        landmarks: vec![marks],
    }
}

fn cases(mut check: impl FnMut(&EnergyProblem, &Tensor, &str)) {
    for size in [&[9, 7][..], &[7, 5, 4]] {
        for interpolation in [Interpolation::Linear, Interpolation::Cubic] {
            for regulariser in [
                Arc::new(Diffusion) as Arc<dyn Regulariser>,
                Arc::new(Bending { length: 1.7 }),
            ] {
                for transform in [
                    Arc::new(Displacement) as Arc<dyn Transform>,
                    Arc::new(Compositive),
                    Arc::new(BSpline { spacing: 3 }),
                    Arc::new(Velocity {
                        squarings: 3,
                        interpolation: Interpolation::Cubic,
                    }),
                ] {
                    for barrier in [None, Some(0.6)] {
                        if barrier.is_some() && transform.name() != "compositive" {
                            continue;
                        }
                        let grid = grid(size, &[0.8, 1.3, 2.1]);
                        let name = format!(
                            "{size:?} {interpolation:?} {} {} {barrier:?}",
                            regulariser.name(),
                            transform.name()
                        );
                        let start = transform.identity(&grid, DType::F64, &Device::Cpu).unwrap();
                        let scale = if barrier.is_some() { 0.1 } else { 0.6 };
                        let theta = (noise(start.dims(), 4) * scale).unwrap();
                        let all = terms(size, interpolation);
                        let mut data = all.labels[0].clone();
                        data.fixed = noise(data.fixed.dims(), 2);
                        let mut problem = EnergyProblem::new(
                            data,
                            regulariser.clone(),
                            0.37,
                            transform.clone(),
                            grid,
                        );
                        problem.barrier = barrier.map(|threshold| FoldBarrier {
                            weight: 0.8,
                            threshold,
                        });
                        problem.prompts = all;
                        check(&problem, &theta, &name);
                        problem.prompts.landmarks.clear();
                        check(&problem, &theta, &format!("{name}, labels alone"));
                    }
                }
            }
        }
    }
}

fn curvature(
    problem: &EnergyProblem,
    theta: &Tensor,
    curvature: Curvature,
) -> (Linearisation, Tensor) {
    let gradient = noise(theta.dims(), 8);
    let model = problem.curvature(theta, curvature, &gradient).unwrap();
    (model, gradient)
}

fn times(model: &Linearisation, p: &Tensor) -> Tensor {
    let out = noise(p.dims(), 9);
    let form = model.operator.apply(p, &out).unwrap();
    close(form, dot(p, &out), 1e-10, "quadratic form");
    out
}

#[test]
fn the_gradient_is_that_of_finite_differences_and_the_hessian_its_derivative() {
    cases(|problem, theta, name| {
        let (model, gradient) = curvature(problem, theta, Curvature::Newton);
        close(model.energy, problem.value(theta).unwrap(), 1e-12, name);
        let (data, penalty) = problem.parts(theta).unwrap();
        let prompts = problem.prompt_value(theta).unwrap();
        assert!(prompts > 0.0, "{name}");
        let barrier = problem.barrier_value(theta).unwrap();
        close(
            model.energy,
            data + penalty + prompts + barrier,
            1e-12,
            name,
        );
        let d = noise(theta.dims(), 11);
        let value = |t: f64| problem.value(&along(theta, t, &d)).unwrap();
        let slope = (value(1e-6) - value(-1e-6)) / 2e-6;
        close(dot(&gradient, &d), slope, 1e-6, name);

        let gradient =
            |t: f64| values(&curvature(problem, &along(theta, t, &d), Curvature::Newton).1);
        let slope: Vec<f64> = gradient(1e-6)
            .iter()
            .zip(gradient(-1e-6))
            .map(|(h, l)| (h - l) / 2e-6)
            .collect();
        let (model, _) = curvature(problem, theta, Curvature::Newton);
        let product = values(&times(&model, &d));
        let size = product.iter().fold(1.0f64, |w, p| w.max(p.abs()));
        let gap = distance(&product, &slope);
        assert!(gap < 1e-5 * size, "{name}: {gap:.1e} of {size:.1e}");
    });
}

/// Less than the Hessian only by terms with residuals of the soft maps; never negative; symmetric.
#[test]
fn models_of_steps_are_symmetric_and_semidefinite_with_definite_preconditioners() {
    cases(|problem, theta, name| {
        for kind in [
            Curvature::GaussNewton,
            Curvature::Projected,
            Curvature::Newton,
        ] {
            let gradient = noise(theta.dims(), 8);
            let model = problem.linearise(theta, kind, &gradient).unwrap();
            let (d, e) = (noise(theta.dims(), 11), noise(theta.dims(), 12));
            let (ad, ae) = (times(&model, &d), times(&model, &e));
            close(dot(&e, &ad), dot(&d, &ae), 1e-10, name);
            if kind != Curvature::Newton {
                assert!(dot(&d, &ad) > 0.0, "{name} {kind:?}");
            }
            let (z, y) = (zeros(&d), zeros(&e));
            let [rz, _] = model.preconditioner.apply(&d, &z).unwrap();
            model.preconditioner.apply(&e, &y).unwrap();
            assert!(rz > 0.0, "{name} {kind:?}");
            close(dot(&e, &z), dot(&d, &y), 1e-9, name);
        }
    });
}

/// `d' A d` is that of the slopes of the soft maps and of the points, beside what the energy without prompts has.
#[test]
fn the_gauss_newton_operator_gains_the_squares_of_the_slopes() {
    cases(|problem, theta, name| {
        let mut plain = EnergyProblem::new(
            problem.data.clone(),
            problem.regulariser.clone(),
            problem.lambda,
            problem.transform.clone(),
            problem.grid.clone(),
        );
        plain.barrier = problem.barrier;
        if problem.transform.is_velocity() {
            return; // its displacement bends along a step, which second differences would see
        }
        let d = noise(theta.dims(), 11);
        let form = |problem: &EnergyProblem| {
            dot(
                &d,
                &times(&curvature(problem, theta, Curvature::GaussNewton).0, &d),
            )
        };
        let u = |t: f64| {
            let theta = along(theta, t, &d);
            problem
                .transform
                .displacement(&theta, &problem.grid)
                .unwrap()
        };
        let mut expected = form(&plain);
        for labels in &problem.prompts.labels {
            let warped = |t: f64| values(&labels.warped(Some(&u(t))).unwrap());
            let (high, low) = (warped(1e-6), warped(-1e-6));
            let mask = values(labels.mask.as_ref().unwrap());
            for k in 0..high.len() {
                let slope = (high[k] - low[k]) / 2e-6;
                expected +=
                    mask[k % mask.len()] * labels.channel_weight[k / mask.len()] * slope.powi(2);
            }
        }
        for landmarks in &problem.prompts.landmarks {
            let at = |t: f64| landmarks.value(&u(t)).unwrap();
            expected += at(1.0) + at(-1.0) - 2.0 * at(0.0);
        }
        close(form(problem), expected, 1e-6, name);
    });
}

/// Landmarks alone, without data and hardly smooth: where the displacement must be is known.
#[test]
fn landmarks_alone_are_met_by_a_smooth_field() {
    use stillpoint::{Solver, TrustRegion};
    let size = [21, 17];
    let grid = grid(&size, &[1.0, 1.0, 1.0]);
    let mut data = terms(&size, Interpolation::Cubic).labels[0].clone();
    data.channel_weight = vec![0.0];
    for transform in [
        Arc::new(Displacement) as Arc<dyn Transform>,
        Arc::new(Compositive),
        Arc::new(BSpline { spacing: 3 }),
    ] {
        let mut problem = EnergyProblem::new(
            data.clone(),
            Arc::new(Diffusion),
            1e-4,
            transform.clone(),
            grid.clone(),
        );
        let mut marks = landmarks(&size, 80);
        marks.points = vec![[4.3, 5.1, 0.0], [15.8, 11.4, 0.0]];
        marks.targets = vec![[4.9, 4.8, 0.0], [15.4, 12.0, 0.0]];
        problem.prompts.landmarks = vec![marks];
        // as in certified runs
        problem.barrier = transform.must_not_fold().then_some(FoldBarrier {
            weight: 1e-3,
            threshold: 0.3,
        });
        let start = transform.identity(&grid, DType::F64, &Device::Cpu).unwrap();
        let solution = TrustRegion::default()
            .solve(&problem, start, &mut |_| Ok(()))
            .unwrap();
        let name = transform.name();
        assert!(solution.certificate.strict_minimum, "{name}");
        let left = problem.prompt_value(&solution.theta).unwrap();
        assert!(left < 1e-6, "{name}: {left}");
        // with diffusion, each component lies between the extremes of what the points ask for
        let u = values(&transform.displacement(&solution.theta, &grid).unwrap());
        if name != "bspline" {
            let (low, high) = u[..size[0] * size[1]]
                .iter()
                .fold((f64::INFINITY, -f64::INFINITY), |(l, h), v| {
                    (v.min(l), v.max(h))
                });
            assert!(low > -0.5 && high < 0.7, "{name}: {low} to {high}");
        }
    }
}
