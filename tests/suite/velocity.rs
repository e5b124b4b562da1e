//! The stationary velocity field: its flow, all derivatives of it, and registrations with it.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};
use stillpoint::{
    compose, minimum_determinant, smallest_determinant, smooth, AlignmentStart, Compositive,
    Curvature, Deformation, Diffusion, EnergyProblem, Grid, Image, Interpolation, Phantom, Problem,
    Registered, Registration, SsdData, Transform, Velocity,
};

use crate::ops_ssd::map;
use crate::pair::distance as distance_mm;
use crate::regularisers::grid;
use crate::samples::{along, close, distance, dot, noise, shape, tensor, values, zeros, SIZES};

fn velocities() -> [Velocity; 2] {
    [Interpolation::Linear, Interpolation::Cubic].map(|interpolation| Velocity {
        squarings: 4,
        interpolation,
    })
}

#[test]
fn derivatives_are_those_of_finite_differences() {
    for velocity in velocities() {
        for &size in SIZES {
            let grid = grid(size, &[1.0, 1.2, 0.7]);
            let name = format!("{velocity:?} {size:?}");
            let like = shape(size.len(), size);
            let (theta, step) = ((noise(&like, 1) * 1.5).unwrap(), noise(&like, 2));
            let cotangent = noise(&like, 3);
            let slope = |of: &dyn Fn(&Tensor) -> Tensor| -> Vec<f64> {
                let h = 1e-6;
                let [high, low] = [h, -h].map(|t| values(&of(&along(&theta, t, &step))));
                high.iter()
                    .zip(low)
                    .map(|(a, b)| (a - b) / (2.0 * h))
                    .collect()
            };
            let size_of = |x: &[f64]| x.iter().fold(1.0f64, |m, v| m.max(v.abs()));

            let pushed = velocity.pushforward(&theta, &grid, &step).unwrap();
            let expected = slope(&|theta| velocity.displacement(theta, &grid).unwrap());
            let gap = distance(&values(&pushed), &expected);
            assert!(gap < 1e-6 * size_of(&expected), "{name}: {gap}");

            let pulled = velocity.pullback(&theta, &grid, &cotangent).unwrap();
            close(dot(&pushed, &cotangent), dot(&step, &pulled), 1e-12, &name);

            let tangent = velocity.tangent(&theta, Some(&cotangent)).unwrap().unwrap();
            let turned = |step: &Tensor| tangent.through(step, &mut |du| Ok(zeros(du))).unwrap();
            let expected = slope(&|theta| velocity.pullback(theta, &grid, &cotangent).unwrap());
            let gap = distance(&values(&turned(&step)), &expected);
            assert!(gap < 2e-6 * size_of(&expected), "{name}: {gap}");
            let plain = velocity.tangent(&theta, None).unwrap().unwrap();
            let squares = plain.through(&step, &mut |du| Ok(du.clone())).unwrap();
            close(dot(&step, &squares), dot(&pushed, &pushed), 1e-12, &name);
            let other = noise(&like, 4);
            let (ab, ba) = (dot(&other, &turned(&step)), dot(&step, &turned(&other)));
            close(ab, ba, 1e-10, &name);
        }
    }
}

#[test]
fn gradients_flow_through_the_displacement() {
    let size = [9, 8, 5];
    let grid = grid(&size, &[1.0; 3]);
    for velocity in velocities() {
        let theta = Var::from_tensor(&noise(&shape(3, &size), 1)).unwrap();
        let w = noise(&shape(3, &size), 2);
        let u = velocity.displacement(theta.as_tensor(), &grid).unwrap();
        let loss = (u * &w).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let expected = velocity.pullback(theta.as_tensor(), &grid, &w).unwrap();
        let found = gradients.get(&theta).unwrap();
        assert_eq!(values(found), values(&expected));
    }
}

/// Offsets from the centre of a plane of 41 by 41 voxels.
fn offsets() -> Vec<[f64; 2]> {
    (0..41 * 41)
        .map(|v| [(v % 41) as f64 - 20.0, (v / 41) as f64 - 20.0])
        .collect()
}

fn field(of: impl Fn([f64; 2]) -> [f64; 2]) -> Tensor {
    let vectors: Vec<[f64; 2]> = offsets().into_iter().map(of).collect();
    let component = |a: usize| vectors.iter().map(move |v| v[a]);
    tensor(component(0).chain(component(1)).collect(), &[2, 41, 41])
}

#[test]
fn flows_that_are_known_are_found() {
    let plane = Grid::axis_aligned(&[41, 41], &[1.0, 1.0]).unwrap();
    let (turn, grow): (f64, f64) = (0.3, 0.1);
    let v = field(|[x, y]| [grow * x - turn * y, turn * x + grow * y]);
    // a turn by 0.3 and growth by exp(0.1)
    let (sin, cos) = turn.sin_cos();
    let scale = grow.exp();
    let expected = field(|[x, y]| {
        [
            scale * (cos * x - sin * y) - x,
            scale * (sin * x + cos * y) - y,
        ]
    });
    for squarings in [5, 6, 7] {
        for interpolation in [Interpolation::Linear, Interpolation::Cubic] {
            let velocity = Velocity {
                squarings,
                interpolation,
            };
            let u = values(&velocity.displacement(&v, &plane).unwrap());
            let expected = values(&expected);
            // what starts within 8 voxels of the centre stays away from the border
            let mut worst = 0.0f64;
            for (i, at) in offsets().iter().enumerate() {
                if at[0].hypot(at[1]) < 8.0 {
                    for a in 0..2 {
                        worst = worst.max((u[a * 1681 + i] - expected[a * 1681 + i]).abs());
                    }
                }
            }
            // an Euler step of a 2^K-th: |A|^2 |x| / 2^(K+1) after all of them, and cubic splines bend at the border
            let bound = 1.2 * 0.1 * scale * 8.0 / 2f64.powi(squarings as i32 + 1);
            assert!(worst < bound + 1e-3, "{velocity:?}: {worst} {bound}");
        }
    }
}

#[test]
fn the_inverse_is_the_flow_of_the_opposite_velocity() {
    let size = [40, 36];
    let plane = Grid::axis_aligned(&size, &[1.0, 1.0]).unwrap();
    let rough = smooth(&noise(&shape(2, &size), 3), &[4.0, 4.0]).unwrap();
    let largest = values(&rough).iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let v = (rough * (4.0 / largest)).unwrap();
    for (interpolation, bound) in [(Interpolation::Linear, 0.1), (Interpolation::Cubic, 0.06)] {
        let velocity = Velocity {
            interpolation,
            ..Velocity::default()
        };
        let there = velocity.displacement(&v, &plane).unwrap();
        let back = velocity
            .displacement(&(&v * -1.0).unwrap(), &plane)
            .unwrap();
        let rest = zeros(&there);
        compose(&there, &back, 1.0, &rest).unwrap();
        let (rest, moved) = (values(&rest), values(&there));
        let mut worst = 0.0f64;
        for i in 0..size[0] * size[1] {
            let at = [i % size[0], i / size[0]];
            if (0..2).all(|a| at[a] >= 5 && at[a] + 5 < size[a]) {
                worst = worst
                    .max(rest[i].abs())
                    .max(rest[size[0] * size[1] + i].abs());
            }
        }
        assert!(worst < bound, "{interpolation:?}: {worst}");
        assert!(moved.iter().any(|u| u.abs() > 2.0));
        assert!(smallest_determinant(&there).unwrap() > 0.0);
    }
}

#[test]
fn the_gauss_newton_curvature_is_that_of_the_slopes() {
    let size = [9, 7];
    let grid = grid(&size, &[0.8, 1.3, 1.0]);
    for velocity in velocities() {
        let moving: Vec<usize> = size.iter().map(|n| n + 1).collect();
        let problem = EnergyProblem::new(
            SsdData {
                fixed: noise(&shape(2, &size), 2),
                moving: noise(&shape(2, &moving), 1),
                mask: None,
                channel_weight: vec![0.5, 1.5],
                map: map(2),
                interpolation: Interpolation::Linear,
            },
            Arc::new(Diffusion),
            0.37,
            Arc::new(velocity),
            grid.clone(),
        );
        let theta = (noise(&shape(2, &size), 4) * 0.6).unwrap();
        let d = noise(theta.dims(), 5);
        let warped = |t: f64| {
            let u = velocity.displacement(&along(&theta, t, &d), &grid);
            values(&problem.data.warped(Some(&u.unwrap())).unwrap())
        };
        let (high, low) = (warped(1e-6), warped(-1e-6));
        let mut expected = 2.0 * 0.37 * problem.regulariser.value(&d, &grid).unwrap();
        for (k, (h, l)) in high.iter().zip(low).enumerate() {
            expected += problem.data.channel_weight[k / 63] * ((h - l) / 2e-6).powi(2);
        }
        let gradient = zeros(&theta);
        let model = problem
            .curvature(&theta, Curvature::GaussNewton, &gradient)
            .unwrap();
        let out = zeros(&d);
        let form = model.operator.apply(&d, &out).unwrap();
        close(form, expected, 1e-6, "quadratic form");
        close(form, dot(&d, &out), 1e-12, "its product");
    }
}

fn registered(transform: Arc<dyn Transform>, lambda: f64, pair: &[Image; 2]) -> Registered {
    Registration {
        start: AlignmentStart::Identity,
        linear: Vec::new(),
        deformation: Some(Deformation {
            transform,
            lambda,
            ..Deformation::default()
        }),
        ..Registration::default()
    }
    .run(&pair[0], &pair[1], &mut |_| Ok(()))
    .unwrap()
}

#[test]
fn phantoms_are_registered_as_well_as_by_composition() {
    for (size, spacing) in [(vec![96, 112], 1.7), (vec![40, 48, 40], 4.0)] {
        let phantom = Phantom::pair(&size, &vec![spacing; size.len()], 1).unwrap();
        let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec()).unwrap();
        let pair = [image(&phantom.fixed), image(&phantom.moving)];
        let error = |transform: Arc<dyn Transform>| {
            let found = registered(transform, Deformation::LAMBDA, &pair);
            let smallest = smallest_determinant(found.displacement.as_ref().unwrap()).unwrap();
            assert!(smallest > 0.0, "{smallest}");
            distance_mm(&phantom, found.total_field(&pair[0]).unwrap().values())
        };
        let before = distance_mm(&phantom, &vec![0.0; phantom.displacement.len()]);
        let (flow, steps) = (
            error(Arc::new(Velocity::default())),
            error(Arc::new(Compositive)),
        );
        assert!(
            flow < 1.15 * steps && flow < 0.6 * before,
            "{size:?}: {before} {flow} {steps}"
        );
    }
}

/// A disc onto a C, hardly held back.
#[test]
fn nothing_folds_where_the_data_ask_for_it() {
    let plane = Grid::axis_aligned(&[64, 64], &[1.0, 1.0]).unwrap();
    let image = |inside: &dyn Fn(f64, f64) -> bool| {
        let values = (0..64 * 64).map(|v| {
            let (x, y) = ((v % 64) as f64 - 31.5, (v / 64) as f64 - 31.5);
            f32::from(u8::from(inside(x, y)))
        });
        let values: Vec<f64> = values.map(f64::from).collect();
        let soft = smooth(&tensor(values, &[1, 64, 64]), &[0.7, 0.7]).unwrap();
        let soft = values_f32(&soft);
        Image::new(plane.clone(), 1, soft).unwrap()
    };
    let disc = image(&|x, y| x.hypot(y) < 16.0);
    let c = image(&|x, y| {
        let r = x.hypot(y);
        r < 22.0 && r > 10.0 && !(x > 0.0 && y.abs() < 6.0)
    });
    let found = registered(Arc::new(Velocity::default()), 0.01, &[c, disc]);
    let u = found.displacement.as_ref().unwrap();
    assert!(smallest_determinant(u).unwrap() > 0.0);
    let u = values_f32(u);
    assert!(minimum_determinant(&u, &[64, 64]) > 0.0);
    assert!(u.iter().any(|u| u.abs() > 4.0), "it moved");
}

fn values_f32(x: &Tensor) -> Vec<f32> {
    values(&x.to_dtype(DType::F64).unwrap())
        .iter()
        .map(|v| *v as f32)
        .collect()
}

#[test]
fn a_step_that_would_fold_is_shortened_there_alone() {
    let plane = Grid::axis_aligned(&[48, 40], &[1.0, 1.0]).unwrap();
    let mut values_of = vec![0.3; 2 * 48 * 40];
    // single voxels that run against their neighbours
    for at in [12 * 48 + 10, 13 * 48 + 11] {
        values_of[at] = 9.0;
    }
    let step = tensor(values_of.clone(), &[2, 40, 48]);
    let (theta, out) = (zeros(&step), zeros(&step));
    let velocity = Velocity::default();
    let folded = velocity.displacement(&step, &plane).unwrap();
    assert!(smallest_determinant(&folded).unwrap() <= 0.02);
    assert!(velocity.retract(&theta, &step, 1.0, &out).unwrap());
    let kept = velocity.displacement(&out, &plane).unwrap();
    assert!(smallest_determinant(&kept).unwrap() > 0.02);
    let (short, moved) = (values(&step), values(&out));
    assert_eq!(short, moved, "the step tells what was taken");
    assert!(short[12 * 48 + 10] < 5.0);
    for (i, (now, before)) in short.iter().zip(&values_of).enumerate() {
        if i % 48 > 30 || i / 48 % 40 > 28 {
            assert_eq!(now, before);
        }
    }
}
