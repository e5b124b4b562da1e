//! The registration of two images from the library.

use std::sync::Arc;

use approx::assert_abs_diff_eq;
use stillpoint::{
    inverse_consistency, Affine, AlignmentStart, Deformation, Displacement, Error, Grid, Image,
    Labels, Lbfgs, LinearKind, Phantom, Registered, Registration,
};

use crate::pair::distance;

fn flat() -> Phantom {
    Phantom::pair(&[96, 112], &[1.7, 1.7], 5).unwrap()
}

fn images(phantom: &Phantom) -> [Image; 2] {
    [&phantom.fixed, &phantom.moving]
        .map(|values| Image::new(phantom.grid.clone(), 1, values.clone()).unwrap())
}

fn from_headers() -> Registration {
    Registration {
        start: AlignmentStart::Identity,
        linear: Vec::new(),
        ..Registration::default()
    }
}

fn run(registration: &Registration, fixed: &Image, moving: &Image) -> Registered {
    registration.run(fixed, moving, &mut |_| Ok(())).unwrap()
}

#[track_caller]
fn refused(registration: &Registration, fixed: &Image, moving: &Image, words: &[&str]) {
    let error = registration.run(fixed, moving, &mut |_| Ok(()));
    let error = error.unwrap_err().to_string();
    for text in words {
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn the_default_recovers_the_known_warp() {
    let phantom = flat();
    let [fixed, moving] = images(&phantom);
    let registered = run(&Registration::default(), &fixed, &moving);
    let found = registered.total_field(&fixed).unwrap();
    let before = distance(&phantom, &vec![0.0; phantom.displacement.len()]);
    let after = distance(&phantom, found.values());
    assert!(after < 0.5 * before, "{before} {after}");
    let warped = registered.warped(&fixed, &moving).unwrap();
    let still = registered.unregistered(&fixed, &moving).unwrap();
    let difference = |image: &Image| registered.difference(&fixed, image);
    assert!(difference(&warped) < 0.5 * difference(&still));
}

#[test]
fn a_smaller_decrease_comes_closer_to_the_minimum() {
    let phantom = flat();
    let [fixed, moving] = images(&phantom);
    let with = |decrease| {
        let registration = Registration {
            deformation: Some(Deformation {
                decrease,
                ..Deformation::default()
            }),
            ..from_headers()
        };
        let report = run(&registration, &fixed, &moving).deformable.unwrap();
        let finest = report.levels.last().unwrap();
        (finest.data + finest.penalty, finest.iterations.len())
    };
    let (energies, iterations): (Vec<f64>, Vec<usize>) =
        [0.1, 0.01, 0.001].map(with).into_iter().unzip();
    assert!(energies.is_sorted_by(|a, b| a > b), "{energies:?}");
    assert!(iterations.is_sorted_by(|a, b| a < b), "{iterations:?}");
}

#[test]
fn the_total_is_the_linear_map_after_the_deformation() {
    let phantom = flat();
    let [fixed, moving] = images(&phantom);
    let registered = run(&Registration::default(), &fixed, &moving);
    assert_ne!(registered.affine, Affine::identity());
    let total = registered.total_field(&fixed).unwrap();
    let deformation = registered.deformable_field(&fixed).unwrap();
    let voxels = phantom.grid.voxels();
    for (v, x) in crate::program::world_points(&phantom.grid).enumerate() {
        let vector = |values: &[f32]| -> [f64; 3] {
            std::array::from_fn(|a| {
                if a < 2 {
                    f64::from(values[a * voxels + v])
                } else {
                    0.0
                }
            })
        };
        let (u, t) = (vector(deformation.values()), vector(total.values()));
        let y = registered
            .affine
            .apply(std::array::from_fn(|a| x[a] + u[a]));
        for a in 0..2 {
            assert_abs_diff_eq!(x[a] + t[a], y[a], epsilon = 1e-4);
        }
    }
    let (inverse, missed) = registered.inverse_field(&moving).unwrap();
    assert!(missed < 0.01, "{missed}");
    let error = |forward: &stillpoint::DisplacementField, back: &stillpoint::DisplacementField| {
        inverse_consistency(forward.values(), forward.grid(), back.values(), back.grid())
            .unwrap()
            .summary
            .mean
    };
    assert!(error(&total, &inverse) < 0.1);
    let (inverse, _) = registered.deformable_inverse_field(&fixed).unwrap();
    assert!(error(&deformation, &inverse) < 0.1);
}

#[test]
fn a_watcher_sees_every_iteration_in_order_and_may_stop() {
    let phantom = flat();
    let [fixed, moving] = images(&phantom);
    let mut seen: Vec<(&'static str, usize, usize)> = Vec::new();
    let registration = Registration {
        start: AlignmentStart::Identity,
        ..Registration::default()
    };
    let registered = registration.run(&fixed, &moving, &mut |step| {
        assert!(step.level < step.levels);
        seen.push((step.stage, step.level, step.iteration.step));
        Ok(())
    });
    let deformable = registered.unwrap().deformable.unwrap();
    let first = seen.iter().position(|s| s.0 == "compositive").unwrap();
    assert!(first > 0 && seen[..first].iter().all(|s| s.0 == "affine"));
    let expected: Vec<_> = deformable
        .levels
        .iter()
        .enumerate()
        .flat_map(|(l, level)| {
            level
                .iterations
                .iter()
                .map(move |i| ("compositive", l, i.step))
        })
        .collect();
    assert_eq!(seen[first..], expected);
    for stop in [0, first / 2, first, first + 4, seen.len() - 1] {
        let mut count = 0;
        let found = registration.run(&fixed, &moving, &mut |_| {
            count += 1;
            if count > stop {
                return Err(Error::Interrupted);
            }
            Ok(())
        });
        assert!(matches!(found, Err(Error::Interrupted)));
        assert_eq!(count, stop + 1);
    }
}

#[test]
fn channels_that_say_the_same_change_nothing() {
    let phantom = flat();
    let [fixed, moving] = images(&phantom);
    let [fixed2, moving2] = [&fixed, &moving].map(|image| {
        let values = [image.values(), image.values()].concat();
        Image::new(phantom.grid.clone(), 2, values).unwrap()
    });
    for registration in [from_headers(), Registration::default()] {
        let one = run(&registration, &fixed, &moving);
        let two = run(&registration, &fixed2, &moving2);
        let one = one.total_field(&fixed).unwrap().into_values();
        let two = two.total_field(&fixed2).unwrap().into_values();
        let apart: Vec<f64> = one
            .iter()
            .zip(&two)
            .map(|(a, b)| f64::from((a - b).abs()))
            .collect();
        assert!(
            stillpoint::mean(&apart) < 0.02,
            "{}",
            stillpoint::mean(&apart)
        );
    }
    refused(&from_headers(), &fixed, &moving2, &["1 and 2 channels"]);
}

#[test]
fn another_transform_and_another_solver_serve_too() {
    let phantom = flat();
    let [fixed, moving] = images(&phantom);
    let before = distance(&phantom, &vec![0.0; phantom.displacement.len()]);
    let deformations = [
        Deformation {
            transform: Arc::new(Displacement),
            ..Deformation::default()
        },
        Deformation {
            solver: Some(Arc::new(Lbfgs::default())),
            ..Deformation::default()
        },
    ];
    for deformation in deformations {
        let name = deformation.transform.name();
        let registration = Registration {
            deformation: Some(deformation),
            ..from_headers()
        };
        let registered = run(&registration, &fixed, &moving);
        let after = distance(&phantom, registered.total_field(&fixed).unwrap().values());
        assert!(after < 0.6 * before, "{name}: {before} {after}");
        assert_eq!(registered.deformable.unwrap().transform, name);
    }
}

#[test]
fn small_grids_have_fewer_levels() {
    let deformation = Deformation::default();
    let shrinks = |size: &[usize]| {
        let grid = Grid::axis_aligned(size, &vec![1.0; size.len()]).unwrap();
        deformation.shrinks(&grid).unwrap()
    };
    assert_eq!(shrinks(&[96, 112]), [4, 2, 1]);
    assert_eq!(shrinks(&[40, 48, 40]), [2, 1]);
    assert_eq!(shrinks(&[64, 8, 8]), [4, 2, 1]);
    assert_eq!(shrinks(&[12, 12]), [1]);
    let deformation = Deformation {
        iterations: Some(vec![3, 3]),
        ..deformation
    };
    let grid = Grid::axis_aligned(&[96, 112], &[1.0; 2]).unwrap();
    let error = deformation.shrinks(&grid).unwrap_err().to_string();
    assert!(error.contains("there are 3 levels"), "{error}");
}

#[test]
fn a_given_start_without_a_linear_stage_is_kept() {
    let phantom = flat();
    let [fixed, moving] = images(&phantom);
    let start = Affine::shift([3.0, -2.0, 0.0]);
    let registration = Registration {
        start: AlignmentStart::Affine(start),
        linear: Vec::new(),
        deformation: None,
        ..Registration::default()
    };
    let registered = run(&registration, &fixed, &moving);
    assert_eq!((registered.affine, registered.initial), (start, start));
    assert!(registered.alignment.is_none() && registered.deformable.is_none());
    let total = registered.total_field(&fixed).unwrap();
    let (x, y) = total.values().split_at(phantom.grid.voxels());
    assert!(x.iter().all(|u| (u - 3.0).abs() < 1e-4) && y.iter().all(|u| (u + 2.0).abs() < 1e-4));
    let (back, missed) = registered.inverse_field(&moving).unwrap();
    assert!(back.values()[..x.len()]
        .iter()
        .all(|u| (u + 3.0).abs() < 1e-4));
    assert_eq!(missed, 0.0);
}

#[test]
fn what_cannot_be_registered_is_refused() {
    let phantom = flat();
    let [fixed, moving] = images(&phantom);
    let grid = &phantom.grid;
    let solid = Grid::axis_aligned(&[9, 8, 7], &[1.0; 3]).unwrap();
    let solid = Image::new(solid, 1, (0..504).map(|v| v as f32).collect()).unwrap();
    refused(&from_headers(), &fixed, &solid, &["2 and 3 dimensions"]);
    let mut broken = moving.clone();
    broken.values_mut()[70] = f32::NAN;
    refused(
        &from_headers(),
        &fixed,
        &broken,
        &["moving image", "not finite"],
    );
    let grey = Image::new(grid.clone(), 1, vec![2.0; grid.voxels()]).unwrap();
    refused(
        &from_headers(),
        &grey,
        &moving,
        &["fixed image", "constant"],
    );
    let far = Grid::new(grid.size(), grid.spacing(), [900.0; 3], grid.direction()).unwrap();
    let away = moving.clone().with_grid(far.clone()).unwrap();
    refused(
        &from_headers(),
        &fixed,
        &away,
        &["do not overlap", "--init centres"],
    );
    let mask = |grid: &Grid, value: u32| {
        Some(Labels::new(grid.clone(), vec![value; grid.voxels()]).unwrap())
    };
    for (fixed_mask, moving_mask, words) in [
        (mask(&far, 1), None, ["fixed mask", "the grids differ"]),
        (None, mask(&far, 1), ["moving mask", "the grids differ"]),
        (mask(grid, 0), None, ["fixed mask", "covers no voxel"]),
        (None, mask(grid, 0), ["moving mask", "covers no voxel"]),
    ] {
        let registration = Registration {
            fixed_mask,
            moving_mask,
            ..from_headers()
        };
        refused(&registration, &fixed, &moving, &words);
    }
    let registration = Registration {
        linear: vec![LinearKind::Affine, LinearKind::Rigid],
        ..Registration::default()
    };
    refused(&registration, &fixed, &moving, &["rise in freedom"]);
}
