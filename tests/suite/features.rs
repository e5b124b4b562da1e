//! Which features are compared on a level, with which weights, and where the neighbours lie.

use approx::assert_relative_eq;
use candle_core::{DType, Device, Tensor};
use stillpoint::{
    gradient_energy, mind, Affine, AlignmentStart, Deformation, Features, Grid, Image, Level,
    Phantom, Registration,
};

use crate::pair::distance as error;
use crate::samples::{distance, shape, uniform, values};

fn level(grid: &Grid, channels: usize, seed: u64) -> Level {
    let features = uniform(&shape(channels, grid.size()), seed);
    Level {
        features: features.to_dtype(DType::F32).unwrap(),
        grid: grid.clone(),
    }
}

#[test]
fn each_choice_has_its_channels_on_each_level() {
    for (size, channels, pairs) in [(&[9, 8][..], 2, 4), (&[9, 8, 7], 1, 12)] {
        let grid = Grid::axis_aligned(size, &vec![1.5; size.len()]).unwrap();
        let (fixed, moving) = (level(&grid, channels, 1), level(&grid, channels, 2));
        let described = channels * pairs;
        for (features, shrink, count) in [
            (Features::Intensities, 4, channels),
            (Features::Intensities, 1, channels),
            (Features::CoarseMind, 2, channels + described),
            (Features::CoarseMind, 1, channels),
            (Features::Mind, 2, described),
            (Features::Mind, 1, described),
            (Features::Both, 2, channels + described),
            (Features::Both, 1, channels + described),
        ] {
            let maps = features
                .maps(shrink, fixed.clone(), moving.clone(), &Affine::identity())
                .unwrap();
            let found = [maps.fixed.dims()[0], maps.moving.dims()[0]];
            assert_eq!(found, [count; 2], "{features:?} {shrink}");
            assert_eq!(maps.channel_weight.len(), count);
            if count >= channels && features != Features::Mind {
                let first = maps.fixed.narrow(0, 0, channels).unwrap();
                assert_eq!(values(&first), values(&fixed.features));
            }
        }
    }
}

#[test]
fn descriptors_weigh_twice_as_much_as_intensities_and_less_at_full_resolution() {
    let grid = Grid::axis_aligned(&[12, 11, 10], &[1.0, 1.0, 2.0]).unwrap();
    let fixed = level(&grid, 1, 1);
    for (gain, shrink, share) in [(1.0, 2, 2.0), (30.0, 4, 2.0), (1.0, 1, 0.4)] {
        let mut fixed = fixed.clone();
        fixed.features = (fixed.features * gain).unwrap();
        let energy = gradient_energy(&fixed.features).unwrap();
        let maps = Features::Both
            .maps(shrink, fixed.clone(), fixed, &Affine::identity())
            .unwrap();
        assert_eq!(maps.channel_weight[0], 1.0);
        let descriptors = maps.fixed.narrow(0, 1, 12).unwrap().contiguous().unwrap();
        let weight = maps.channel_weight[1];
        assert!(maps.channel_weight[1..].iter().all(|w| *w == weight));
        let weighed = weight * gradient_energy(&descriptors).unwrap();
        assert_relative_eq!(weighed, share * energy, max_relative = 1e-9);
        assert_relative_eq!(maps.unit, (1.0 + share) * energy, max_relative = 1e-9);
    }
}

#[test]
fn a_flat_image_is_left_to_its_intensities() {
    let grid = Grid::axis_aligned(&[8, 9], &[1.0, 1.0]).unwrap();
    let flat = Level {
        features: Tensor::ones(&[1, 9, 8][..], DType::F32, &Device::Cpu).unwrap(),
        grid,
    };
    let maps = Features::Both
        .maps(2, flat.clone(), flat, &Affine::identity())
        .unwrap();
    assert_eq!((maps.unit, maps.fixed.dims()[0]), (0.0, 1));
}

#[test]
fn neighbours_are_as_far_in_millimetres_along_every_axis() {
    let grid = Grid::axis_aligned(&[14, 12, 9], &[1.0, 1.25, 4.0]).unwrap();
    let (fixed, moving) = (level(&grid, 1, 1), level(&grid, 1, 2));
    let affine = Affine::new(
        [[1.0, 0.1, 0.0], [0.0, 0.9, 0.2], [-0.1, 0.0, 1.1]],
        [3.0, -2.0, 1.0],
    );
    let maps = Features::Mind
        .maps(1, fixed.clone(), moving.clone(), &affine)
        .unwrap();
    // two millimetres, but at least one voxel; a window of one millimetre
    let offsets = [[2.0, 0.0, 0.0], [0.0, 1.6, 0.0], [0.0, 0.0, 1.0]];
    let sigma = [1.0, 0.8, 0.25];
    let expected = mind(&fixed.features, &offsets, &sigma).unwrap();
    assert!(distance(&values(&maps.fixed), &values(&expected)) < 1e-6);
    let carried: Vec<[f64; 3]> = [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 4.0]]
        .iter()
        .map(|axis| {
            let [x, y, z] = affine.apply_vector(*axis);
            [x, y / 1.25, z / 4.0]
        })
        .collect();
    let expected = mind(&moving.features, &carried, &sigma).unwrap();
    assert!(distance(&values(&maps.moving), &values(&expected)) < 1e-5);
}

#[test]
fn the_orientation_of_the_moving_grid_does_not_count() {
    let size = [9, 8, 7];
    let grid = Grid::axis_aligned(&size, &[1.0, 1.5, 2.0]).unwrap();
    let fixed = level(&grid, 1, 4);
    // the same image with its first two axes exchanged and the third one reversed
    let turned = Grid::new(
        &[8, 9, 7],
        &[1.5, 1.0, 2.0],
        [0.0, 0.0, 12.0],
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]],
    )
    .unwrap();
    let turn = |x: &Tensor| {
        let reversed: Vec<u32> = (0..7).rev().collect();
        let reversed = Tensor::new(reversed, &Device::Cpu).unwrap();
        let turned = x.transpose(2, 3).unwrap().contiguous().unwrap();
        turned.index_select(&reversed, 1).unwrap()
    };
    let moving = Level {
        features: turn(&fixed.features),
        grid: turned,
    };
    let maps = Features::Mind
        .maps(1, fixed, moving, &Affine::identity())
        .unwrap();
    let gap = distance(&values(&turn(&maps.fixed)), &values(&maps.moving));
    assert!(gap < 1e-5, "{gap}");
}

#[test]
fn descriptors_register_an_inverted_contrast() {
    let phantom = Phantom::pair(&[96, 112], &[1.7, 1.7], 5).unwrap();
    let image = |values: Vec<f32>| Image::new(phantom.grid.clone(), 1, values).unwrap();
    let fixed = image(phantom.fixed.clone());
    let moving = image(phantom.moving.iter().map(|v| 1.0 - v).collect());
    let found = |features| {
        let registration = Registration {
            start: AlignmentStart::Identity,
            linear: Vec::new(),
            deformation: Some(Deformation {
                features,
                ..Deformation::default()
            }),
            ..Registration::default()
        };
        let registered = registration.run(&fixed, &moving, &mut |_| Ok(())).unwrap();
        assert_eq!(
            registered.deformable.as_ref().unwrap().features,
            Some(features)
        );
        error(&phantom, registered.total_field(&fixed).unwrap().values())
    };
    let before = error(&phantom, &vec![0.0; phantom.displacement.len()]);
    let (with, without) = (found(Features::Mind), found(Features::Intensities));
    assert!(with < 0.6 * before, "{before} {with}");
    assert!(without > 0.9 * before, "{before} {without}");
}

#[test]
fn names_are_found_again() {
    for (name, features) in Features::NAMES {
        assert_eq!(features.name(), name);
        let written = serde_json::to_value(features).unwrap();
        assert_eq!(written, name);
    }
}
