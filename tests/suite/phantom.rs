//! The synthetic subjects: what is promised about them holds.

use std::collections::BTreeSet;
use stillpoint::{inverse_consistency, minimum_determinant, overlap, Affine, Phantom};

/// A planar displacement in mm as one in voxels; the phantom's axes are the world's.
fn in_voxels(phantom: &Phantom) -> Vec<f32> {
    let n = phantom.grid.voxels();
    phantom
        .displacement
        .iter()
        .enumerate()
        .map(|(v, u)| u / phantom.grid.spacing()[v / n] as f32)
        .collect()
}

/// Moving labels at the nearest voxel of `x + u(x)`, 0 outside.
fn warped_labels(phantom: &Phantom) -> Vec<u32> {
    let size = phantom.grid.size();
    let n = phantom.grid.voxels();
    let u = in_voxels(phantom);
    (0..n)
        .map(|v| {
            let mut rest = v;
            let (mut at, mut stride) = (0, 1);
            for (a, &length) in size.iter().enumerate() {
                let place = ((rest % length) as f32 + u[a * n + v]).round();
                if place < 0.0 || place >= length as f32 {
                    return 0;
                }
                at += stride * place as usize;
                stride *= length;
                rest /= length;
            }
            phantom.moving_labels[at]
        })
        .collect()
}

fn names(labels: &[u32]) -> BTreeSet<u32> {
    labels.iter().copied().filter(|&l| l != 0).collect()
}

#[test]
fn the_known_warp_carries_the_moving_labels_onto_the_fixed_ones() {
    for (size, spacing) in [
        (vec![192, 224], vec![1.0; 2]),
        (vec![112, 136, 112], vec![1.5; 3]),
    ] {
        for seed in [1, 2] {
            let p = Phantom::pair(&size, &spacing, seed).expect("a phantom");
            let warped = warped_labels(&p);
            let after = overlap(&p.fixed_labels, &warped, None, None).expect("labels");
            let before = overlap(&p.fixed_labels, &p.moving_labels, None, None).expect("labels");
            let (after, before) = (
                after.mean_dice.expect("labels"),
                before.mean_dice.expect("labels"),
            );
            println!("{size:?} {seed}: {before:.3} -> {after:.3}");
            assert!(after > 0.9, "{size:?} {seed}: {after}");
            assert!(before < 0.75, "{size:?} {seed}: {before}");
        }
    }
}

#[test]
fn the_known_warp_has_no_folds_and_an_inverse() {
    for (size, spacing) in [
        (vec![96, 112], vec![2.0; 2]),
        (vec![48, 56, 40], vec![4.0, 4.0, 4.5]),
    ] {
        for seed in 0..4 {
            let p = Phantom::pair(&size, &spacing, seed).expect("a phantom");
            assert!(minimum_determinant(&in_voxels(&p), &size) > 0.2);
            let largest = p.displacement.iter().fold(0.0f32, |a, u| a.max(u.abs()));
            assert!((3.0..25.0).contains(&largest), "{largest}");
            let found =
                inverse_consistency(&p.displacement, &p.grid, &p.inverse, &p.grid).expect("fields");
            // Most of it is the linear interpolation of the inverse between its voxels.
            assert!(found.summary.p95 < 0.1, "{found}");
            assert!(found.inside * 10 > found.voxels * 7, "{found}");
        }
    }
}

#[test]
fn warped_intensities_are_those_of_the_fixed_image() {
    let p = Phantom::pair(&[192, 224], &[1.0; 2], 3).expect("a phantom");
    let size = p.grid.size().to_vec();
    let (u, n) = (in_voxels(&p), p.grid.voxels());
    let (mut before, mut after, mut count) = (0.0, 0.0, 0);
    for v in (0..n).filter(|&v| p.fixed_labels[v] != 0) {
        let x = (v % size[0]) as f32 + u[v];
        let y = (v / size[0]) as f32 + u[n + v];
        let (i, j) = (x.floor() as usize, y.floor() as usize);
        let (a, b) = (x.fract(), y.fract());
        let m = |i: usize, j: usize| p.moving[i + size[0] * j];
        let value = (1.0 - b) * ((1.0 - a) * m(i, j) + a * m(i + 1, j))
            + b * ((1.0 - a) * m(i, j + 1) + a * m(i + 1, j + 1));
        after += f64::from((value - p.fixed[v]).abs());
        before += f64::from((p.moving[v] - p.fixed[v]).abs());
        count += 1;
    }
    let (before, after) = (before / f64::from(count), after / f64::from(count));
    assert!(after < 0.05 && before > 2.5 * after, "{before} {after}");
}

#[test]
fn a_subject_has_its_structures_with_the_contrasts_of_t1() {
    let p = Phantom::pair(&[96, 112, 96], &[2.0; 3], 5).expect("a phantom");
    for labels in [&p.fixed_labels, &p.moving_labels] {
        assert_eq!(names(labels), (1..=22).collect());
    }
    let flat = Phantom::pair(&[96, 112], &[2.0; 2], 5).expect("a phantom");
    assert!(
        names(&flat.fixed_labels).len() >= 12,
        "{:?}",
        names(&flat.fixed_labels)
    );
    let brightness = |name: &str| {
        let values: Vec<f32> = (0..p.grid.voxels())
            .filter(|&v| Phantom::label_name(p.fixed_labels[v]) == Some(name))
            .map(|v| p.fixed[v])
            .collect();
        values.iter().sum::<f32>() / values.len() as f32
    };
    let (fluid, grey) = (
        brightness("left lateral ventricle"),
        brightness("left cerebral cortex"),
    );
    let white = brightness("left cerebral white matter");
    assert!(fluid + 0.1 < grey && grey + 0.1 < brightness("left thalamus"));
    assert!(brightness("right thalamus") + 0.05 < white);
    assert_eq!(
        (Phantom::label_name(0), Phantom::label_name(23)),
        (None, None)
    );
    // Left is left: in RAS the smaller x.
    let middle: f64 = {
        let map: Affine = p.grid.index_to_world();
        let at: Vec<f64> = (0..p.grid.voxels())
            .filter(|&v| Phantom::label_name(p.fixed_labels[v]) == Some("left putamen"))
            .map(|v| map.apply([(v % 96) as f64, 0.0, 0.0])[0])
            .collect();
        at.iter().sum::<f64>() / at.len() as f64
    };
    assert!((-30.0..-20.0).contains(&middle), "{middle}");
}

#[test]
fn the_anatomy_is_the_same_at_every_resolution() {
    let fine = Phantom::pair(&[192, 224], &[1.0; 2], 9).expect("a phantom");
    let coarse = Phantom::pair(&[96, 112], &[2.0; 2], 9).expect("a phantom");
    // Coarse voxel centres lie in the middle of 2 x 2 fine ones; compare where those agree.
    let (mut same, mut all) = (0, 0);
    for v in 0..coarse.grid.voxels() {
        let (i, j) = (v % 96 * 2, v / 96 * 2);
        let around = [0, 1, 192, 193].map(|s| fine.fixed_labels[i + 192 * j + s]);
        if around.iter().all(|&l| l == around[0]) {
            all += 1;
            same += usize::from(coarse.fixed_labels[v] == around[0]);
        }
    }
    assert!(all > 8000 && same * 100 > all * 99, "{same} of {all}");
}

#[test]
fn the_same_seed_gives_the_same_bits_at_any_number_of_threads() {
    for size in [vec![64usize, 72], vec![24, 28, 20]] {
        let run = |threads: usize, seed: u64| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("a pool")
                .install(|| Phantom::pair(&size, &vec![3.0; size.len()], seed).expect("a phantom"))
        };
        let bits = |p: &Phantom| -> Vec<u32> {
            [&p.fixed, &p.moving, &p.displacement, &p.inverse]
                .into_iter()
                .flatten()
                .map(|v| v.to_bits())
                .chain(p.fixed_labels.iter().copied())
                .chain(p.moving_labels.iter().copied())
                .collect()
        };
        assert!(bits(&run(1, 7)) == bits(&run(2, 7)));
        assert!(bits(&run(1, 7)) != bits(&run(1, 8)));
    }
}

#[test]
fn impossible_grids_are_refused() {
    assert!(Phantom::pair(&[4, 64], &[1.0; 2], 0).is_err());
    assert!(Phantom::pair(&[64], &[1.0], 0).is_err());
    assert!(Phantom::pair(&[64; 4], &[1.0; 4], 0).is_err());
    assert!(Phantom::pair(&[64, 64], &[0.0, 1.0], 0).is_err());
    assert!(Phantom::pair(&[64, 64], &[f64::NAN, 1.0], 0).is_err());
    assert!(Phantom::pair(&[64, 64], &[1.0], 0).is_err());
}
