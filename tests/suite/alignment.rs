//! Linear alignment: known maps come back, and what went wrong is said.

use candle_core::{Device, Tensor};
use stillpoint::{
    align, read_image, Affine, Alignment, AlignmentPair, AlignmentStart, Error, Grid, Image,
    IntensityRange, Level, LinearKind, Phantom,
};

const KINDS: [LinearKind; 3] = LinearKind::ALL;

pub(super) fn rotation(axis: [f64; 3], degrees: f64) -> [[f64; 3]; 3] {
    let norm = axis.iter().map(|v| v * v).sum::<f64>().sqrt();
    let [x, y, z] = axis.map(|v| v / norm * degrees.to_radians());
    let generator = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]];
    Affine::exp(&Affine::new(generator, [0.0; 3])).matrix
}

/// A linear interpolation of values (first axis fastest) at an index position, zero outside.
pub(super) fn sample(values: &[f32], size: &[usize], p: [f64; 3]) -> f64 {
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
        features: None,
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
        features: None,
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
        features: None,
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

/// An image on the common scale of intensities.
fn scaled(image: &Image) -> Level {
    let mut values = image.values().to_vec();
    IntensityRange::of(&values, "image")
        .unwrap()
        .apply(&mut values);
    level(image.grid(), values)
}

#[test]
fn the_wrong_header_of_a_liver_scan_is_reported() {
    let Some(folder) = std::env::var_os("STILLPOINT_DATA") else {
        println!("skipped: STILLPOINT_DATA does not name the folder of real images");
        return;
    };
    let read = |name: &str| {
        let file = format!("{name}.force_direction.mha");
        scaled(&read_image(std::path::Path::new(&folder).join("liver_mri").join(file)).unwrap())
    };
    let fixed = read("exhMaster_unmasked");
    for (name, wrong) in [("cyc_1_10", true), ("cyc_3_10", false)] {
        let stages = &[LinearKind::Affine];
        let found = run(&fixed, &read(name), AlignmentStart::Moments, stages).unwrap();
        println!("{name}: {:?}", found.scales);
        assert_eq!(
            found.scales.suspicion.is_some(),
            wrong,
            "{:?}",
            found.scales
        );
        if wrong {
            // the header says 5 mm, the truth is 4 mm
            assert!(
                (found.scales.axes[2] - 0.8).abs() < 0.03,
                "{:?}",
                found.scales
            );
        }
    }
}
