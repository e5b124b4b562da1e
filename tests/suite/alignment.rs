//! Linear alignment: derivatives match differences, known maps come back, and what went wrong is said.

use candle_core::{Device, Tensor};
use stillpoint::{
    align, Affine, Alignment, AlignmentPair, AlignmentStart, CorrelationData, Error, Grid, Level,
    Linear, LinearKind, Phantom, Rng,
};

const KINDS: [LinearKind; 3] = LinearKind::ALL;

fn rotation(axis: [f64; 3], degrees: f64) -> [[f64; 3]; 3] {
    let norm = axis.iter().map(|v| v * v).sum::<f64>().sqrt();
    let [x, y, z] = axis.map(|v| v / norm * degrees.to_radians());
    let generator = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]];
    Affine::exp(&Affine::new(generator, [0.0; 3])).matrix
}

/// A linear interpolation of values (first axis fastest) at an index position, zero outside.
fn sample(values: &[f32], size: &[usize], p: [f64; 3]) -> f64 {
    let n = |a: usize| size.get(a).copied().unwrap_or(1);
    let mut sum = 0.0;
    for corner in 0..1usize << size.len() {
        let (mut weight, mut at, mut stride) = (1.0, 0, 1);
        for a in 0..size.len() {
            let low = p[a].floor();
            let up = corner >> a & 1;
            let i = low + up as f64;
            if i < 0.0 || i >= n(a) as f64 {
                weight = 0.0;
                break;
            }
            let part = p[a] - low;
            weight *= if up == 1 { part } else { 1.0 - part };
            at += stride * i as usize;
            stride *= n(a);
        }
        if weight > 0.0 {
            sum += weight * f64::from(values[at]);
        }
    }
    sum
}

fn index(grid: &Grid, v: usize) -> [f64; 3] {
    let size = grid.size();
    [
        (v % size[0]) as f64,
        (v / size[0] % size[1]) as f64,
        (v / (size[0] * size[1])) as f64,
    ]
}

fn level(grid: &Grid, values: Vec<f32>) -> Level {
    let shape = [&[1], grid.shape().as_slice()].concat();
    Level {
        features: Tensor::from_vec(values, shape, &Device::Cpu).unwrap(),
        grid: grid.clone(),
    }
}

/// The image that `map` (fixed world to moving world) carries the fixed one to, on a grid of its own and with another
/// contrast.
fn carried(fixed: &[f32], from: &Grid, map: &Affine, to: &Grid) -> Vec<f32> {
    let back = from
        .world_to_index()
        .compose(&map.inverse().unwrap())
        .compose(&to.index_to_world());
    (0..to.voxels())
        .map(|v| 40.0 + 300.0 * sample(fixed, from.size(), back.apply(index(to, v))) as f32)
        .collect()
}

fn run(
    fixed: &Level,
    moving: &Level,
    start: AlignmentStart,
    stages: &[LinearKind],
) -> stillpoint::Result<Alignment> {
    let pair = AlignmentPair {
        fixed,
        moving,
        fixed_mask: None,
        moving_mask: None,
    };
    align(&pair, &start, stages, &mut |_, _, _, _| Ok(()))
}

/// The largest error of a map over the middle half of the fixed grid, in its voxels.
fn error(found: &Affine, truth: &Affine, grid: &Grid) -> f64 {
    let quarter: Vec<usize> = grid.size().iter().map(|n| n / 4).collect();
    let half: Vec<usize> = grid.size().iter().map(|n| n / 2).collect();
    let corners = grid.cropped(&quarter, &half).unwrap().corners();
    let voxel = grid.spacing().iter().copied().fold(f64::INFINITY, f64::min);
    found.distance_over(truth, &corners) / voxel
}

/// An oblique, flipped and anisotropic grid about a world point.
fn oblique(rank: usize, size: &[usize], spacing: &[f64], centre: [f64; 3]) -> Grid {
    let mut direction = if rank == 3 {
        rotation([1.0, 2.0, -0.5], 25.0)
    } else {
        rotation([0.0, 0.0, 1.0], 25.0)
    };
    direction.iter_mut().for_each(|row| row[0] = -row[0]);
    let grid = Grid::new(size, spacing, [0.0; 3], direction).unwrap();
    let off = grid.centre();
    let origin = std::array::from_fn(|a| centre[a] - off[a]);
    Grid::new(size, spacing, origin, direction).unwrap()
}

/// A phantom's fixed image, and the grids on which it is seen again.
fn subject(rank: usize) -> (Phantom, Grid) {
    if rank == 3 {
        let phantom = Phantom::pair(&[64, 76, 60], &[2.8, 2.8, 3.0], 4).unwrap();
        let other = oblique(3, &[80, 70, 52], &[2.6, 3.2, 4.4], [35.0, -60.0, 20.0]);
        (phantom, other)
    } else {
        let phantom = Phantom::pair(&[120, 140], &[1.5, 1.5], 4).unwrap();
        let other = oblique(2, &[150, 110], &[1.3, 2.0], [35.0, -60.0, 0.0]);
        (phantom, other)
    }
}

fn truth(rank: usize, kind: LinearKind, degrees: f64) -> Affine {
    let mut matrix = if rank == 3 {
        rotation([0.4, -1.0, 0.7], degrees)
    } else {
        rotation([0.0, 0.0, 1.0], degrees)
    };
    let scale = match kind {
        LinearKind::Rigid => [1.0; 3],
        LinearKind::Similarity => [1.12; 3],
        LinearKind::Affine => [1.1, 0.92, 1.05],
    };
    for row in matrix.iter_mut().take(rank) {
        for c in 0..rank {
            row[c] *= scale[c];
        }
    }
    if kind == LinearKind::Affine {
        matrix[0][1] += 0.06;
    }
    Affine::new(matrix, [31.0, -56.0, if rank == 3 { 24.0 } else { 0.0 }])
}

#[test]
fn the_derivative_of_a_linear_map_is_that_of_differences() {
    for rank in [2, 3] {
        for kind in KINDS {
            let centre = [12.0, -30.0, if rank == 3 { 7.0 } else { 0.0 }];
            let linear = Linear::new(kind, rank, centre).unwrap();
            let n = linear.parameters();
            let expected = match (rank, kind) {
                (2, LinearKind::Rigid) => 3,
                (2, LinearKind::Similarity) => 4,
                (2, LinearKind::Affine) | (3, LinearKind::Rigid) => 6,
                (_, LinearKind::Similarity) => 7,
                _ => 12,
            };
            assert_eq!(n, expected);
            assert_eq!(linear.affine(&vec![0.0; n]).unwrap(), Affine::identity());
            for (k, derivative) in linear.derivatives().iter().enumerate() {
                let h = 1e-5;
                let at = |t: f64| {
                    let mut p = vec![0.0; n];
                    p[k] = t;
                    linear.affine(&p).unwrap()
                };
                let (up, down) = (at(h), at(-h));
                for a in 0..3 {
                    let slope = (up.translation[a] - down.translation[a]) / (2.0 * h);
                    assert!((slope - derivative.translation[a]).abs() < 1e-7);
                    for b in 0..3 {
                        let slope = (up.matrix[a][b] - down.matrix[a][b]) / (2.0 * h);
                        assert!((slope - derivative.matrix[a][b]).abs() < 1e-8);
                    }
                }
            }
        }
    }
}

#[test]
fn maps_stay_in_their_kind_and_turn_about_their_centre() {
    let mut rng = Rng::new(8);
    for rank in [2, 3] {
        for kind in [LinearKind::Rigid, LinearKind::Similarity] {
            let centre = [12.0, -30.0, if rank == 3 { 7.0 } else { 0.0 }];
            let linear = Linear::new(kind, rank, centre).unwrap();
            let n = linear.parameters();
            let mut p: Vec<f64> = (0..n).map(|_| 0.7 * rng.normal()).collect();
            p[n - rank..].fill(0.0);
            let map = linear.affine(&p).unwrap();
            let moved = map.apply(centre);
            assert!((0..3).all(|a| (moved[a] - centre[a]).abs() < 1e-12));
            let scale = if kind == LinearKind::Similarity {
                p[n - rank - 1].exp()
            } else {
                1.0
            };
            for a in 0..rank {
                for b in 0..rank {
                    let dot: f64 = (0..3).map(|r| map.matrix[r][a] * map.matrix[r][b]).sum();
                    let expected = if a == b { scale * scale } else { 0.0 };
                    assert!((dot - expected).abs() < 1e-11, "{dot} {expected}");
                }
            }
            assert!(rank == 3 || map.matrix[2] == [0.0, 0.0, 1.0]);
        }
    }
    assert!(Linear::new(LinearKind::Rigid, 4, [0.0; 3]).is_err());
    assert!(Linear::new(LinearKind::Rigid, 3, [f64::NAN; 3]).is_err());
    let linear = Linear::new(LinearKind::Rigid, 3, [0.0; 3]).unwrap();
    assert!(matches!(linear.affine(&[0.0; 5]), Err(Error::Shape { .. })));
}

/// Random data of two channels, with masks, in double precision.
fn random(fixed: &[usize], moving: &[usize]) -> CorrelationData {
    let mut rng = Rng::new(5);
    let mut tensor = |channels: usize, size: &[usize], mask: bool| {
        let mut shape: Vec<usize> = size.iter().rev().copied().collect();
        let n = channels * size.iter().product::<usize>();
        let values: Vec<f64> = (0..n)
            .map(|_| if mask { rng.uniform() } else { rng.normal() })
            .collect();
        if !mask {
            shape.insert(0, channels);
        }
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    CorrelationData {
        fixed: tensor(2, fixed, false),
        moving: tensor(2, moving, false),
        fixed_mask: Some(tensor(1, fixed, true)),
        moving_mask: Some(tensor(1, moving, true)),
    }
}

/// A map between the grids that keeps everything inside, or not.
fn index_map(rank: usize, inside: bool) -> Affine {
    let mut m = rotation([0.2, 0.1, 1.0], if rank == 3 { 17.0 } else { 0.0 });
    if rank == 2 {
        m = rotation([0.0, 0.0, 1.0], 17.0);
    }
    let shift = if inside { 4.3 } else { -1.2 };
    Affine::new(m, [shift, 2.1, if rank == 3 { 2.3 } else { 0.0 }])
}

fn sizes(rank: usize) -> (Vec<usize>, Vec<usize>) {
    if rank == 3 {
        (vec![19, 8, 7], vec![27, 21, 13])
    } else {
        (vec![19, 8], vec![27, 21])
    }
}

fn values(x: &Tensor) -> Vec<f32> {
    let all = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    all.iter().map(|&v| v as f32).collect()
}

#[test]
fn the_sums_match_a_plain_loop_inside_and_at_the_border() {
    for rank in [2, 3] {
        let (fixed, moving) = sizes(rank);
        let mut data = random(&fixed, &moving);
        // single precision values, so that the reference reads the same numbers
        for x in [&mut data.fixed, &mut data.moving] {
            *x = x
                .to_dtype(candle_core::DType::F32)
                .unwrap()
                .to_dtype(candle_core::DType::F64)
                .unwrap();
        }
        for inside in [true, false] {
            let map = index_map(rank, inside);
            let found = data.sums(&map).unwrap();
            let (n, m): (usize, usize) = (fixed.iter().product(), moving.iter().product());
            let (f, g) = (values(&data.fixed), values(&data.moving));
            let fixed_mask = values(data.fixed_mask.as_ref().unwrap());
            let moving_mask = values(data.moving_mask.as_ref().unwrap());
            for c in 0..2 {
                let mut sums = [0.0; 6];
                for v in 0..n {
                    let x = [
                        v % fixed[0],
                        v / fixed[0] % fixed[1],
                        v / (fixed[0] * fixed[1]),
                    ];
                    let p = map.apply(x.map(|i| i as f64));
                    let mut w = f64::from(fixed_mask[v]);
                    let mut near = [0.0; 3];
                    for a in 0..rank {
                        let last = moving[a] as f64 - 1.0;
                        w *= (p[a] + 0.5).min(last + 0.5 - p[a]).clamp(0.0, 1.0);
                        near[a] = p[a].clamp(0.0, last);
                    }
                    w *= sample(&moving_mask, &moving, near);
                    let a = f64::from(f[c * n + v]);
                    let b = sample(&g[c * m..(c + 1) * m], &moving, near);
                    for (sum, term) in sums.iter_mut().zip([1.0, a, b, a * a, a * b, b * b]) {
                        *sum += w * term;
                    }
                }
                let s = &found[c];
                let found = [
                    s.weight,
                    s.fixed,
                    s.moving,
                    s.fixed_fixed,
                    s.fixed_moving,
                    s.moving_moving,
                ];
                for (a, b) in sums.iter().zip(found) {
                    assert!((a - b).abs() < 1e-4 * sums[0], "{sums:?} {found:?}");
                }
                let all = fixed_mask.iter().sum::<f32>();
                assert!(sums[0] > 0.1 * f64::from(all), "hardly any overlap");
            }
        }
    }
}

#[test]
fn the_derivatives_of_the_sums_are_those_of_differences() {
    for rank in [2, 3] {
        let (fixed, moving) = sizes(rank);
        let mut data = random(&fixed, &moving);
        // the moving weights count as constant
        data.moving_mask = None;
        let map = index_map(rank, true);
        let mut rng = Rng::new(9);
        let directions: Vec<Affine> = (0..5)
            .map(|_| {
                let mut d = Affine::new([[0.0; 3]; 3], [0.0; 3]);
                for a in 0..rank {
                    d.translation[a] = rng.normal();
                    for b in 0..rank {
                        d.matrix[a][b] = 0.1 * rng.normal();
                    }
                }
                d
            })
            .collect();
        let found = data.derivative(&map, &directions).unwrap();
        let whole: f64 = data.sums(&map).unwrap()[0].weight;
        let all = data.fixed_mask.as_ref().unwrap().sum_all().unwrap();
        let all = all.to_scalar::<f64>().unwrap();
        assert!((whole - all).abs() < 1e-9, "the map must stay inside");
        let h = 1e-6;
        let moved = |k: usize, t: f64| {
            let d = &directions[k];
            Affine::new(
                std::array::from_fn(|r| {
                    std::array::from_fn(|c| map.matrix[r][c] + t * d.matrix[r][c])
                }),
                std::array::from_fn(|r| map.translation[r] + t * d.translation[r]),
            )
        };
        for c in 0..2 {
            for k in 0..directions.len() {
                let up = data.sums(&moved(k, h)).unwrap()[c];
                let down = data.sums(&moved(k, -h)).unwrap()[c];
                let slope = |a: f64, b: f64| (a - b) / (2.0 * h);
                let d = &found[c];
                for (exact, difference) in [
                    (d.slope[k], slope(up.moving, down.moving)),
                    (d.slope_fixed[k], slope(up.fixed_moving, down.fixed_moving)),
                    (
                        2.0 * d.slope_moving[k],
                        slope(up.moving_moving, down.moving_moving),
                    ),
                ] {
                    assert!(
                        (exact - difference).abs() < 1e-4 * whole,
                        "{rank} {c} {k}: {exact} {difference}"
                    );
                }
                // q'q: second differences of sum w (m(k) - m)^2 by the sums themselves, in the limit of small steps
                for l in 0..directions.len() {
                    let other = d.slope_slope[l * directions.len() + k];
                    let here = d.slope_slope[k * directions.len() + l];
                    assert!((here - other).abs() < 1e-9 * whole);
                }
            }
        }
    }
}

#[test]
fn products_of_slopes_are_those_of_warped_differences() {
    for rank in [2, 3] {
        let (fixed, moving) = sizes(rank);
        let data = random(&fixed, &moving);
        let map = index_map(rank, false);
        // one voxel at a time: with a mask of one voxel, `q q'` is the product of two slopes
        let n: usize = fixed.iter().product();
        let directions: Vec<Affine> = (0..rank * (rank + 1))
            .map(|e| {
                let mut d = Affine::new([[0.0; 3]; 3], [0.0; 3]);
                if e % (rank + 1) == rank {
                    d.translation[e / (rank + 1)] = 1.0;
                } else {
                    d.matrix[e / (rank + 1)][e % (rank + 1)] = 1.0;
                }
                d
            })
            .collect();
        let k = directions.len();
        let whole = data.derivative(&map, &directions).unwrap();
        let mut sum = vec![0.0; k * k];
        let mask = data.fixed_mask.as_ref().unwrap();
        let mask = mask.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for v in 0..n {
            let mut one = vec![0.0; n];
            one[v] = mask[v];
            let shape: Vec<usize> = fixed.iter().rev().copied().collect();
            let single = CorrelationData {
                fixed_mask: Some(Tensor::from_vec(one, shape, &Device::Cpu).unwrap()),
                ..data.clone()
            };
            let d = &single.derivative(&map, &directions).unwrap()[1];
            if d.sums.weight > 0.0 {
                for (e, s) in sum.iter_mut().enumerate() {
                    *s += d.slope[e / k] * d.slope[e % k] / d.sums.weight;
                }
            }
        }
        let scale = sum.iter().fold(0.0f64, |a, s| a.max(s.abs()));
        for (a, b) in sum.iter().zip(&whole[1].slope_slope) {
            assert!((a - b).abs() < 1e-10 * scale, "{a} {b}");
        }
    }
}

#[test]
fn known_maps_come_back_on_other_grids_and_contrasts() {
    for rank in [2, 3] {
        let (phantom, grid) = subject(rank);
        let fixed = level(&phantom.grid, phantom.fixed.clone());
        for kind in KINDS {
            let truth = truth(rank, kind, 14.0);
            let moving = carried(&phantom.fixed, &phantom.grid, &truth, &grid);
            let moving = level(&grid, moving);
            for start in [AlignmentStart::Centres, AlignmentStart::Moments] {
                let found = run(&fixed, &moving, start, &[kind]).unwrap();
                let error = error(&found.affine, &truth, &phantom.grid);
                println!(
                    "{rank} {kind:?} {start:?}: {error:.3} voxels, {}",
                    found.energy
                );
                assert!(error < 0.35, "{rank} {kind:?} {start:?}: {error} voxels");
                let stage = &found.stages[0];
                assert!(stage.kept && stage.energy_after < stage.energy_before);
                assert_eq!(stage.affine, found.affine);
            }
        }
    }
}

#[test]
fn large_rotations_come_back_from_moments() {
    for rank in [2, 3] {
        let (phantom, grid) = subject(rank);
        let fixed = level(&phantom.grid, phantom.fixed.clone());
        for degrees in [90.0, 120.0, 150.0, 180.0] {
            let truth = truth(rank, LinearKind::Rigid, degrees);
            let moving = carried(&phantom.fixed, &phantom.grid, &truth, &grid);
            let moving = level(&grid, moving);
            let found = run(
                &fixed,
                &moving,
                AlignmentStart::Moments,
                &[LinearKind::Rigid],
            );
            let found = found.unwrap();
            let error = error(&found.affine, &truth, &phantom.grid);
            println!(
                "{rank} {degrees}: {error:.3} voxels from {}",
                found.start.name
            );
            assert!(error < 0.35, "{rank} {degrees}: {error} voxels");
            assert!(found
                .start
                .candidates
                .iter()
                .any(|c| c.name == found.start.name));
        }
    }
}

#[test]
fn stages_follow_each_other_and_one_that_cannot_help_is_dropped() {
    let (phantom, grid) = subject(3);
    let fixed = level(&phantom.grid, phantom.fixed.clone());
    let truth = truth(3, LinearKind::Rigid, 10.0);
    let moving = level(&grid, carried(&phantom.fixed, &phantom.grid, &truth, &grid));
    let found = run(&fixed, &moving, AlignmentStart::Centres, &KINDS).unwrap();
    assert_eq!(found.stages.len(), 3);
    assert!(found.stages[0].kept);
    assert!(error(&found.affine, &truth, &phantom.grid) < 0.35);
    // an image is aligned with itself
    let found = run(&fixed, &fixed, AlignmentStart::Identity, &KINDS).unwrap();
    for stage in &found.stages {
        let reason = stage.reason.as_deref().unwrap();
        assert!(!stage.kept && reason.contains("does not lower"), "{reason}");
    }
    assert_eq!(found.affine, Affine::identity());
    let text = serde_json::to_string(&found).unwrap();
    assert!(text.contains("\"kept\":false") && text.contains("\"kind\":\"affine\""));
    let wrong = [LinearKind::Affine, LinearKind::Rigid];
    let refused = run(&fixed, &fixed, AlignmentStart::Identity, &wrong);
    assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
}

#[test]
fn masks_keep_out_what_does_not_belong() {
    let (phantom, _) = subject(2);
    let grid = &phantom.grid;
    let truth = truth(2, LinearKind::Rigid, 8.0);
    let near = Affine::new(truth.matrix, [4.0, -6.0, 0.0]);
    let mut moving = carried(&phantom.fixed, grid, &near, grid);
    let mut weights = vec![1.0f32; grid.voxels()];
    // a bright plate over a part of the moving image
    let size = grid.size();
    for j in size[1] / 3..size[1] {
        for i in 2 * size[0] / 3..size[0] {
            moving[j * size[0] + i] = 400.0;
            weights[j * size[0] + i] = 0.0;
        }
    }
    let (fixed, moving) = (level(grid, phantom.fixed.clone()), level(grid, moving));
    let mask = Tensor::from_vec(weights, grid.shape(), &Device::Cpu).unwrap();
    let start = AlignmentStart::Identity;
    let bare = run(&fixed, &moving, start, &[LinearKind::Affine]).unwrap();
    let mut pair = AlignmentPair {
        fixed: &fixed,
        moving: &moving,
        fixed_mask: None,
        moving_mask: Some(&mask),
    };
    let go = |pair: &AlignmentPair<'_>| {
        align(
            pair,
            &start,
            &[LinearKind::Affine],
            &mut |_, _, _, _| Ok(()),
        )
    };
    let masked = go(&pair).unwrap();
    let errors = [bare.affine, masked.affine].map(|a| error(&a, &near, grid));
    println!(
        "without {:.2}, with mask {:.2} voxels",
        errors[0], errors[1]
    );
    assert!(
        errors[1] < 0.35 && errors[0] > 3.0 * errors[1],
        "{errors:?}"
    );
    let nothing = mask.zeros_like().unwrap();
    pair.fixed_mask = Some(&nothing);
    assert!(go(&pair).unwrap_err().to_string().contains("mask"));
    let wrong = Tensor::zeros(vec![3, 3], candle_core::DType::F32, &Device::Cpu).unwrap();
    pair.fixed_mask = Some(&wrong);
    assert!(matches!(go(&pair), Err(Error::Shape { .. })));
}

#[test]
fn images_apart_are_refused_with_a_remedy_that_works() {
    let (phantom, _) = subject(2);
    let grid = &phantom.grid;
    let origin = [grid.origin()[0] + 900.0, grid.origin()[1] - 700.0, 0.0];
    let far = Grid::new(grid.size(), grid.spacing(), origin, grid.direction()).unwrap();
    let (fixed, moving) = (
        level(grid, phantom.fixed.clone()),
        level(&far, phantom.moving.clone()),
    );
    let apart = run(&fixed, &moving, AlignmentStart::Identity, &[]).unwrap_err();
    assert!(matches!(apart, Error::Data { .. }));
    let apart = apart.to_string();
    for part in ["do not overlap", "--init centres", "headers"] {
        assert!(apart.contains(part), "{apart}");
    }
    let shifted = AlignmentStart::Affine(Affine::shift([900.0, -700.0, 0.0]));
    for start in [AlignmentStart::Centres, AlignmentStart::Moments, shifted] {
        let found = run(&fixed, &moving, start, &[LinearKind::Rigid]).unwrap();
        assert!(found.overlap > 0.9, "{start:?} {}", found.overlap);
    }
    let flat = AlignmentStart::Affine(Affine::new([[0.0; 3]; 3], [0.0; 3]));
    assert!(run(&fixed, &moving, flat, &[]).is_err());
    let constant = level(grid, vec![2.0; grid.voxels()]);
    assert!(run(&fixed, &constant, AlignmentStart::Identity, &[]).is_err());
}

#[test]
fn moments_never_end_worse_than_simpler_starts() {
    for (rank, seed) in [(2, 1), (2, 2), (2, 3), (3, 1), (3, 2)] {
        let (size, spacing) = if rank == 2 {
            (vec![100, 120], vec![2.0; 2])
        } else {
            (vec![44, 52, 40], vec![4.0; 3])
        };
        let pair = Phantom::pair(&size, &spacing, seed).unwrap();
        let (fixed, moving) = (
            level(&pair.grid, pair.fixed),
            level(&pair.grid, pair.moving),
        );
        for stages in [&[][..], &[LinearKind::Rigid], &[LinearKind::Affine]] {
            let energy =
                |start: AlignmentStart| run(&fixed, &moving, start, stages).unwrap().energy;
            let found = energy(AlignmentStart::Moments);
            for simple in [AlignmentStart::Identity, AlignmentStart::Centres] {
                let other = energy(simple);
                // descents from two starts may end a little apart in one valley
                assert!(found <= 1.002 * other, "{rank} {seed}: {found} {other}");
            }
        }
    }
}

#[test]
fn a_wrong_voxel_size_is_found_and_said() {
    let phantom = Phantom::pair(&[64, 76, 40], &[2.8, 2.8, 4.0], 4).unwrap();
    let grid = &phantom.grid;
    let wrong = Grid::new(
        grid.size(),
        &[2.8, 2.8, 5.0],
        grid.origin(),
        grid.direction(),
    )
    .unwrap();
    let fixed = level(grid, phantom.fixed.clone());
    let moving = level(&wrong, phantom.fixed.clone());
    let found = run(
        &fixed,
        &moving,
        AlignmentStart::Centres,
        &[LinearKind::Affine],
    )
    .unwrap();
    let scales = &found.scales;
    for (found, expected) in scales.axes.iter().zip([1.0, 1.0, 0.8]) {
        assert!((found - expected).abs() < 0.02, "{scales:?}");
    }
    assert!((scales.singular_values[0] - 1.25).abs() < 0.03);
    let suspicion = scales.suspicion.as_deref().unwrap();
    assert!(
        suspicion.contains("axis k") && suspicion.contains("5.0000"),
        "{suspicion}"
    );
    // a subject that is larger all over is no wrong header
    let larger = truth(3, LinearKind::Similarity, 0.0);
    let other = oblique(3, &[80, 86, 66], &[2.8, 3.0, 3.2], larger.translation);
    let moving = level(&other, carried(&phantom.fixed, grid, &larger, &other));
    let found = run(
        &fixed,
        &moving,
        AlignmentStart::Centres,
        &[LinearKind::Affine],
    )
    .unwrap();
    assert!(found.scales.suspicion.is_none(), "{:?}", found.scales);
    assert!(
        (found.scales.axes[1] - 1.0 / 1.12).abs() < 0.02,
        "{:?}",
        found.scales
    );
}

#[test]
fn the_alignment_has_the_same_bits_at_any_number_of_threads_and_can_be_stopped() {
    let pair = Phantom::pair(&[72, 84, 64], &[2.5; 3], 6).unwrap();
    let (fixed, moving) = (
        level(&pair.grid, pair.fixed),
        level(&pair.grid, pair.moving),
    );
    let go = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let found = pool.unwrap().install(|| {
            run(
                &fixed,
                &moving,
                AlignmentStart::Moments,
                &[LinearKind::Rigid, LinearKind::Affine],
            )
        });
        serde_json::to_string(&found.unwrap()).unwrap()
    };
    assert_eq!(go(1), go(2));
    let images = AlignmentPair {
        fixed: &fixed,
        moving: &moving,
        fixed_mask: None,
        moving_mask: None,
    };
    let mut seen = 0;
    let stopped = align(
        &images,
        &AlignmentStart::Identity,
        &[LinearKind::Affine],
        &mut |kind, level, levels, _| {
            assert!(kind == LinearKind::Affine && level < levels);
            seen += 1;
            if seen == 5 {
                Err(Error::Interrupted)
            } else {
                Ok(())
            }
        },
    );
    assert!(matches!(stopped, Err(Error::Interrupted)) && seen == 5);
}
