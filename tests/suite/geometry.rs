//! Grids and affine maps.

use approx::assert_abs_diff_eq;
use stillpoint::{Affine, Grid, Rng};

fn random_affine(rng: &mut Rng) -> Affine {
    Affine::new(
        std::array::from_fn(|_| std::array::from_fn(|_| rng.normal())),
        std::array::from_fn(|_| 10.0 * rng.normal()),
    )
}

#[test]
fn inverse_undoes_and_composition_is_sequence() {
    let mut rng = Rng::new(1);
    for _ in 0..50 {
        let (a, b) = (random_affine(&mut rng), random_affine(&mut rng));
        let p = std::array::from_fn(|_| rng.normal());
        let both = a.compose(&b).apply(p);
        let sequence = a.apply(b.apply(p));
        let back = a.inverse().unwrap().apply(a.apply(p));
        for i in 0..3 {
            assert_abs_diff_eq!(both[i], sequence[i], epsilon = 1e-10);
            assert_abs_diff_eq!(back[i], p[i], epsilon = 1e-7);
        }
    }
    assert!(Affine::new(
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 0.0, 1.0]],
        [0.0; 3]
    )
    .inverse()
    .is_err());
}

#[test]
fn exponential_of_a_skew_generator_is_the_rotation() {
    let angle = 2.5f64; // large enough to need squarings
    let generator = Affine::new(
        [[0.0, -angle, 0.0], [angle, 0.0, 0.0], [0.0, 0.0, 0.0]],
        [1.0, 2.0, 3.0],
    );
    let map = Affine::exp(&generator);
    assert_abs_diff_eq!(map.matrix[0][0], angle.cos(), epsilon = 1e-12);
    assert_abs_diff_eq!(map.matrix[1][0], angle.sin(), epsilon = 1e-12);
    assert_abs_diff_eq!(map.translation[2], 3.0, epsilon = 1e-12);
    // integral of R(s) (1, 2) ds over 0..1
    let (s, c) = (angle.sin() / angle, (1.0 - angle.cos()) / angle);
    assert_abs_diff_eq!(map.translation[0], s - 2.0 * c, epsilon = 1e-12);
    assert_abs_diff_eq!(map.translation[1], c + 2.0 * s, epsilon = 1e-12);
}

#[test]
fn resizing_keeps_the_field_of_view() {
    let angle = 0.3f64;
    let direction = [
        [angle.cos(), -angle.sin(), 0.0],
        [angle.sin(), angle.cos(), 0.0],
        [0.0, 0.0, -1.0],
    ];
    let grid = Grid::new(&[30, 41, 7], &[1.0, 0.5, 4.0], [5.0, -3.0, 2.0], direction).unwrap();
    let half = grid.resized(&[15, 20, 7]).unwrap();
    let edge = |g: &Grid, end: bool| {
        let index = std::array::from_fn(|a| if end { g.size()[a] as f64 - 0.5 } else { -0.5 });
        g.index_to_world().apply(index)
    };
    for end in [false, true] {
        let (a, b) = (edge(&grid, end), edge(&half, end));
        for i in 0..3 {
            assert_abs_diff_eq!(a[i], b[i], epsilon = 1e-9);
        }
    }
}

#[test]
fn matching_is_by_corners_in_voxels() {
    let grid = Grid::axis_aligned(&[100, 100, 100], &[1.0, 1.0, 1.0]).unwrap();
    let nudged = Grid::new(
        &[100, 100, 100],
        &[1.0001; 3],
        [0.01, 0.0, 0.0],
        Affine::identity().matrix,
    )
    .unwrap();
    assert!(grid.matches(&nudged, 0.05));
    let other = Grid::new(
        &[100, 100, 100],
        &[1.01; 3],
        [0.0; 3],
        Affine::identity().matrix,
    )
    .unwrap();
    assert!(!grid.matches(&other, 0.05));
}

#[test]
fn bad_grids_are_refused() {
    assert!(Grid::axis_aligned(&[4, 0], &[1.0, 1.0]).is_err());
    assert!(Grid::axis_aligned(&[4, 4], &[1.0, -1.0]).is_err());
    assert!(Grid::axis_aligned(&[4], &[1.0]).is_err());
    let skew = [[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    assert!(Grid::new(&[4, 4, 4], &[1.0; 3], [0.0; 3], skew).is_err());
}

#[test]
fn random_numbers_depend_on_the_seed_alone() {
    let draw = |seed| {
        let mut rng = Rng::new(seed);
        (0..1000).map(|_| rng.normal()).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    let (mean, var) = draw(3)
        .iter()
        .fold((0.0, 0.0), |(m, v), x| (m + x / 1e3, v + x * x / 1e3));
    assert!(
        mean.abs() < 0.12 && (var - 1.0).abs() < 0.2,
        "mean {mean}, variance {var}"
    );
}
