//! The warp: equal to a plain reference, with a true adjoint and a true gradient.

use stillpoint::{
    spline_coefficients, warp, warp_adjoint, warp_gradient, Affine, Error, Interpolation,
};

use crate::ops_ssd::map;
use crate::sampler::{positions, value};
use crate::samples::{close, distance, dot, noise, shape, tensor, values, SIZES};

const STEP: f64 = 1e-5;
const BOTH: [Interpolation; 2] = [Interpolation::Linear, Interpolation::Cubic];

/// A moving grid that differs from the fixed one.
fn other(size: &[usize]) -> Vec<usize> {
    size.iter()
        .map(|&n| if n == 1 { 1 } else { n + 2 })
        .collect()
}

#[test]
fn values_are_those_of_the_reference() {
    for &size in SIZES {
        for interpolation in BOTH {
            let moving = other(size);
            let image = noise(&shape(2, &moving), 1);
            let u = noise(&shape(size.len(), size), 2);
            let map = map(size.len());
            let voxels = values(&match interpolation {
                Interpolation::Linear => image.clone(),
                Interpolation::Cubic => spline_coefficients(&image).unwrap(),
            });
            let m: usize = moving.iter().product();
            let at = positions(&values(&u), size, &map);
            let expected: Vec<f64> = (0..2)
                .flat_map(|c| {
                    let channel = &voxels[c * m..][..m];
                    at.iter()
                        .map(|p| value(channel, &moving, p, interpolation))
                        .collect::<Vec<_>>()
                })
                .collect();
            let warped = warp(&image, &u, &map, interpolation).unwrap();
            assert_eq!(warped.dims(), shape(2, size));
            let gap = distance(&values(&warped), &expected);
            assert!(gap < 1e-12, "{size:?} {interpolation:?}: {gap}");
        }
    }
}

#[test]
fn nothing_moves_without_a_displacement_and_whole_voxels_move_as_they_are() {
    let image = noise(&[2, 6, 7, 8], 1);
    let still = tensor(vec![0.0; 3 * 6 * 7 * 8], &[3, 6, 7, 8]);
    for interpolation in BOTH {
        let same = warp(&image, &still, &Affine::identity(), interpolation).unwrap();
        assert!(distance(&values(&same), &values(&image)) < 1e-12);
        // one voxel along the fastest axis: beyond the border lies the last value, or the mirror image
        let mut one = vec![0.0; 3 * 6 * 7 * 8];
        one[..6 * 7 * 8].fill(1.0);
        let moved = warp(
            &image,
            &tensor(one, &[3, 6, 7, 8]),
            &Affine::identity(),
            interpolation,
        )
        .unwrap();
        let (from, to) = (values(&image), values(&moved));
        for v in 0..to.len() {
            let next = match (v % 8, interpolation) {
                (7, Interpolation::Linear) => v,
                (7, Interpolation::Cubic) => v - 1,
                _ => v + 1,
            };
            assert!((to[v] - from[next]).abs() < 1e-12);
        }
    }
}

#[test]
fn the_adjoint_passes_the_dot_product_test() {
    for &size in SIZES {
        for interpolation in BOTH {
            for channels in [1, 3, 7, 19] {
                let moving = other(size);
                let image = noise(&shape(channels, &moving), 1);
                let u = (noise(&shape(size.len(), size), 2) * 1.5).unwrap();
                let g = noise(&shape(channels, size), 3);
                let map = map(size.len());
                let forward = warp(&image, &u, &map, interpolation).unwrap();
                let back = warp_adjoint(&g, &u, &map, interpolation, &moving).unwrap();
                assert_eq!(back.dims(), image.dims());
                close(
                    dot(&forward, &g),
                    dot(&image, &back),
                    1e-12,
                    &format!("{size:?} {interpolation:?}"),
                );
            }
        }
    }
}

/// Slabs of several planes, rows that reach many of them.
#[test]
fn the_adjoint_holds_on_larger_grids_and_far_moves() {
    for (size, moving) in [
        (&[40, 30, 25][..], &[33, 21, 70][..]),
        (&[90, 70][..], &[64, 120][..]),
    ] {
        for interpolation in BOTH {
            let rank = size.len();
            let mut turned = Affine::identity();
            turned.matrix[0] = [0.1, 0.9, 0.0];
            turned.matrix[1] = [-0.9, 0.1, 0.3];
            turned.translation = [3.0, 50.0, 2.0];
            if rank == 2 {
                turned.matrix[1][2] = 0.0;
            }
            let u = (noise(&shape(rank, size), 2) * 8.0).unwrap();
            for channels in [2, 9] {
                let image = noise(&shape(channels, moving), 1);
                let g = noise(&shape(channels, size), 3);
                let forward = warp(&image, &u, &turned, interpolation).unwrap();
                let back = warp_adjoint(&g, &u, &turned, interpolation, moving).unwrap();
                close(
                    dot(&forward, &g),
                    dot(&image, &back),
                    1e-12,
                    &format!("{size:?} {interpolation:?} {channels}"),
                );
            }
        }
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    for &size in SIZES {
        for interpolation in BOTH {
            let moving = other(size);
            let rank = size.len();
            let n: usize = size.iter().product();
            let image = noise(&shape(2, &moving), 1);
            let u = noise(&shape(rank, size), 2);
            let g = noise(&shape(2, size), 3);
            let map = map(rank);
            let gradient = values(&warp_gradient(&image, &u, &map, interpolation, &g).unwrap());
            for a in 0..rank {
                let moved = |t: f64| {
                    let mut v = values(&u);
                    v[a * n..][..n].iter_mut().for_each(|x| *x += t);
                    values(&warp(&image, &tensor(v, u.dims()), &map, interpolation).unwrap())
                };
                let (high, low, weight) = (moved(STEP), moved(-STEP), values(&g));
                for x in 0..n {
                    let slope: f64 = [x, n + x]
                        .iter()
                        .map(|&k| weight[k] * (high[k] - low[k]) / (2.0 * STEP))
                        .sum();
                    close(
                        gradient[a * n + x],
                        slope,
                        1e-6,
                        &format!("{size:?} {interpolation:?} {a} {x}"),
                    );
                }
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let (image, u) = (noise(&[1, 5, 6], 1), noise(&[2, 5, 6], 2));
    let map = Affine::identity();
    let linear = Interpolation::Linear;
    let refused =
        |r: stillpoint::Result<candle_core::Tensor>| matches!(r, Err(Error::Shape { .. }));
    assert!(refused(warp(&image, &noise(&[3, 5, 6], 2), &map, linear)));
    assert!(refused(warp(&noise(&[1, 4, 5, 6], 1), &u, &map, linear)));
    assert!(refused(warp_gradient(
        &image,
        &u,
        &map,
        linear,
        &noise(&[2, 5, 6], 3)
    )));
    assert!(refused(warp_adjoint(
        &noise(&[1, 6, 6], 3),
        &u,
        &map,
        linear,
        &[6, 5]
    )));
}
