//! Displacement fields: composition, inverse, determinants, coverage, continuation.

use candle_core::Tensor;
use stillpoint::{
    compose, compose_unfolded, coverage, extend, inverse_displacement, pull_to_steps, relax_folds,
    smallest_determinant, Affine, Interpolation,
};

use crate::sampler::{positions, value};
use crate::samples::{along, close, distance, dot, noise, shape, tensor, values, zeros, SIZES};

/// A displacement from a function of the index, fastest axis first.
fn field(size: &[usize], f: impl Fn([f64; 3]) -> [f64; 3]) -> Tensor {
    let n: usize = size.iter().product();
    let mut u = vec![0.0; size.len() * n];
    for v in 0..n {
        let (mut index, mut rest) = ([0.0; 3], v);
        for a in 0..size.len() {
            index[a] = (rest % size[a]) as f64;
            rest /= size[a];
        }
        let here = f(index);
        for a in 0..size.len() {
            u[a * n + v] = here[a];
        }
    }
    tensor(u, &shape(size.len(), size))
}

/// Waves that vanish at the border.
fn waves(size: &[usize], amplitude: f64) -> Tensor {
    let size = size.to_vec();
    field(&size.clone(), |p| {
        let fade: f64 = (0..size.len())
            .map(|a| (std::f64::consts::PI * p[a] / (size[a] - 1) as f64).sin())
            .product();
        std::array::from_fn(|a| {
            amplitude * fade * (0.25 * p[(a + 1) % size.len()] + a as f64).cos()
        })
    })
}

fn affine(size: &[usize], matrix: [[f64; 3]; 3]) -> Tensor {
    field(size, |p| {
        std::array::from_fn(|a| (0..3).map(|b| matrix[a][b] * (p[b] - 2.0)).sum())
    })
}

const LINEAR: [[f64; 3]; 3] = [
    [0.10, 0.05, -0.02],
    [-0.04, -0.08, 0.03],
    [0.02, 0.06, 0.07],
];

#[test]
fn composition_is_that_of_the_reference() {
    for &size in SIZES {
        let rank = size.len();
        let n: usize = size.iter().product();
        let (u, d) = (noise(&shape(rank, size), 1), noise(&shape(rank, size), 2));
        let out = zeros(&u);
        compose(&u, &d, 0.7, &out).unwrap();
        let step: Vec<f64> = values(&d).iter().map(|v| 0.7 * v).collect();
        let at = positions(&step, size, &Affine::identity());
        let all = values(&u);
        let expected: Vec<f64> = (0..rank * n)
            .map(|k| {
                let component = &all[k / n * n..][..n];
                step[k] + value(component, size, &at[k % n], Interpolation::Linear)
            })
            .collect();
        assert!(distance(&values(&out), &expected) < 1e-12, "{size:?}");
    }
}

#[test]
fn affine_maps_compose_exactly_inside() {
    let size = [15, 14, 13];
    let n: usize = size.iter().product();
    let (u, d) = (affine(&size, LINEAR), affine(&size, LINEAR));
    let out = zeros(&u);
    compose(&u, &d, 1.0, &out).unwrap();
    let map = Affine::about(
        std::array::from_fn(|a| {
            std::array::from_fn(|b| LINEAR[a][b] + f64::from(u8::from(a == b)))
        }),
        [2.0; 3],
    );
    let twice = map.compose(&map);
    let got = values(&out);
    for z in 3..size[2] - 3 {
        for y in 3..size[1] - 3 {
            for x in 3..size[0] - 3 {
                let p = [x as f64, y as f64, z as f64];
                let v = (z * size[1] + y) * size[0] + x;
                for a in 0..3 {
                    close(
                        got[a * n + v],
                        twice.apply(p)[a] - p[a],
                        1e-12,
                        "composition",
                    );
                }
            }
        }
    }
}

/// `g <- P' g` and `B <- P' B P`: for an affine displacement `P = I + A` at every voxel, the border included.
#[test]
fn gradients_and_blocks_are_carried_by_the_derivative() {
    for size in [&[9, 7][..], &[19, 5, 4]] {
        let rank = size.len();
        let n: usize = size.iter().product();
        let u = affine(size, LINEAR);
        let p = |a: usize, b: usize| LINEAR[a][b] + f64::from(u8::from(a == b));
        for entries in [rank, rank * (rank + 1) / 2] {
            let (g, b) = (
                noise(&shape(rank, size), 1),
                noise(&shape(entries, size), 2),
            );
            let (before, blocks) = (values(&g), values(&b));
            pull_to_steps(&u, &g, &b).unwrap();
            let (after, pulled) = (values(&g), values(&b));
            let packed = |a: usize, b: usize| {
                let (a, b) = (a.min(b), a.max(b));
                a * rank - a * (a + 1) / 2 + b
            };
            for x in 0..n {
                for a in 0..rank {
                    let sum: f64 = (0..rank).map(|k| p(k, a) * before[k * n + x]).sum();
                    close(after[a * n + x], sum, 1e-12, "gradient");
                    if entries == rank {
                        let sum: f64 = (0..rank).map(|k| p(k, a) * blocks[k * n + x]).sum();
                        close(pulled[a * n + x], sum, 1e-12, "vector");
                        continue;
                    }
                    for b in a..rank {
                        let mut sum = 0.0;
                        for k in 0..rank {
                            for l in 0..rank {
                                sum += p(k, a) * blocks[packed(k, l) * n + x] * p(l, b);
                            }
                        }
                        close(pulled[packed(a, b) * n + x], sum, 1e-12, "block");
                    }
                }
            }
        }
    }
}

/// The derivative of composing with `t d` at `t = 0` is `P d`, whose transpose the gradients are carried by.
#[test]
fn the_carried_gradient_is_that_of_the_composition() {
    let size = [11, 9, 8];
    let u = affine(&size, LINEAR);
    // inwards at the border, where the displacement does not go on
    let inner = waves(&size, 1.0);
    let d = (noise(u.dims(), 3) * &inner).unwrap();
    let g = noise(u.dims(), 4);
    let moved = |t: f64| {
        let out = zeros(&u);
        compose(&u, &d, t, &out).unwrap();
        dot(&g, &out)
    };
    let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
    let carried = g.copy().unwrap();
    pull_to_steps(&u, &carried, &noise(u.dims(), 5)).unwrap();
    close(slope, dot(&carried, &d), 1e-8, "slope");
}

#[test]
fn the_inverse_undoes_a_displacement() {
    for size in [&[40, 33][..], &[25, 22, 19]] {
        let u = waves(size, 1.5);
        let (v, missed) = inverse_displacement(&u).unwrap();
        assert_eq!(missed, 0.0);
        for (first, second) in [(&v, &u), (&u, &v)] {
            let out = zeros(&u);
            compose(second, first, 1.0, &out).unwrap();
            let rest = values(&out).iter().fold(0.0f64, |w, r| w.max(r.abs()));
            // the second order is off by what linear interpolation of the inverse loses
            let allowed = if std::ptr::eq(first, &v) { 1e-4 } else { 0.1 };
            assert!(rest < allowed, "{size:?}: {rest}");
        }
    }
}

#[test]
fn the_inverse_of_an_affine_map_is_known() {
    let size = [24, 21];
    let n = size[0] * size[1];
    let linear = [[0.10, 0.05, 0.0], [-0.04, -0.08, 0.0], [0.0; 3]];
    let (v, _) = inverse_displacement(&affine(&size, linear)).unwrap();
    let mut matrix = Affine::identity().matrix;
    for a in 0..2 {
        for b in 0..2 {
            matrix[a][b] += linear[a][b];
        }
    }
    let inverse = Affine::about(matrix, [2.0, 2.0, 0.0]).inverse().unwrap();
    let got = values(&v);
    for y in 4..size[1] - 4 {
        for x in 4..size[0] - 4 {
            let p = [x as f64, y as f64, 0.0];
            for a in 0..2 {
                let expected = inverse.apply(p)[a] - p[a];
                assert!((got[a * n + y * size[0] + x] - expected).abs() < 2e-4);
            }
        }
    }
}

#[test]
fn voxels_where_the_inverse_was_not_found_are_counted() {
    for size in [&[41, 30][..], &[21, 12, 10]] {
        let n: usize = size.iter().product();
        let u = (noise(&shape(size.len(), size), 5) * 4.0).unwrap();
        let (v, missed) = inverse_displacement(&u).unwrap();
        let rest = zeros(&u);
        compose(&u, &v, 1.0, &rest).unwrap();
        let rest = values(&rest);
        let far = (0..n)
            .filter(|x| rest.iter().skip(*x).step_by(n).map(|r| r * r).sum::<f64>() > 1e-4)
            .count();
        assert!(far > 0);
        assert_eq!(missed, far as f64 / n as f64, "{size:?}");
    }
}

#[test]
fn the_smallest_determinant_of_an_affine_map_is_its_determinant() {
    let mut matrix = LINEAR;
    (0..3).for_each(|a| matrix[a][a] += 1.0);
    let expected = Affine::new(matrix, [0.0; 3]).determinant();
    close(
        smallest_determinant(&affine(&[9, 8, 7], LINEAR)).unwrap(),
        expected,
        1e-6,
        "3D",
    );
    let flat = (1.0 + LINEAR[0][0]) * (1.0 + LINEAR[1][1]) - LINEAR[0][1] * LINEAR[1][0];
    close(
        smallest_determinant(&affine(&[9, 8], LINEAR)).unwrap(),
        flat,
        1e-6,
        "2D",
    );
}

#[test]
fn steps_that_fold_are_shortened_where_they_fold() {
    let size = [30, 28, 12];
    let u = waves(&size, 1.0);
    let gentle = waves(&size, 0.5);
    let (out, plain) = (zeros(&u), zeros(&u));
    let step = gentle.copy().unwrap();
    assert!(compose_unfolded(&u, &step, 1.0, 0.02, &out).unwrap());
    compose(&u, &gentle, 1.0, &plain).unwrap();
    assert_eq!(values(&out), values(&plain));
    assert_eq!(values(&step), values(&gentle));

    // one voxel jumps over its neighbours
    let n: usize = size.iter().product();
    let centre = (6 * size[1] + 14) * size[0] + 15;
    let mut v = values(&gentle);
    v[centre] += 4.0;
    let step = tensor(v.clone(), u.dims());
    compose(&u, &step, 1.0, &plain).unwrap();
    assert!(smallest_determinant(&plain).unwrap() <= 0.0);
    assert!(compose_unfolded(&u, &step, 1.0, 0.02, &out).unwrap());
    assert!(smallest_determinant(&out).unwrap() > 0.02);
    let after = values(&step);
    assert!(after[centre].abs() < v[centre].abs());
    for k in [0, centre - 12, centre + 12, n + centre - 12] {
        assert_eq!(after[k], v[k], "far from the fold the step is as it was");
    }
    let again = zeros(&u);
    compose(&u, &step, 1.0, &again).unwrap();
    assert_eq!(
        values(&again),
        values(&out),
        "the result is that of the shortened step"
    );
}

#[test]
fn what_is_folded_already_is_reported() {
    let size = [16, 15];
    let mut v = values(&waves(&size, 0.3));
    v[7 * 16 + 8] += 5.0;
    let u = tensor(v, &shape(2, &size));
    let out = zeros(&u);
    assert!(!compose_unfolded(&u, &zeros(&u), 1.0, 0.02, &out).unwrap());
}

#[test]
fn folds_are_smoothed_away_where_they_are() {
    for size in [&[40, 21][..], &[41, 16, 15]] {
        let voxels: usize = size.iter().product();
        let smooth = waves(size, 0.3);
        // one voxel jumps over its neighbours
        let middle = voxels / 2 + size[0] / 2;
        let mut folded = values(&smooth);
        folded[middle] += 3.0;
        let u = tensor(folded, &shape(size.len(), size));
        assert!(smallest_determinant(&u).unwrap() < 0.0);
        assert!(relax_folds(&u, 0.02).unwrap());
        assert!(smallest_determinant(&u).unwrap() > 0.02);
        let (before, after) = (values(&smooth), values(&u));
        let mut far = 0;
        for (k, (a, b)) in before.iter().zip(&after).enumerate() {
            let (mut from, mut to, mut apart) = (k % voxels, middle, 0);
            for n in size {
                apart = apart.max((from % n).abs_diff(to % n));
                (from, to) = (from / n, to / n);
            }
            if apart > 9 {
                far += 1;
                assert_eq!(a, b, "{size:?}: {k} is {apart} voxels away");
            }
        }
        assert!(far > voxels / 10, "{far}");
    }
}

#[test]
fn a_field_without_folds_is_left_alone_and_what_cannot_be_mended_is_told() {
    for size in [&[12, 11][..], &[8, 7, 9]] {
        let u = waves(size, 0.3);
        let before = values(&u);
        assert!(relax_folds(&u, 0.02).unwrap());
        assert_eq!(values(&u), before);
        // smoothing tends to determinants of one, and never beyond
        assert!(!relax_folds(&u, 1.0).unwrap());
    }
}

#[test]
fn coverage_is_the_share_of_positions_inside() {
    for rank in [2, 3] {
        let size = &[10, 6, 4][..rank];
        let out = tensor(vec![9.0; size.iter().product()], &shape(1, size)[1..]);
        // three of ten columns leave to the right, beyond half a voxel
        let map = Affine::shift([3.2, 0.0, 0.0]);
        let share = coverage(None, size, &map, &out).unwrap();
        close(share, 0.7, 1e-14, "share");
        for (v, inside) in values(&out).iter().enumerate() {
            assert_eq!(*inside, f64::from(u8::from(v % 10 < 7)), "{v}");
        }
        let back = field(size, |_| [-3.2, 0.0, 0.0]);
        assert_eq!(coverage(Some(&back), size, &map, &out).unwrap(), 1.0);
        let far = field(size, |p| {
            [if p[0] < 5.0 { f64::NAN } else { 0.0 }, 0.0, 0.0]
        });
        assert_eq!(
            coverage(Some(&far), size, &Affine::identity(), &out).unwrap(),
            0.5
        );
    }
}

#[test]
fn fields_are_continued_by_their_nearest_value() {
    for (part, start, whole) in [
        (&[3, 2][..], &[2, 1][..], &[7, 5][..]),
        (&[4, 3, 2], &[0, 2, 1], &[6, 5, 4]),
        (&[4, 3], &[0, 0], &[4, 3]),
    ] {
        let x = noise(&shape(2, part), 1);
        let got = extend(&x, start, whole).unwrap();
        assert_eq!(got.dims(), shape(2, whole));
        let (from, to) = (values(&x), values(&got));
        let (n, m): (usize, usize) = (whole.iter().product(), part.iter().product());
        for (k, value) in to.iter().enumerate() {
            let (mut rest, mut at, mut stride) = (k % n, 0, 1);
            for a in 0..whole.len() {
                let index = (rest % whole[a]).saturating_sub(start[a]).min(part[a] - 1);
                rest /= whole[a];
                at += index * stride;
                stride *= part[a];
            }
            assert_eq!(*value, from[k / n * m + at]);
        }
    }
}

#[test]
fn steps_of_length_zero_leave_a_field_alone() {
    let u = noise(&[3, 4, 5, 6], 1);
    let out = zeros(&u);
    compose(&u, &noise(u.dims(), 2), 0.0, &out).unwrap();
    assert!(distance(&values(&out), &values(&along(&u, 0.0, &u))) < 1e-14);
}
