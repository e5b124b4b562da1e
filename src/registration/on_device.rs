//! Whole solves on a device beside those on the CPU.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::Deformation;
use crate::features::{Features, Level, Pyramid};
use crate::ops::{
    noise, smooth, Curvature, FoldBarrier, Interpolation, LandmarkData, SsdData, Stage,
};
use crate::problem::{EnergyProblem, Problem};
use crate::prompt::Prompt;
use crate::regulariser::{Bending, Diffusion, Elastic, Regulariser};
use crate::solver::{GaussNewton, MultilevelSolution, Pair, Solution, Solver, Status, TrustRegion};
use crate::transform::{BSpline, Compositive, Displacement, GlobalAffine, Transform, Velocity};
use crate::{Affine, Error, Grid, Labels, Phantom};

const SIZES: [&[usize]; 2] = [&[45, 38], &[26, 24, 21]];

/// Fewer voxels where products are many.
const CERTIFIED: [&[usize]; 2] = [&[30, 27], &[13, 14, 12]];

fn smooth_noise(channels: usize, size: &[usize], seed: u64) -> Tensor {
    smooth(&noise(channels, size, seed), &vec![2.0; size.len()]).unwrap()
}

/// A problem in full precision, so that the two differ by rounding alone.
fn problem(
    transform: Arc<dyn Transform>,
    regulariser: Arc<dyn Regulariser>,
    data: SsdData,
    size: &[usize],
) -> EnergyProblem {
    let grid = Grid::axis_aligned(size, &[1.0, 1.2, 0.9][..size.len()]).unwrap();
    EnergyProblem::new(data, regulariser, 0.02, transform, grid)
}

#[test]
fn gauss_newton_takes_the_same_way() {
    let transforms: [Arc<dyn Transform>; 2] = [Arc::new(Compositive), Arc::new(Displacement)];
    for (stage, size) in Stage::all()
        .iter()
        .flat_map(|s| SIZES.map(|size| (s, size)))
    {
        let regularisers: [Arc<dyn Regulariser>; 3] = [
            Arc::new(Diffusion),
            Arc::new(Elastic::default()),
            Arc::new(Bending::default()),
        ];
        for ((channels, transform), regulariser) in [1, 3]
            .into_iter()
            .zip(&transforms)
            .flat_map(|kind| regularisers.each_ref().map(|r| (kind, r)))
        {
            let data = SsdData {
                fixed: smooth_noise(channels, size, 1),
                moving: smooth_noise(channels, size, 1),
                mask: None,
                channel_weight: vec![1.0; channels],
                map: Affine::new(
                    [[1.0, 0.05, 0.0], [-0.05, 1.0, 0.0], [0.0, 0.0, 1.0]],
                    [0.4, 0.3, 0.0],
                ),
                interpolation: Interpolation::Linear,
            };
            let there = SsdData {
                fixed: stage.put(&data.fixed),
                moving: stage.put(&data.moving),
                ..data.clone()
            };
            let start = |device: &Device| {
                let mut shape = vec![size.len()];
                shape.extend(size.iter().rev());
                Tensor::zeros(shape, DType::F32, device).unwrap()
            };
            let solver = GaussNewton {
                steps: 6,
                ..GaussNewton::default()
            };
            let here = problem(transform.clone(), regulariser.clone(), data, size);
            let there = problem(transform.clone(), regulariser.clone(), there, size);
            let solve = |problem: &EnergyProblem, device: &Device| {
                solver
                    .solve(problem, start(device), &mut |_| Ok(()))
                    .unwrap()
            };
            let expected = solve(&here, &Device::Cpu);
            let got = stage.run(|| solve(&there, stage.device()));
            assert_eq!(expected.status, got.status);
            assert_eq!(expected.products(), got.products());
            let energies = |iterations: &[crate::Iteration]| -> Vec<f64> {
                iterations.iter().map(|i| i.energy).collect()
            };
            let (before, after) = (energies(&expected.iterations), energies(&got.iterations));
            // bending leaves stiffer systems: as many products do not solve them as well, and roundings go farther
            let (left, more) = match regulariser.name() {
                "bending" => (0.5, 20.0),
                _ => (0.2, 1.0),
            };
            assert!(before[before.len() - 1] < left * before[0], "{before:?}");
            stage.numbers("energies", &before, &after, 1e-5 * more);
            stage.same("solution", &[&expected.theta], &[&got.theta], 1e-3 * more);
        }
    }
}

/// Soft labels of two structures, some of whose voxels count half, and two points on top of what [`problem`] has.
#[test]
fn prompts_are_part_of_the_model() {
    for (stage, size) in Stage::all()
        .iter()
        .flat_map(|s| SIZES.map(|size| (s, size)))
    {
        let rank = size.len();
        let term = |channels: usize, seed: u64, masked: bool| SsdData {
            fixed: smooth_noise(channels, size, seed),
            moving: smooth_noise(channels, size, seed + 1),
            mask: masked.then(|| {
                let mask = smooth_noise(1, size, seed + 2).squeeze(0).unwrap();
                let mask = mask.ge(0.0).unwrap().to_dtype(DType::F32).unwrap();
                mask.affine(0.5, 0.5).unwrap()
            }),
            channel_weight: vec![0.7; channels],
            map: Affine::identity(),
            interpolation: Interpolation::Linear,
        };
        let carried = |data: &SsdData| SsdData {
            fixed: stage.put(&data.fixed),
            moving: stage.put(&data.moving),
            mask: data.mask.as_ref().map(|mask| stage.put(mask)),
            ..data.clone()
        };
        let (data, labels) = (term(1, 1, false), term(2, 5, true));
        let (there, labels_there) = (carried(&data), carried(&labels));
        let made = |data, labels| {
            let mut problem = problem(Arc::new(Compositive), Arc::new(Diffusion), data, size);
            problem.prompts.labels = vec![labels];
            problem.prompts.landmarks = vec![LandmarkData {
                points: vec![[3.3, 4.1, 2.6], [7.9, 2.2, 0.4]],
                targets: vec![[4.0, 3.0, 2.0], [7.0, 4.0, 1.0]],
                metric: [[1.0, 0.1, 0.0], [0.1, 1.2, 0.0], [0.0, 0.0, 0.9]],
                spread: [1.0, 1.4, 0.7],
                weight: 0.8,
            }];
            problem
        };
        let (here, there) = (made(data, labels), made(there, labels_there));
        let u = (smooth_noise(rank, size, 9) * 2.0).unwrap();
        let (v, what) = (stage.put(&u), format!("{size:?}"));
        let model = |problem: &EnergyProblem, u: &Tensor| {
            let g = u.zeros_like().unwrap();
            let model = problem.linearise(u, Curvature::GaussNewton, &g).unwrap();
            let q = g.zeros_like().unwrap();
            model.operator.apply(&g, &q).unwrap();
            let z = g.zeros_like().unwrap();
            model.preconditioner.apply(&g, &z).unwrap();
            let energies = [model.energy, problem.value(u).unwrap()];
            (energies, g, q, z)
        };
        let (energies, g, q, z) = model(&here, &u);
        let got = stage.run(|| model(&there, &v));
        stage.numbers(&what, &energies, &got.0, 1e-6);
        stage.same(&what, &[&g, &q], &[&got.1, &got.2], 1e-5);
        stage.same(&what, &[&z], &[&got.3], 1e-4);
    }
}

#[test]
fn trust_regions_find_the_same_minimum() {
    // shrinks that such a barrier acts on are everywhere
    let barrier = FoldBarrier {
        weight: 0.003,
        threshold: 0.95,
    };
    let compositive: Arc<dyn Transform> = Arc::new(Compositive);
    let displacement: Arc<dyn Transform> = Arc::new(Displacement);
    for (stage, size) in Stage::all()
        .iter()
        .flat_map(|s| SIZES.map(|size| (s, size)))
    {
        for (channels, transform, compact, dtype, barrier) in [
            (1, &compositive, false, DType::F32, None),
            (3, &displacement, true, DType::F32, None),
            (1, &compositive, true, DType::F64, Some(barrier)),
            (2, &compositive, false, DType::F64, Some(barrier)),
        ] {
            let found = |device: &Device, put: &dyn Fn(&Tensor) -> Tensor| {
                let put = |seed| {
                    let features = smooth_noise(channels, size, seed);
                    put(&features.to_dtype(dtype).unwrap())
                };
                let data = SsdData {
                    fixed: put(1),
                    moving: put(1),
                    mask: None,
                    channel_weight: vec![1.0; channels],
                    map: Affine::new(
                        [[1.0, 0.05, 0.0], [-0.05, 1.0, 0.0], [0.0, 0.0, 1.0]],
                        [0.4, 0.3, 0.0],
                    ),
                    interpolation: Interpolation::Cubic,
                };
                let regulariser = Arc::new(Diffusion);
                let mut problem = problem(transform.clone(), regulariser, data, size);
                problem.compact = compact;
                problem.barrier = barrier;
                let mut shape = vec![size.len()];
                shape.extend(size.iter().rev());
                let start = Tensor::zeros(shape, dtype, device).unwrap();
                let solver = TrustRegion {
                    gradient: if dtype == DType::F64 { 1e-6 } else { 1e-3 },
                    ..TrustRegion::default()
                };
                let solution = solver.solve(&problem, start, &mut |_| Ok(())).unwrap();
                let shrunk = problem.barrier_value(&solution.theta).unwrap();
                (solution, shrunk)
            };
            let (expected, shrunk) = found(&Device::Cpu, &Tensor::clone);
            let (got, shrunk_there) = stage.run(|| found(stage.device(), &|t| stage.put(t)));
            for found in [&expected, &got] {
                assert_eq!(found.status, Status::Converged);
                assert!(found.certificate.strict_minimum, "{:?}", found.certificate);
            }
            let energy = |solution: &Solution| solution.iterations.last().unwrap().energy;
            let share = if dtype == DType::F64 { 1e-3 } else { 1.0 };
            let what = format!("{size:?}, {channels} channels, {dtype:?}");
            assert_eq!(shrunk > 0.0, barrier.is_some(), "{what}");
            let there = [energy(&got), shrunk_there];
            stage.numbers(&what, &[energy(&expected), shrunk], &there, 1e-5 * share);
            stage.same(&what, &[&expected.theta], &[&got.theta], 1e-2 * share);
        }
    }
}

/// Both images of a phantom as levels, on a device.
fn levels(size: &[usize], put: impl Fn(&Tensor) -> Tensor) -> [Level; 2] {
    let phantom = Phantom::pair(size, &vec![4.0; size.len()], 3).unwrap();
    [&phantom.fixed, &phantom.moving].map(|values| {
        let mut shape = vec![1];
        shape.extend(phantom.grid.shape());
        let features = Tensor::from_vec(values.clone(), shape, &Device::Cpu).unwrap();
        Level {
            features: put(&features),
            grid: phantom.grid.clone(),
        }
    })
}

fn registered(
    deformation: &Deformation,
    [fixed, moving]: &[Level; 2],
    mask: Option<&Tensor>,
    prompts: &[Prompt],
) -> crate::Result<MultilevelSolution> {
    let pair = Pair {
        fixed: Pyramid::Finest(fixed),
        moving: Pyramid::Finest(moving),
        affine: Affine::identity(),
        channel_weights: None,
        fixed_mask: mask,
        moving_mask: mask,
        prompts,
    };
    deformation
        .multilevel(vec![2, 1])
        .solve(&pair, &mut |_, _| Ok(()))
}

#[test]
fn a_registration_of_two_levels_ends_at_the_same_place() {
    let compositive: Arc<dyn Transform> = Arc::new(Compositive);
    let velocity: Arc<dyn Transform> = Arc::new(Velocity::default());
    let control_points: Arc<dyn Transform> = Arc::new(BSpline::default());
    let affine: Arc<dyn Transform> = Arc::new(GlobalAffine);
    for (stage, size) in Stage::all()
        .iter()
        .flat_map(|s| SIZES.map(|size| (s, size)))
    {
        for (masked, transform, features) in [
            (false, &compositive, Features::Intensities),
            (true, &compositive, Features::CoarseMind),
            (false, &compositive, Features::Both),
            (false, &velocity, Features::Intensities),
            (true, &control_points, Features::Intensities),
            (false, &affine, Features::Intensities),
        ] {
            let on = |device: &Device| Deformation {
                transform: transform.clone(),
                features,
                device: device.clone(),
                ..Deformation::default()
            };
            let mut shape: Vec<usize> = size.iter().rev().copied().collect();
            let mask = Tensor::ones(shape.clone(), DType::F32, &Device::Cpu).unwrap();
            shape[0] = 3;
            let mask = mask.slice_assign(
                &shape.iter().map(|&n| 0..n).collect::<Vec<_>>(),
                &Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap(),
            );
            let mask = masked.then(|| mask.unwrap());
            let (here, there) = (levels(size, Tensor::clone), levels(size, |t| stage.put(t)));
            let mask_there = mask.as_ref().map(|mask| stage.put(mask));
            let expected = registered(&on(&Device::Cpu), &here, mask.as_ref(), &[]).unwrap();
            let got = stage
                .run(|| registered(&on(stage.device()), &there, mask_there.as_ref(), &[]))
                .unwrap();
            assert_eq!(got.levels.len(), 2);
            for (expected, got) in expected.levels.iter().zip(&got.levels) {
                assert!(!matches!(got.status, Status::NonFinite | Status::Stalled));
                let total = |l: &crate::LevelReport| [l.data + l.penalty, l.gradient_energy];
                // halves round on their own ways, and a level ends with a last step of up to a hundredth
                stage.numbers("energy", &total(expected), &total(got), 3e-3);
            }
            let far = (got.displacement.to_device(&Device::Cpu).unwrap() - &expected.displacement)
                .unwrap()
                .sqr()
                .unwrap()
                .mean_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap();
            assert!(far.sqrt() < 0.02, "{} voxels apart", far.sqrt());
        }
    }
}

#[test]
fn a_certified_registration_finds_the_same_minimum() {
    let compositive: Arc<dyn Transform> = Arc::new(Compositive);
    let velocity: Arc<dyn Transform> = Arc::new(Velocity::default());
    let cases = CERTIFIED.map(|size| (size, &compositive));
    let cases: Vec<_> = cases
        .into_iter()
        .chain([(CERTIFIED[0], &velocity)])
        .collect();
    for (stage, &(size, transform)) in Stage::all()
        .iter()
        .flat_map(|stage| cases.iter().map(move |case| (stage, case)))
    {
        let on = |device: &Device| Deformation {
            transform: transform.clone(),
            features: Features::Intensities,
            certify: true,
            device: device.clone(),
            ..Deformation::default()
        };
        let (here, there) = (levels(size, Tensor::clone), levels(size, |t| stage.put(t)));
        let expected = registered(&on(&Device::Cpu), &here, None, &[]).unwrap();
        let got = stage.run(|| registered(&on(stage.device()), &there, None, &[]).unwrap());
        for (expected, got) in expected.levels.iter().zip(&got.levels) {
            for level in [expected, got] {
                assert_eq!(level.status, Status::Converged);
                assert!(level.certificate.strict_minimum);
            }
            let total = |l: &crate::LevelReport| [l.data + l.penalty + l.barrier];
            stage.numbers("energy", &total(expected), &total(got), 1e-6);
        }
        let fields = [&expected.displacement, &got.displacement];
        stage.same("displacement", &fields[..1], &fields[1..], 1e-3);
    }
}

#[test]
fn prompts_steer_as_on_the_cpu() {
    for (stage, size) in Stage::all()
        .iter()
        .flat_map(|s| SIZES.map(|size| (s, size)))
    {
        let phantom = Phantom::pair(size, &vec![4.0; size.len()], 3).unwrap();
        let labels = |values: &[u32]| Labels::new(phantom.grid.clone(), values.to_vec()).unwrap();
        let [fixed, moving] = [&phantom.fixed_labels, &phantom.moving_labels].map(|v| labels(v));
        // every fifth voxel of large structures is marked
        let sparse = |values: &[u32]| -> Vec<u32> {
            let mark = |(k, v): (usize, &u32)| if k % 5 == 0 && *v <= 4 { *v } else { 0 };
            values.iter().enumerate().map(mark).collect()
        };
        let marks = [&phantom.fixed_labels, &phantom.moving_labels].map(|v| labels(&sparse(v)));
        let [fixed_marks, moving_marks] = marks;
        let mut scribbles = Prompt::scribbles(fixed_marks, moving_marks).unwrap();
        scribbles.off_at_finest = true;
        let to_world = phantom.grid.index_to_world();
        let at = |share: f64, more: f64| {
            to_world.apply(std::array::from_fn(|a| {
                size.get(a).map_or(0.0, |&n| share * n as f64 + more)
            }))
        };
        let points = Prompt::points(
            vec![at(0.4, 0.0), at(0.6, 0.2)],
            vec![at(0.4, 0.7), at(0.6, -0.6)],
        );
        let prompts = [
            Prompt::labels(fixed, moving, &[2]).unwrap(),
            scribbles,
            points.unwrap(),
        ];
        let on = |device: &Device| Deformation {
            features: Features::Intensities,
            // later ones may part: a level ends by what an iteration gains, which leaps at borders of structures
            iterations: Some(vec![2, 2]),
            device: device.clone(),
            ..Deformation::default()
        };
        let (here, there) = (levels(size, Tensor::clone), levels(size, |t| stage.put(t)));
        let expected = registered(&on(&Device::Cpu), &here, None, &prompts).unwrap();
        let got = stage
            .run(|| registered(&on(stage.device()), &there, None, &prompts))
            .unwrap();
        for (expected, got) in expected.levels.iter().zip(&got.levels) {
            assert!(expected.prompts > 0.0);
            let parts = |l: &crate::LevelReport| [l.data + l.penalty + l.prompts, l.prompts];
            stage.numbers("energy", &parts(expected), &parts(got), 3e-3);
        }
        let fields = [&expected.displacement, &got.displacement];
        stage.same("displacement", &fields[..1], &fields[1..], 0.03);
    }
}

#[test]
fn what_a_device_cannot_solve_is_named() {
    for stage in Stage::all() {
        let many = levels(SIZES[0], |t| {
            stage.put(&t.repeat((257, 1, 1)).unwrap().contiguous().unwrap())
        });
        let deformation = Deformation {
            features: Features::Intensities,
            device: stage.device().clone(),
            ..Deformation::default()
        };
        let refused = stage
            .run(|| registered(&deformation, &many, None, &[]))
            .unwrap_err();
        assert!(matches!(refused, Error::NotOnDevice { .. }), "{refused}");
        assert!(refused.to_string().contains("257 channels"), "{refused}");
    }
}
