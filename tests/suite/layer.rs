//! The registration layer: its gradient against finite differences, batches, failures and levels.

use candle_core::{DType, Tensor, Var};
use std::sync::Arc;
use stillpoint::{
    smooth, warp, Adjoint, Affine, Deformation, Displacement, FeatureLevel, Grid, Interpolation,
    LayerInput, LayerOutput, Policy, RegistrationLayer, Status, TrustRegion, Unconverged, Velocity,
};

use crate::gradients::slope_errors;
use crate::regularisers::grid;
use crate::samples::{close, distance, noise, shape, tensor, values};

const SPACING: [f64; 3] = [1.0, 1.25, 1.5];

/// Two levels of smooth features, the moving ones on larger grids, and the fixed ones about these, displaced.
struct Scene {
    fixed: Vec<FeatureLevel>,
    moving: Vec<FeatureLevel>,
}

/// A grid of a shrink factor with a margin of so many finest voxels on every side.
fn level_grid(size: &[usize], shrink: usize, margin: usize) -> Grid {
    let voxels: Vec<usize> = size
        .iter()
        .map(|n| n / shrink + 2 * margin / shrink)
        .collect();
    let spacing = SPACING.map(|h| h * shrink as f64);
    let origin = std::array::from_fn(|a| {
        if a < size.len() {
            SPACING[a] * (0.5 * shrink as f64 - 0.5 - margin as f64)
        } else {
            0.0
        }
    });
    let direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    Grid::new(&voxels, &spacing[..size.len()], origin, direction).unwrap()
}

impl Scene {
    fn new(size: &[usize], batch: usize, dtype: DType) -> Self {
        let (mut fixed, mut moving) = (Vec::new(), Vec::new());
        for (k, shrink) in [2, 1].into_iter().enumerate() {
            let (inner, outer) = (level_grid(size, shrink, 0), level_grid(size, shrink, 4));
            let (mut f, mut m) = (Vec::new(), Vec::new());
            for item in 0..batch {
                let seed = (10 * item + k) as u64;
                let image = smooth(
                    &noise(&shape(2, outer.size()), seed),
                    &vec![1.3; size.len()],
                );
                let image = (image.unwrap() * 3.0).unwrap();
                let u = smooth(
                    &noise(&shape(size.len(), inner.size()), seed + 5),
                    &vec![1.0; size.len()],
                );
                let map = outer.world_to_index().compose(&inner.index_to_world());
                let still = warp(&image, &u.unwrap(), &map, Interpolation::Cubic).unwrap();
                f.push(still);
                m.push(image);
            }
            let level = |features: Vec<Tensor>, grid| FeatureLevel {
                shrink,
                features: Tensor::stack(&features, 0)
                    .unwrap()
                    .to_dtype(dtype)
                    .unwrap(),
                grid,
            };
            fixed.push(level(f, inner));
            moving.push(level(m, outer));
        }
        Self { fixed, moving }
    }

    fn input(&self) -> LayerInput<'_> {
        LayerInput::new(&self.fixed, &self.moving)
    }
}

/// A certified solve as tight as rounding allows, so that finite differences of it mean something.
fn tight(deformation: Deformation) -> RegistrationLayer {
    let solver = TrustRegion {
        gradient: 1e-13,
        products: 2000,
        ..TrustRegion::default()
    };
    RegistrationLayer {
        deformation: Deformation {
            solver: Some(Arc::new(solver)),
            ..deformation
        },
        adjoint: Adjoint {
            tolerance: 1e-11,
            ..Adjoint::exact()
        },
        uncertified: Unconverged::Warn,
    }
}

/// A loss on the displacements and the warped features of all levels.
fn loss(scene: &Scene, moving: &[FeatureLevel], out: &LayerOutput) -> Tensor {
    assert!(out.failures.is_empty(), "{:?}", out.failures);
    let mut total: Option<Tensor> = None;
    for (k, level) in out.levels.iter().enumerate() {
        let w = noise(level.displacement.dims(), 90 + k as u64);
        let u = (level.displacement.to_dtype(DType::F64).unwrap() * w).unwrap();
        let features = moving[k].features.to_dtype(DType::F64).unwrap();
        let warped = level.warp(&features, &moving[k].grid, &level.grid).unwrap();
        let fixed = scene.fixed[k].features.to_dtype(DType::F64).unwrap();
        let rest = (warped - fixed).unwrap().sqr().unwrap();
        let sum = (u.sum_all().unwrap() + rest.sum_all().unwrap()).unwrap();
        total = Some(match total {
            None => sum,
            Some(t) => (sum + &t).unwrap(),
        });
    }
    total.unwrap()
}

/// Every level's moving features, the weight of the regulariser and the channel weights; the unit of lambda, which is
/// detached, comes from the fixed features.
#[test]
fn the_gradient_of_the_layer_is_that_of_finite_differences() {
    for (size, deformation) in [
        (&[12, 10][..], Deformation::certified()),
        (
            &[12, 10],
            Deformation {
                transform: Arc::new(Displacement),
                lambda: 0.3,
                ..Deformation::certified()
            },
        ),
        (
            &[12, 10],
            Deformation {
                transform: Arc::new(Velocity {
                    squarings: 3,
                    ..Velocity::default()
                }),
                ..Deformation::certified()
            },
        ),
        (&[8, 8, 6], Deformation::certified()),
    ] {
        let layer = tight(deformation);
        let scene = Scene::new(size, 1, DType::F64);
        let lambda = tensor(vec![layer.deformation.lambda], &[1]);
        let weights = tensor(vec![1.2, 0.7], &[2]);
        let start: Vec<Tensor> = vec![
            scene.moving[0].features.clone(),
            scene.moving[1].features.clone(),
            lambda,
            weights,
        ];
        let run = |data: &[Tensor]| {
            let moving: Vec<FeatureLevel> = (0..2)
                .map(|k| FeatureLevel {
                    features: data[k].clone(),
                    ..scene.moving[k].clone()
                })
                .collect();
            let weights = [data[3].clone(), data[3].clone()];
            let out = layer
                .forward(&LayerInput {
                    moving: &moving,
                    lambda: Some(&data[2]),
                    channel_weights: Some(&weights),
                    ..scene.input()
                })
                .unwrap();
            let worst = out.levels.iter().flat_map(|l| &l.reports);
            for report in worst.flatten() {
                assert!(
                    report.certificate.gradient_ratio < 1e-10,
                    "{:?}",
                    report.status
                );
            }
            loss(&scene, &moving, &out)
        };
        for (k, best) in slope_errors(&start, run).into_iter().enumerate() {
            assert!(best < 1e-6, "{size:?} data {k}: relative error {best:.1e}");
        }
    }
}

#[test]
fn a_batch_is_its_pairs_and_a_bad_one_spoils_no_other() {
    let layer = RegistrationLayer::default();
    let scene = Scene::new(&[20, 16], 3, DType::F32);
    let whole = layer.forward(&scene.input()).unwrap();
    assert!(whole.failures.is_empty());
    let mut values_of: Vec<f64> = values(&scene.moving[1].features);
    let n = values_of.len() / 3;
    values_of[n + 12 * 28 + 14] = f64::NAN; // in the middle of the second pair
    let mut broken = scene.moving.clone();
    broken[1].features = tensor(values_of, broken[1].features.dims())
        .to_dtype(DType::F32)
        .unwrap();
    let rest = layer
        .forward(&LayerInput::new(&scene.fixed, &broken))
        .unwrap();
    assert_eq!(rest.failures.len(), 1);
    assert_eq!(rest.failures[0].item, 1);
    let message = rest.failures[0].error.to_string();
    assert!(message.contains("not finite on level 2"), "{message}");
    for (one, other) in whole.levels.iter().zip(&rest.levels) {
        for item in [0, 2] {
            let (a, b) = (one.displacement.get(item), other.displacement.get(item));
            assert_eq!(values(&a.unwrap()), values(&b.unwrap()));
            assert!(one.reports[item].is_some());
        }
        let none = values(&other.displacement.get(1).unwrap());
        assert!(none.iter().all(|v| *v == 0.0) && other.reports[1].is_none());
    }
    for item in 0..3 {
        let single = |levels: &[FeatureLevel]| -> Vec<FeatureLevel> {
            let one = |level: &FeatureLevel| FeatureLevel {
                features: level.features.narrow(0, item, 1).unwrap(),
                ..level.clone()
            };
            levels.iter().map(one).collect()
        };
        let (fixed, moving) = (single(&scene.fixed), single(&scene.moving));
        let alone = layer.forward(&LayerInput::new(&fixed, &moving)).unwrap();
        assert_eq!(
            values(&alone.finest().displacement),
            values(&whole.finest().displacement.get(item).unwrap())
        );
        assert_eq!(alone.finest().determinants().unwrap().dims(), [1, 16, 20]);
    }
}

/// The optimum of a level does not depend on where its search began, so a loss on the finest level alone leaves the coarse
/// features without a gradient.
#[test]
fn nothing_flows_through_the_starting_point() {
    let scene = Scene::new(&[20, 16], 1, DType::F32);
    let variables: Vec<Var> = scene
        .moving
        .iter()
        .map(|level| Var::from_tensor(&level.features).unwrap())
        .collect();
    let moving: Vec<FeatureLevel> = scene
        .moving
        .iter()
        .zip(&variables)
        .map(|(level, v)| FeatureLevel {
            features: v.as_tensor().clone(),
            ..level.clone()
        })
        .collect();
    let out = RegistrationLayer::default()
        .forward(&LayerInput::new(&scene.fixed, &moving))
        .unwrap();
    let sum = out.finest().displacement.sqr().unwrap().sum_all().unwrap();
    let gradients = sum.backward().unwrap();
    assert!(gradients.get(&variables[0]).is_none());
    let fine = values(gradients.get(&variables[1]).unwrap());
    assert!(fine.iter().any(|v| *v != 0.0));
    assert!(out.levels[0].adjoints[0].as_ref().unwrap().info().is_none());
    let info = out.finest().adjoints[0].as_ref().unwrap().info().unwrap();
    assert!(info.policy == Policy::GaussNewton && info.residual <= 1e-2);
}

#[test]
fn a_solve_without_its_certificate_is_refused_reported_or_falls_back() {
    let scene = Scene::new(&[12, 10], 1, DType::F64);
    let layer = |uncertified| RegistrationLayer {
        deformation: Deformation {
            iterations: Some(vec![1, 1]),
            ..Deformation::certified()
        },
        adjoint: Adjoint::exact(),
        uncertified,
    };
    let refused = layer(Unconverged::Refuse).forward(&scene.input()).unwrap();
    let message = refused.failures[0].error.to_string();
    assert!(message.contains("level 1 has no certificate"), "{message}");
    for (uncertified, policy) in [
        (Unconverged::Warn, Policy::Exact),
        (Unconverged::FallBack, Policy::GaussNewton),
    ] {
        let moving: Vec<FeatureLevel> = scene
            .moving
            .iter()
            .map(|level| FeatureLevel {
                features: Var::from_tensor(&level.features).unwrap().into_inner(),
                ..level.clone()
            })
            .collect();
        let out = layer(uncertified)
            .forward(&LayerInput::new(&scene.fixed, &moving))
            .unwrap();
        assert!(out.failures.is_empty());
        let report = out.finest().reports[0].as_ref().unwrap();
        assert_eq!(report.status, Status::MaxSteps);
        out.finest()
            .displacement
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        let info = out.finest().adjoints[0].as_ref().unwrap().info().unwrap();
        assert_eq!(info.policy, policy);
    }
}

#[test]
fn images_are_carried_to_any_grid_of_the_field_of_view() {
    let fine = grid(&[12, 8], &[1.0, 1.0, 1.0]);
    let coarse = fine.resized(&[6, 4]).unwrap();
    // one coarse voxel along x is two fine ones
    let mut u = vec![0.0; 2 * 24];
    u[..24].fill(1.0);
    let level = stillpoint::LayerLevel {
        grid: coarse.clone(),
        displacement: tensor(u, &[1, 2, 4, 6]),
        affine: vec![Affine::identity()],
        reports: vec![None],
        adjoints: vec![None],
    };
    let on_fine = values(&level.displacement_on(&fine).unwrap());
    assert!(on_fine[..96].iter().all(|v| (v - 2.0).abs() < 1e-12));
    let ramp = tensor((0..96).map(|v| (v % 12) as f64).collect(), &[1, 1, 8, 12]);
    let warped = values(&level.warp(&ramp, &fine, &fine).unwrap());
    let expected: Vec<f64> = (0..96).map(|v| ((v % 12) as f64 + 2.0).min(11.0)).collect();
    assert!(distance(&warped, &expected) < 1e-12);
    let wrong = tensor(vec![0.0; 12], &[1, 1, 3, 4]);
    assert!(level.warp(&wrong, &fine, &fine).is_err());
    close(
        level.determinants().unwrap().dims()[1] as f64,
        4.0,
        0.0,
        "size",
    );
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let scene = Scene::new(&[12, 10], 2, DType::F32);
    let layer = RegistrationLayer::default();
    let fails = |input: LayerInput<'_>, words: &str| {
        let message = layer.forward(&input).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    fails(LayerInput::new(&[], &[]), "at least one level");
    fails(
        LayerInput::new(&scene.fixed, &scene.moving[..1]),
        "expected 2 levels",
    );
    let one = [Affine::identity()];
    fails(
        LayerInput {
            affine: Some(&one),
            ..scene.input()
        },
        "one map a pair, 2, got 1",
    );
    let mask = tensor(vec![1.0; 120], &[1, 10, 12]);
    fails(
        LayerInput {
            fixed_mask: Some(&mask),
            ..scene.input()
        },
        "fixed mask",
    );
    let mut swapped = scene.moving.clone();
    swapped.swap(0, 1);
    let grids = [scene.moving[0].grid.clone(), scene.moving[1].grid.clone()];
    swapped[0].grid = grids[0].clone();
    fails(LayerInput::new(&scene.fixed, &swapped), "moving features");
}
