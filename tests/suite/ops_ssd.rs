//! The data term: equal to a plain reference, and every derivative equal to finite differences.

use candle_core::{DType, Tensor};
use stillpoint::{spline_coefficients, Affine, Curvature, Interpolation, SsdData};

use crate::sampler::{positions, value};
use crate::samples::{along, close, distance, noise, shape, tensor, uniform, values, zeros, SIZES};

const STEP: f64 = 1e-5;

/// A map that turns, stretches and shifts a little.
pub fn map(rank: usize) -> Affine {
    let mut matrix = Affine::identity().matrix;
    for a in 0..rank {
        for b in 0..rank {
            matrix[a][b] += 0.07 * ((a * 3 + b + 1) as f64 * 1.7).sin();
        }
    }
    Affine::new(matrix, [0.31, -0.42, if rank == 3 { 0.23 } else { 0.0 }])
}

/// A term on a grid, and a displacement of about a voxel.
fn term(
    size: &[usize],
    channels: usize,
    masked: bool,
    interpolation: Interpolation,
) -> (SsdData, Tensor) {
    let moving: Vec<usize> = size
        .iter()
        .map(|&n| if n == 1 { 1 } else { n + 1 })
        .collect();
    let features = noise(&shape(channels, &moving), 1);
    let data = SsdData {
        fixed: noise(&shape(channels, size), 2),
        moving: match interpolation {
            Interpolation::Linear => features,
            Interpolation::Cubic => spline_coefficients(&features).unwrap(),
        },
        mask: masked.then(|| uniform(&shape(1, size)[1..], 3)),
        channel_weight: (0..channels).map(|c| 0.5 + c as f64).collect(),
        map: map(size.len()),
        interpolation,
    };
    (data, noise(&shape(size.len(), size), 4))
}

pub fn cases(mut check: impl FnMut(&SsdData, &Tensor, &[usize], &str)) {
    for &size in SIZES {
        for (channels, masked) in [(1, false), (1, true), (3, true)] {
            for interpolation in [Interpolation::Linear, Interpolation::Cubic] {
                let (data, u) = term(size, channels, masked, interpolation);
                let name =
                    format!("{size:?} {channels} channels, mask {masked}, {interpolation:?}");
                check(&data, &u, size, &name);
            }
        }
    }
}

/// A field of ones in component `a`.
fn unit(a: usize, like: &Tensor) -> Tensor {
    let n = like.elem_count() / like.dims()[0];
    let v = (0..like.elem_count())
        .map(|k| f64::from(u8::from(k / n == a)))
        .collect();
    tensor(v, like.dims())
}

fn packed(rank: usize) -> Vec<(usize, usize)> {
    (0..rank)
        .flat_map(|a| (a..rank).map(move |b| (a, b)))
        .collect()
}

fn linearise(
    data: &SsdData,
    u: &Tensor,
    curvature: Curvature,
    entries: usize,
) -> (f64, Tensor, Tensor) {
    let gradient = zeros(u);
    let mut dims = u.dims().to_vec();
    dims[0] = entries;
    let blocks = noise(&dims, 9);
    let energy = data
        .linearise(Some(u), curvature, &gradient, &blocks)
        .unwrap();
    (energy, gradient, blocks)
}

#[test]
fn the_warp_and_the_energy_are_those_of_the_reference() {
    cases(|data, u, size, name| {
        let n: usize = size.iter().product();
        let moving: Vec<usize> = data.moving.dims()[1..].iter().rev().copied().collect();
        let m: usize = moving.iter().product();
        let (voxels, fixed) = (values(&data.moving), values(&data.fixed));
        let at = positions(&values(u), size, &data.map);
        let mask = data.mask.as_ref().map_or(vec![1.0; n], values);
        let (mut warped, mut energy) = (Vec::new(), 0.0);
        for (c, weight) in data.channel_weight.iter().enumerate() {
            for x in 0..n {
                let v = value(&voxels[c * m..][..m], &moving, &at[x], data.interpolation);
                energy += 0.5 * mask[x] * weight * (v - fixed[c * n + x]).powi(2);
                warped.push(v);
            }
        }
        let gap = distance(&values(&data.warped(Some(u)).unwrap()), &warped);
        assert!(gap < 1e-12, "{name}: {gap}");
        close(data.value(Some(u)).unwrap(), energy, 1e-13, name);
        let still = data.value(Some(&zeros(u))).unwrap();
        assert_eq!(data.value(None).unwrap(), still, "{name}");
    });
}

#[test]
fn the_gradient_and_the_blocks_are_those_of_the_slopes() {
    cases(|data, u, size, name| {
        let rank = size.len();
        let n: usize = size.iter().product();
        let channels = data.channel_weight.len();
        // each voxel's warp depends on its own displacement alone, so one difference serves all voxels
        let slope: Vec<Vec<f64>> = (0..rank)
            .map(|a| {
                let e = unit(a, u);
                let warp = |t| values(&data.warped(Some(&along(u, t, &e))).unwrap());
                let (high, low) = (warp(STEP), warp(-STEP));
                high.iter()
                    .zip(&low)
                    .map(|(h, l)| (h - l) / (2.0 * STEP))
                    .collect()
            })
            .collect();
        let warped = values(&data.warped(Some(u)).unwrap());
        let fixed = values(&data.fixed);
        let mask = data.mask.as_ref().map_or(vec![1.0; n], values);
        let mut g = vec![0.0; rank * n];
        let mut b = vec![0.0; packed(rank).len() * n];
        for x in 0..n {
            for (c, weight) in data.channel_weight.iter().enumerate() {
                let k = c * n + x;
                let r = warped[k] - fixed[k];
                for a in 0..rank {
                    g[a * n + x] += mask[x] * weight * r * slope[a][k];
                }
                for (entry, &(p, q)) in packed(rank).iter().enumerate() {
                    b[entry * n + x] += mask[x] * weight * slope[p][k] * slope[q][k];
                }
            }
        }
        let (energy, gradient, blocks) =
            linearise(data, u, Curvature::GaussNewton, packed(rank).len());
        close(energy, data.value(Some(u)).unwrap(), 1e-13, name);
        assert!(distance(&values(&gradient), &g) < 1e-6, "{name}: gradient");
        assert!(distance(&values(&blocks), &b) < 1e-6, "{name}: blocks");
        if channels == 1 {
            let (energy, gradient, vector) = linearise(data, u, Curvature::GaussNewton, rank);
            close(energy, data.value(Some(u)).unwrap(), 1e-13, name);
            assert!(distance(&values(&gradient), &g) < 1e-6, "{name}: gradient");
            let v = values(&vector);
            let outer: Vec<f64> = packed(rank)
                .iter()
                .flat_map(|&(p, q)| {
                    (0..n)
                        .map(|x| v[p * n + x] * v[q * n + x])
                        .collect::<Vec<_>>()
                })
                .collect();
            assert!(distance(&outer, &b) < 1e-6, "{name}: vector");
        }
    });
}

#[test]
fn the_newton_blocks_are_the_derivative_of_the_gradient() {
    cases(|data, u, size, name| {
        let rank = size.len();
        let n: usize = size.iter().product();
        let entries = packed(rank);
        let gradient = |t: f64, a: usize| {
            let moved = along(u, t, &unit(a, u));
            let (_, g, _) = linearise(data, &moved, Curvature::Newton, entries.len());
            values(&g)
        };
        let (_, _, blocks) = linearise(data, u, Curvature::Newton, entries.len());
        let blocks = values(&blocks);
        for b in 0..rank {
            let (high, low) = (gradient(STEP, b), gradient(-STEP, b));
            for (entry, &(p, q)) in entries.iter().enumerate() {
                if p != b && q != b {
                    continue;
                }
                let a = if p == b { q } else { p };
                for x in 0..n {
                    let slope = (high[a * n + x] - low[a * n + x]) / (2.0 * STEP);
                    close(
                        blocks[entry * n + x],
                        slope,
                        2e-6,
                        &format!("{name}: ({a}, {b}) at {x}"),
                    );
                }
            }
        }
    });
}

#[test]
fn positions_that_are_not_numbers_stay_inside() {
    let (data, u) = term(&[19, 3, 4], 1, false, Interpolation::Cubic);
    let mut v = values(&u);
    v[7] = f64::NAN;
    v[40] = f64::INFINITY;
    v[300] = f64::NEG_INFINITY;
    let u = tensor(v, u.dims());
    for interpolation in [Interpolation::Linear, Interpolation::Cubic] {
        let data = SsdData {
            interpolation,
            ..data.clone()
        };
        let warped = values(&data.warped(Some(&u)).unwrap());
        assert!(warped.iter().all(|w| w.is_finite()));
        let (_, gradient, _) = linearise(&data, &u, Curvature::Newton, 6);
        assert!(values(&gradient).iter().all(|g| g.is_finite()));
    }
}

#[test]
fn features_in_halves_give_what_the_same_features_give_in_single_precision() {
    let single = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
    for size in SIZES.iter().chain(&[&[37usize, 6, 5][..], &[131, 9]]) {
        for channels in [1, 3, 16] {
            let (data, u) = term(size, channels, true, Interpolation::Linear);
            let halves = SsdData {
                fixed: data.fixed.to_dtype(DType::F16).unwrap(),
                moving: data.moving.to_dtype(DType::F16).unwrap(),
                mask: data.mask.as_ref().map(single),
                ..data
            };
            let wide = SsdData {
                fixed: single(&halves.fixed),
                moving: single(&halves.moving),
                ..halves.clone()
            };
            let u = single(&u);
            let name = format!("{size:?} {channels} channels");
            let energies = [&halves, &wide].map(|data| data.value(Some(&u)).unwrap());
            assert_eq!(energies[0], energies[1], "{name}");
            let entries = packed(size.len()).len();
            for (curvature, entries) in [
                (
                    Curvature::GaussNewton,
                    if channels == 1 { size.len() } else { entries },
                ),
                (Curvature::Newton, entries),
            ] {
                let [of_halves, expected] = [&halves, &wide].map(|data| {
                    let gradient = u.zeros_like().unwrap();
                    let blocks = single(&noise(&shape(entries, size), 5));
                    let energy = data
                        .linearise(Some(&u), curvature, &gradient, &blocks)
                        .unwrap();
                    (energy, values(&gradient), values(&blocks))
                });
                assert!(of_halves == expected, "{name}, {curvature:?}");
            }
        }
    }
}

#[test]
fn features_in_halves_are_not_interpolated_by_splines() {
    let (data, u) = term(&[9, 8], 2, false, Interpolation::Cubic);
    let data = SsdData {
        fixed: data.fixed.to_dtype(DType::F16).unwrap(),
        moving: data.moving.to_dtype(DType::F16).unwrap(),
        ..data
    };
    let error = data.value(Some(&u.to_dtype(DType::F32).unwrap()));
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("half precision") && text.contains("F32"),
        "{text}"
    );
}
