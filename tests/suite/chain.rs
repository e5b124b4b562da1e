//! Chains of maps put points, images and labels where mathematics does, on grids of all kinds.

use approx::assert_abs_diff_eq;
use stillpoint::{
    resample_image, resample_labels, write_affine, Affine, Chain, DisplacementField, Error, Grid,
    Image, LabelResampling, Labels, Resampling, Rng,
};

use crate::program::{affine, field, grids, shear, world_points};

fn plus(p: [f64; 3], u: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|a| p[a] + u[a])
}

#[track_caller]
fn assert_near(a: [f64; 3], b: [f64; 3], tolerance: f64) {
    for c in 0..3 {
        assert_abs_diff_eq!(a[c], b[c], epsilon = tolerance);
    }
}

/// Points that stay inside all grids around the origin, whatever the small maps here do.
fn inner_points(rank: usize) -> Vec<[f64; 3]> {
    let mut rng = Rng::new(8);
    (0..200)
        .map(|_| {
            let mut point = std::array::from_fn(|_| rng.range(-2.0, 2.0));
            if rank == 2 {
                point[2] = 0.0;
            }
            point
        })
        .collect()
}

#[test]
fn the_first_listed_acts_on_points_first() {
    for grid in grids(1.0) {
        let (rank, map) = (grid.rank(), affine(grid.rank()));
        let u = shear(rank);
        let chain = || Chain::new(rank).unwrap();
        let points = inner_points(rank);
        let warp_first = chain()
            .then_field(field(&grid, &u))
            .unwrap()
            .then_affine(map);
        let affine_first = chain()
            .then_affine(map)
            .then_field(field(&grid, &u))
            .unwrap();
        for p in &points {
            let displaced = |p: [f64; 3]| plus(p, u(p));
            assert_near(warp_first.apply(*p), map.apply(displaced(*p)), 1e-5);
            assert_near(affine_first.apply(*p), displaced(map.apply(*p)), 1e-5);
        }
        let all: Vec<[f64; 3]> = points.iter().map(|p| warp_first.apply(*p)).collect();
        assert_eq!(all, warp_first.apply_all(&points));
        let inside: Vec<[f64; 3]> = warp_first
            .apply_inside(&points)
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(all, inside);
    }
}

#[test]
fn a_field_moves_nothing_beyond_half_a_voxel_outside() {
    let grid = Grid::axis_aligned(&[8, 8, 8], &[2.0, 1.0, 1.0]).unwrap();
    let chain = Chain::new(3)
        .unwrap()
        .then_field(field(&grid, |p| [3.0 + p[0], 0.0, 0.0]))
        .unwrap();
    for (x, expected, known) in [
        (-1.01, -1.01, false),
        (-1.0, 2.0, false),
        (0.0, 3.0, true),
        (5.0, 13.0, true),
        (14.0, 31.0, true),
        (14.99, 31.99, false),
        (15.0, 15.0, false),
    ] {
        let point = [x, 4.0, 4.0];
        assert_near(chain.apply(point), [expected, 4.0, 4.0], 1e-6);
        assert_eq!(chain.apply_inside(&[point])[0].is_some(), known, "{x}");
    }
    assert_eq!(chain.apply([3.0, -0.6, 4.0]), [3.0, -0.6, 4.0]);
    let lost = chain.apply([f64::NAN, 0.0, 0.0]);
    assert!(lost[0].is_nan());
}

#[test]
fn the_displacement_of_a_chain_alone_does_what_the_chain_does() {
    let (grids, others) = (grids(1.0), grids(1.7));
    let pairs = grids.iter().zip([1, 2, 0, 4, 5, 3].map(|n| &others[n]));
    for (grid, other) in pairs {
        let rank = grid.rank();
        let wave = |p: [f64; 3]| {
            let up = if rank == 3 { (0.3 * p[0]).cos() } else { 0.0 };
            [(0.3 * p[1]).sin(), (0.2 * p[0]).sin(), up]
        };
        for fields in [[grid, other], [other, grid]] {
            let chain = Chain::new(rank)
                .unwrap()
                .then_field(field(fields[0], wave))
                .unwrap()
                .then_affine(affine(rank))
                .then_affine(affine(rank).inverse().unwrap())
                .then_field(field(fields[1], wave))
                .unwrap();
            let total = chain.displacement_on(grid).unwrap();
            let voxels = grid.voxels();
            for (v, x) in world_points(grid).enumerate() {
                let u = std::array::from_fn(|c| match c < rank {
                    true => f64::from(total.values()[c * voxels + v]),
                    false => 0.0,
                });
                assert_near(plus(x, u), chain.apply(x), 2e-5);
            }
        }
    }
}

#[test]
fn a_linear_image_is_carried_exactly_to_known_positions() {
    let plane = |p: [f64; 3]| 3.0 + 0.5 * p[0] - 0.25 * p[1] + 0.125 * p[2];
    for moving in grids(1.3) {
        let rank = moving.rank();
        let values = world_points(&moving).map(|p| plane(p) as f32).collect();
        let image = Image::new(moving.clone(), 1, values).unwrap();
        let u = shear(rank);
        for reference in grids(1.0) {
            if reference.rank() != rank {
                continue;
            }
            let chain = Chain::new(rank)
                .unwrap()
                .then_field(field(&reference, &u))
                .unwrap()
                .then_affine(affine(rank));
            let found = resample_image(&image, &chain, &reference, Resampling::Linear, -99.0);
            let found = found.unwrap();
            let index = moving.world_to_index();
            let mut inside = 0;
            for (x, value) in world_points(&reference).zip(found.values()) {
                let y = affine(rank).apply(plus(x, u(x)));
                let at = index.apply(y);
                let within = |margin: f64| {
                    (0..rank).all(|a| {
                        at[a] >= -margin && at[a] <= (moving.size()[a] - 1) as f64 + margin
                    })
                };
                if within(-1e-3) {
                    assert_abs_diff_eq!(f64::from(*value), plane(y), epsilon = 1e-4);
                    inside += 1;
                } else if !within(0.501) {
                    assert_eq!(*value, -99.0);
                }
            }
            assert!(inside > reference.voxels() / 4, "{inside}");
        }
    }
}

/// A grid and the same moved by a fraction of a voxel along each axis.
fn moved(grid: &Grid, part: f64) -> Grid {
    let origin = grid.index_to_world().apply(match grid.rank() {
        2 => [part, part, 0.0],
        _ => [part; 3],
    });
    Grid::new(grid.size(), grid.spacing(), origin, grid.direction()).unwrap()
}

#[test]
fn voxels_that_meet_keep_their_values_in_every_interpolation() {
    let mut rng = Rng::new(3);
    for grid in grids(1.0) {
        let chain = Chain::new(grid.rank()).unwrap();
        let values: Vec<f32> = (0..2 * grid.voxels())
            .map(|_| rng.normal() as f32)
            .collect();
        let image = Image::new(grid.clone(), 2, values.clone()).unwrap();
        for (how, tolerance) in [
            (Resampling::Nearest, 0.0),
            (Resampling::Linear, 1e-6),
            (Resampling::Cubic, 1e-5),
        ] {
            let found = resample_image(&image, &chain, &grid, how, 0.0).unwrap();
            for (a, b) in found.values().iter().zip(&values) {
                assert_abs_diff_eq!(a, b, epsilon = tolerance);
            }
        }
        let ids: Vec<u32> = (0..grid.voxels())
            .map(|_| (rng.uniform() * 4e9) as u32)
            .collect();
        let labels = Labels::new(grid.clone(), ids.clone()).unwrap();
        for how in [LabelResampling::Nearest, LabelResampling::Vote] {
            let found = resample_labels(&labels, &chain, &grid, how, 0).unwrap();
            assert_eq!(found.values(), ids);
        }
    }
}

#[test]
fn the_vote_is_that_of_every_labels_indicator() {
    let mut rng = Rng::new(21);
    for grid in grids(1.0) {
        let ids: Vec<u32> = (0..grid.voxels())
            .map(|_| 100_000_000 * (1 + (rng.uniform() * 4.0) as u32))
            .collect();
        let labels = Labels::new(grid.clone(), ids.clone()).unwrap();
        let chain = Chain::new(grid.rank()).unwrap();
        let target = moved(&grid, 0.3);
        let voted = resample_labels(&labels, &chain, &target, LabelResampling::Vote, 7).unwrap();
        let shares: Vec<(u32, Image)> = labels
            .ids()
            .into_iter()
            .map(|id| {
                let indicator = ids.iter().map(|v| f32::from(u8::from(*v == id))).collect();
                let indicator = Image::new(grid.clone(), 1, indicator).unwrap();
                let how = Resampling::Linear;
                let share = resample_image(&indicator, &chain, &target, how, -1.0).unwrap();
                (id, share)
            })
            .collect();
        let mut judged = 0;
        for (v, label) in voted.values().iter().enumerate() {
            let share = |id: u32| shares.iter().find(|s| s.0 == id).unwrap().1.values()[v];
            if shares[0].1.values()[v] < 0.0 {
                assert_eq!(*label, 7);
                continue;
            }
            judged += 1;
            let most = shares.iter().map(|s| share(s.0)).fold(0.0, f32::max);
            assert!(share(*label) >= most - 1e-6, "{} {most}", share(*label));
        }
        assert!(judged > grid.voxels() / 2);
    }
}

#[test]
fn equal_shares_go_to_the_smallest_label_and_halves_to_the_upper_voxel() {
    let grid = Grid::axis_aligned(&[4, 2], &[1.0, 1.0]).unwrap();
    let labels = Labels::new(grid.clone(), vec![5, 9, 2, 2, 5, 9, 2, 2]).unwrap();
    let target = moved(&grid, 0.5).cropped(&[0, 0], &[3, 1]).unwrap();
    let chain = Chain::new(2).unwrap();
    let found = |how| {
        let found = resample_labels(&labels, &chain, &target, how, 0).unwrap();
        found.into_values()
    };
    assert_eq!(found(LabelResampling::Vote), [5, 2, 2]);
    assert_eq!(found(LabelResampling::Nearest), [9, 2, 2]);
}

#[test]
fn cubic_interpolation_is_of_fourth_order_on_a_smooth_function() {
    let wave = |p: [f64; 3]| (0.31 * p[0] + 0.2).sin() * (0.27 * p[1]).cos() + 0.1 * p[2];
    let error = |spacing: f64, how| {
        let count = |length: f64| (length / spacing) as usize + 1;
        let size = [count(24.0), count(24.0), count(24.0)];
        let grid = Grid::axis_aligned(&size, &[spacing; 3]).unwrap();
        let image = world_points(&grid).map(|p| wave(p) as f32).collect();
        let image = Image::new(grid, 1, image).unwrap();
        let origin = [8.13, 8.29, 8.41];
        let inner = Grid::new(&[9; 3], &[0.77; 3], origin, Affine::identity().matrix).unwrap();
        let found = resample_image(&image, &Chain::new(3).unwrap(), &inner, how, 0.0).unwrap();
        world_points(&inner)
            .zip(found.values())
            .map(|(p, v)| (wave(p) - f64::from(*v)).abs())
            .fold(0.0, f64::max)
    };
    let cubic = [error(2.0, Resampling::Cubic), error(1.0, Resampling::Cubic)];
    assert!(cubic[0] < 2e-3 && cubic[1] < cubic[0] / 12.0, "{cubic:?}");
    let linear = [
        error(2.0, Resampling::Linear),
        error(1.0, Resampling::Linear),
    ];
    assert!(linear[1] > linear[0] / 6.0 && linear[1] > 20.0 * cubic[1]);
}

#[test]
fn cubic_interpolation_is_mirrored_beyond_the_outer_voxels() {
    for rank in [2, 3] {
        let size = [6, 5, 4];
        let grid = Grid::axis_aligned(&size[..rank], &[1.0; 3][..rank]).unwrap();
        let mut rng = Rng::new(5);
        let values = (0..grid.voxels()).map(|_| rng.normal() as f32).collect();
        let image = Image::new(grid.clone(), 1, values).unwrap();
        let chain = Chain::new(rank).unwrap();
        let at = |part: f64| {
            let found =
                resample_image(&image, &chain, &moved(&grid, part), Resampling::Cubic, -9.0);
            found.unwrap().into_values()[0]
        };
        assert_abs_diff_eq!(at(-0.4), at(0.4), epsilon = 1e-5);
        assert_eq!(at(-0.51), -9.0);
    }
}

#[test]
fn files_are_read_in_the_order_of_ants() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for grid in grids(1.0) {
        let rank = grid.rank();
        let u = shear(rank);
        field(&grid, &u).write(path("warp.nii.gz")).unwrap();
        for name in ["a.mat", "a.txt"] {
            write_affine(path(name), &affine(rank), rank).unwrap();
            let listed = [
                (path("warp.nii.gz"), false),
                (path(name), false),
                (path(name), true),
                (path(name), true),
            ];
            let chain = Chain::read(listed, rank).unwrap();
            assert_eq!((chain.rank(), chain.is_empty()), (rank, false));
            let back = affine(rank).inverse().unwrap();
            for p in inner_points(rank) {
                // Fields are written in steps of 2^-13 mm.
                assert_near(chain.apply(p), back.apply(plus(p, u(p))), 1e-4);
            }
        }
        let wrong = 5 - rank;
        for name in ["warp.nii.gz", "a.mat"] {
            let found = Chain::read([(path(name), false)], wrong).unwrap_err();
            assert!(matches!(found, Error::Format { .. }), "{found}");
        }
        let found = Chain::read([(path("warp.nii.gz"), true)], rank).unwrap_err();
        assert!(found.to_string().contains("inverse warp"), "{found}");
    }
}

#[test]
fn things_of_different_rank_are_refused() {
    let flat = Grid::axis_aligned(&[4, 4], &[1.0; 2]).unwrap();
    let solid = Grid::axis_aligned(&[4, 4, 4], &[1.0; 3]).unwrap();
    assert!(Chain::new(1).is_err() && Chain::new(4).is_err());
    let (two, three) = (Chain::new(2).unwrap(), Chain::new(3).unwrap());
    let still = DisplacementField::new(flat.clone(), vec![0.0; 32]).unwrap();
    assert!(three.clone().then_field(still).is_err());
    assert!(two.displacement_on(&solid).is_err());
    let image = Image::new(flat.clone(), 1, vec![0.0; 16]).unwrap();
    for (chain, grid) in [(&two, &solid), (&three, &solid), (&three, &flat)] {
        assert!(resample_image(&image, chain, grid, Resampling::Linear, 0.0).is_err());
    }
}

#[test]
fn inverses_of_chains_are_judged_where_they_are_known() {
    for grid in grids(1.0) {
        let rank = grid.rank();
        let step = |sign: f64| {
            let grid = &grid;
            let vector = [sign * 1.2, 0.0, 0.0];
            let chain = Chain::new(rank).unwrap();
            chain.then_field(field(grid, |_| vector)).unwrap()
        };
        let exact = stillpoint::chain_consistency(&step(1.0), &step(-1.0), &grid).unwrap();
        assert!(exact.summary.maximum < 1e-6, "{}", exact.summary);
        assert!(exact.inside < exact.voxels && exact.inside > exact.voxels / 2);
        let twice = stillpoint::chain_consistency(&step(1.0), &step(1.0), &grid).unwrap();
        assert_abs_diff_eq!(twice.summary.mean, 2.4, epsilon = 1e-5);
        let forward = step(1.0).displacement_on(&grid).unwrap();
        let back = step(-1.0).displacement_on(&grid).unwrap();
        let fields =
            stillpoint::inverse_consistency(forward.values(), &grid, back.values(), &grid).unwrap();
        assert_eq!(fields.inside, exact.inside);
    }
}
