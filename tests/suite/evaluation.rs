//! Every measure against values worked out by hand or by an independent program.

use stillpoint::{
    inverse_consistency, landmark_errors, overlap, regularity, surface_distance, Affine, Grid,
};

/// Labels from a function of the index.
fn labels(size: &[usize], f: impl Fn([usize; 3]) -> u32) -> Vec<u32> {
    (0..size.iter().product())
        .map(|v: usize| f([v % size[0], v / size[0] % size[1], v / (size[0] * size[1])]))
        .collect()
}

fn hd95(fixed: &[u32], warped: &[u32], size: &[usize], spacing: &[f64]) -> [f64; 2] {
    let grid = Grid::axis_aligned(size, spacing).expect("a grid");
    let found = surface_distance(fixed, warped, None, Some(&[1]), &grid).expect("labels");
    [
        found.labels[0].hd95_voxels.expect("present"),
        found.labels[0].hd95_mm.expect("present"),
    ]
}

#[test]
fn overlap_counts_as_by_hand() {
    let fixed = [0, 1, 1, 1, 2, 2, 3, 0, 5];
    let warped = [1, 1, 1, 0, 2, 3, 0, 0, 0];
    let moving = [1, 2, 3, 4, 5, 5];
    let found = overlap(&fixed, &warped, Some(&moving), None).expect("labels");
    let dice: Vec<(u32, Option<f64>)> = found.labels.iter().map(|l| (l.label, l.dice)).collect();
    // 4 is absent in the fixed labels; 5 was lost by the warping, which counts as 0.
    assert_eq!(
        dice,
        [
            (1, Some(4.0 / 6.0)),
            (2, Some(2.0 / 3.0)),
            (3, Some(0.0)),
            (4, None),
            (5, Some(0.0))
        ]
    );
    assert_eq!(found.mean_dice, Some((4.0 / 6.0 + 2.0 / 3.0) / 4.0));
    assert_eq!(found.total_overlap, Some(3.0 / 7.0));
    assert_eq!(found.mean_overlap, Some(6.0 / 12.0));
    assert_eq!(found.false_negative, Some(4.0 / 7.0));
    assert_eq!(found.false_positive, Some(2.0 / 5.0));
    assert_eq!(found.volume_similarity, Some(2.0 * -2.0 / 12.0));
    let chosen = overlap(&fixed, &warped, Some(&moving), Some(&[2, 0, 9])).expect("labels");
    assert_eq!(chosen.mean_dice, Some(2.0 / 3.0));
    assert_eq!(chosen.labels[1].dice, None);
    assert!(format!("{found}").contains("mean Dice            0.3333"));
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    assert!(overlap(&[1, 2], &[1], None, None).is_err());
    let message = overlap(&[0, 0], &[0, 0], None, None)
        .expect_err("no label")
        .to_string();
    assert!(message.contains("at least one label"), "{message}");
    let grid = Grid::axis_aligned(&[2, 2], &[1.0, 1.0]).expect("a grid");
    assert!(surface_distance(&[1, 2], &[1, 2], None, None, &grid).is_err());
}

#[test]
fn a_shifted_box_is_as_far_as_its_shift() {
    let size = [24, 20, 16];
    let block = |from: [usize; 3]| {
        labels(&size, |p| {
            u32::from((0..3).all(|a| p[a] >= from[a] && p[a] < from[a] + 8))
        })
    };
    let fixed = block([4, 4, 4]);
    assert_eq!(hd95(&fixed, &fixed, &size, &[1.0, 2.0, 3.0]), [0.0, 0.0]);
    assert_eq!(
        hd95(&fixed, &block([7, 4, 4]), &size, &[1.0, 2.0, 3.0]),
        [3.0, 3.0]
    );
    assert_eq!(
        hd95(&fixed, &block([4, 6, 4]), &size, &[1.0, 2.0, 3.0]),
        [2.0, 4.0]
    );
    assert_eq!(
        hd95(&fixed, &block([4, 4, 3]), &size, &[1.0, 2.0, 3.0]),
        [1.0, 3.0]
    );
    // Isotropic spacing scales.
    assert_eq!(
        hd95(&fixed, &block([4, 6, 4]), &size, &[0.5; 3]),
        [2.0, 1.0]
    );
    let flat = [24, 20];
    let square = |x: usize| {
        labels(&flat, |p| {
            u32::from((x..x + 8).contains(&p[0]) && (5..13).contains(&p[1]))
        })
    };
    assert_eq!(hd95(&square(4), &square(6), &flat, &[1.5, 1.0]), [2.0, 3.0]);
}

#[test]
fn structures_at_the_border_have_a_surface_there() {
    let size = [6, 6, 6];
    let all = labels(&size, |_| 1);
    let most = labels(&size, |p| u32::from(p[0] < 4));
    assert_eq!(hd95(&all, &most, &size, &[1.0; 3]), [2.0, 2.0]);
    assert_eq!(hd95(&all, &all, &size, &[1.0; 3]), [0.0, 0.0]);
}

#[test]
fn spheres_in_each_other_are_as_far_as_their_radii_differ() {
    let size = [48, 48, 48];
    let ball = |radius: f64| {
        labels(&size, |p| {
            let r2: f64 = p.iter().map(|&i| (i as f64 - 23.5).powi(2)).sum();
            u32::from(r2 <= radius * radius)
        })
    };
    let [found, _] = hd95(&ball(12.0), &ball(18.0), &size, &[1.0; 3]);
    assert!((found - 6.0).abs() < 0.6, "{found}");
}

#[test]
fn labels_lost_or_absent() {
    let grid = Grid::axis_aligned(&[3, 3], &[1.0, 1.0]).expect("a grid");
    let fixed = [1, 1, 0, 2, 2, 0, 0, 0, 0];
    let warped = [1, 1, 0, 0, 0, 0, 0, 0, 0];
    let found = surface_distance(&fixed, &warped, Some(&[1, 2, 3]), None, &grid).expect("labels");
    let values: Vec<Option<f64>> = found.labels.iter().map(|l| l.hd95_voxels).collect();
    assert_eq!(values, [Some(0.0), Some(f64::INFINITY), None]);
    let alone = surface_distance(&fixed, &warped, None, None, &grid).expect("labels");
    assert_eq!(alone.mean_hd95_mm, Some(0.0));
}

/// Ellipsoids, and a label scattered voxel by voxel so that every kind of surface element occurs.
fn scene(size: &[usize], warped: bool) -> Vec<u32> {
    type Ellipsoid = (u32, [f64; 3], [f64; 3]);
    let solid: &[Ellipsoid] = match (size.len(), warped) {
        (3, false) => &[
            (1, [9.0, 8.0, 7.0], [6.3, 5.2, 4.1]),
            (2, [20.0, 10.0, 8.0], [5.5, 7.5, 6.2]),
            (3, [9.0, 8.0, 7.0], [2.2, 2.2, 2.2]),
        ],
        (3, true) => &[
            (1, [10.5, 8.25, 7.0], [5.1, 5.9, 4.6]),
            (2, [20.5, 12.0, 9.0], [4.1, 7.5, 4.9]),
            (3, [10.0, 9.0, 8.0], [2.9, 2.2, 1.7]),
        ],
        (_, false) => &[
            (1, [9.0, 8.0, 0.0], [6.3, 5.2, 1.0]),
            (2, [20.0, 10.0, 0.0], [5.5, 7.5, 1.0]),
        ],
        (_, true) => &[
            (1, [10.5, 8.25, 0.0], [5.1, 5.9, 1.0]),
            (2, [20.5, 12.0, 0.0], [4.1, 7.5, 1.0]),
        ],
    };
    let step = match (size.len(), warped) {
        (3, false) => [7, 5, 3],
        (3, true) => [7, 5, 11],
        (_, false) => [7, 5, 0],
        (_, true) => [7, 3, 0],
    };
    labels(size, |p| {
        if (0..3).map(|a| p[a] * step[a]).sum::<usize>() % 29 == 0 {
            return 4;
        }
        let mut label = 0;
        for (name, centre, radius) in solid {
            let r2: f64 = (0..3)
                .map(|a| ((p[a] as f64 - centre[a]) / radius[a]).powi(2))
                .sum();
            if r2 <= 1.0 {
                label = *name;
            }
        }
        label
    })
}

/// The expected values were computed with the program of the authors of the measure (surface-distance).
#[test]
fn surface_distances_are_those_of_the_reference_program() {
    for (size, spacing, expected) in [
        (
            vec![28, 22, 18],
            vec![1.0, 1.25, 2.5],
            vec![
                (0.687984496124031, 2.0, 2.0),
                (0.624620982413584, 6f64.sqrt(), 5.0),
                (0.405405405405405, 3f64.sqrt(), 2.5),
                (0.054830287206266, 2.0, 2.5),
            ],
        ),
        (
            vec![28, 22],
            vec![0.75, 1.5],
            vec![
                (0.787564766839378, 3.0, 2.25),
                (0.712962962962963, 8f64.sqrt(), 3.0),
                (0.047619047619048, 13f64.sqrt(), 3.3541019662496847),
            ],
        ),
    ] {
        let (fixed, warped) = (scene(&size, false), scene(&size, true));
        let grid = Grid::axis_aligned(&size, &spacing).expect("a grid");
        let surfaces = surface_distance(&fixed, &warped, None, None, &grid).expect("labels");
        let overlaps = overlap(&fixed, &warped, None, None).expect("labels");
        assert_eq!(surfaces.labels.len(), expected.len());
        for ((surface, overlap), (dice, voxels, mm)) in
            surfaces.labels.iter().zip(&overlaps.labels).zip(expected)
        {
            let near = |found: Option<f64>, expected: f64| {
                (found.expect("present") - expected).abs() < 1e-9
            };
            assert!(near(overlap.dice, dice), "{overlap:?}");
            assert!(near(surface.hd95_voxels, voxels), "{surface:?}");
            assert!(near(surface.hd95_mm, mm), "{surface:?}");
        }
    }
}

#[test]
fn landmark_errors_are_distances() {
    let found = landmark_errors(
        &[[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]],
        &[[3.0, 4.0, 0.0], [1.0, 2.0, 1.0], [5.0, 5.0, 5.0]],
    )
    .expect("points");
    assert_eq!(found.errors, [5.0, 2.0, 0.0]);
    assert_eq!((found.summary.median, found.summary.maximum), (2.0, 5.0));
    assert!((found.summary.mean - 7.0 / 3.0).abs() < 1e-12);
    assert!((found.summary.p95 - 4.7).abs() < 1e-12);
    assert!(landmark_errors(&[[0.0; 3]], &[]).is_err());
    assert!(landmark_errors(&[], &[]).is_err());
}

#[test]
fn regularity_of_a_field_with_known_determinants() {
    // u = x^2 / 8 along x: central differences of a square are exact.
    let size = [9usize, 6, 5];
    let voxels = 270;
    let mut u = vec![0.0f32; 3 * voxels];
    for v in 0..voxels {
        let x = v % 9;
        u[v] = (x * x) as f32 * 0.125;
    }
    let found = regularity(&u, &size).expect("a field");
    // J = 1 + x / 4 inside, 1 + 1/8 and 1 + 15/8 at the ends.
    let j: Vec<f64> = (0..9)
        .map(|x| match x {
            0 => 1.125,
            8 => 2.875,
            _ => 1.0 + 0.25 * f64::from(x),
        })
        .collect();
    let deviation = |values: Vec<f64>| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (squares / values.len() as f64).sqrt()
    };
    let plain = deviation(j.iter().map(|j| j.ln()).collect());
    let learn2reg = deviation(j[2..7].iter().map(|j| (j + 3.0).ln()).collect());
    assert!((found.sd_log_j.expect("positive") - plain).abs() < 1e-6);
    assert!((found.sd_log_j_learn2reg.expect("inside") - learn2reg).abs() < 1e-6);
    assert_eq!(
        (found.minimum_determinant, found.maximum_determinant),
        (1.125, 2.875)
    );
    assert_eq!(
        (found.folds_percent, found.digital_folds_percent),
        (0.0, 0.0)
    );
    assert_eq!(found.minimum_digital_determinant, 1.125);

    // Mirrored: everything is folded.
    let mirrored: Vec<f32> = (0..3 * voxels)
        .map(|v| {
            if v < voxels {
                -2.0 * (v % 9) as f32
            } else {
                0.0
            }
        })
        .collect();
    let found = regularity(&mirrored, &size).expect("a field");
    assert_eq!(
        (found.folds_percent, found.digital_folds_percent),
        (100.0, 100.0)
    );
    assert_eq!((found.non_positive, found.sd_log_j), (270, None));
    assert!((found.non_diffeomorphic_volume - 160.0).abs() < 1e-9);
    assert_eq!(found.sd_log_j_learn2reg, Some(0.0));

    assert!(regularity(&[0.0; 8], &[2, 2])
        .expect("a field")
        .sd_log_j_learn2reg
        .is_none());
    assert!(regularity(&[0.0; 7], &[2, 2]).is_err());
    assert!(regularity(&[0.0; 7], &[7]).is_err());
}

#[test]
fn an_affine_map_and_its_inverse_are_consistent() {
    let map = Affine::about(
        [[1.1, 0.2, 0.0], [-0.1, 0.9, 0.1], [0.0, 0.05, 1.0]],
        [10.0, -12.0, 3.0],
    );
    let back = map.inverse().expect("invertible");
    let turned = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
    let forward_grid = Grid::axis_aligned(&[12, 10, 8], &[1.0, 2.0, 1.5]).expect("a grid");
    let inverse_grid =
        Grid::new(&[40, 40, 30], &[1.0, 1.0, 1.25], [9.0, -10.0, -5.0], turned).expect("a grid");
    let field = |grid: &Grid, map: &Affine, shift: f64| {
        let n = grid.voxels();
        let size = grid.size().to_vec();
        let mut u = vec![0.0f32; 3 * n];
        for v in 0..n {
            let index = [v % size[0], v / size[0] % size[1], v / (size[0] * size[1])];
            let x = grid.index_to_world().apply(index.map(|i| i as f64));
            for c in 0..3 {
                u[c * n + v] = (map.apply(x)[c] - x[c] + shift) as f32;
            }
        }
        u
    };
    let forward = field(&forward_grid, &map, 0.0);
    let found = inverse_consistency(
        &forward,
        &forward_grid,
        &field(&inverse_grid, &back, 0.0),
        &inverse_grid,
    )
    .expect("fields");
    assert!(
        found.inside > 100 && found.inside < found.voxels,
        "{found:?}"
    );
    assert!(found.summary.maximum < 1e-4, "{found}");
    // An inverse that is off by a known vector.
    let off = inverse_consistency(
        &forward,
        &forward_grid,
        &field(&inverse_grid, &back, 0.5),
        &inverse_grid,
    )
    .expect("fields");
    assert!((off.summary.mean - 0.75f64.sqrt()).abs() < 1e-4, "{off}");
    assert!((off.summary.p95 - 0.75f64.sqrt()).abs() < 1e-4, "{off}");

    let flat = Grid::axis_aligned(&[3, 3], &[1.0, 1.0]).expect("a grid");
    let still = inverse_consistency(&[0.0; 18], &flat, &[0.0; 18], &flat).expect("fields");
    assert_eq!((still.inside, still.summary.maximum), (9, 0.0));
    assert!(inverse_consistency(&[0.0; 18], &flat, &[0.0; 17], &flat).is_err());
    assert!(inverse_consistency(&[9.0; 18], &flat, &[0.0; 18], &flat).is_err());
    assert!(inverse_consistency(&[0.0; 18], &flat, &[f32::NAN; 18], &flat).is_err());
}

#[test]
fn results_are_written_as_json() {
    let found = overlap(&[1, 0], &[1, 1], None, Some(&[1, 7])).expect("labels");
    let json = serde_json::to_value(&found).expect("json");
    assert_eq!(json["labels"][0]["both"], 1);
    assert!(json["labels"][1]["dice"].is_null());
}
