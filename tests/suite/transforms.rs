//! Transforms: derivatives and their transposes, retraction, and the same displacement on another grid.

use candle_core::{DType, Device, Tensor};
use stillpoint::{
    average_pool, BSpline, Compositive, Displacement, GlobalAffine, Grid, Transform, Velocity,
};

use crate::regularisers::grid;
use crate::samples::{along, close, distance, dot, noise, shape, tensor, values, zeros, SIZES};

fn parameters(transform: &dyn Transform, grid: &Grid, seed: u64) -> Tensor {
    let still = transform.identity(grid, DType::F64, &Device::Cpu).unwrap();
    assert!(values(&still).iter().all(|v| *v == 0.0));
    noise(still.dims(), seed)
}

fn each(mut check: impl FnMut(&dyn Transform)) {
    check(&Displacement);
    check(&Compositive);
    check(&BSpline { spacing: 3 });
    check(&BSpline { spacing: 5 });
    check(&GlobalAffine);
}

#[test]
fn derivatives_and_their_transposes_are_true() {
    each(|transform| {
        for &size in SIZES {
            let grid = grid(size, &[1.0, 1.2, 0.7]);
            let name = format!("{} {size:?}", transform.name());
            let (theta, step) = (
                parameters(transform, &grid, 1),
                parameters(transform, &grid, 2),
            );
            let u = |t: f64| {
                values(
                    &transform
                        .displacement(&along(&theta, t, &step), &grid)
                        .unwrap(),
                )
            };
            let pushed = transform.pushforward(&theta, &grid, &step).unwrap();
            assert_eq!(pushed.dims(), shape(size.len(), size), "{name}");
            // all are linear in their parameters
            let slope: Vec<f64> = u(1.0)
                .iter()
                .zip(u(-1.0))
                .map(|(h, l)| 0.5 * (h - l))
                .collect();
            assert!(distance(&values(&pushed), &slope) < 1e-12, "{name}");
            let cotangent = noise(pushed.dims(), 3);
            let pulled = transform.pullback(&theta, &grid, &cotangent).unwrap();
            assert_eq!(pulled.dims(), theta.dims(), "{name}");
            close(dot(&pushed, &cotangent), dot(&step, &pulled), 1e-12, &name);
        }
    });
}

#[test]
fn a_short_way_along_a_step_is_the_step() {
    each(|transform| {
        let size = [12, 10, 9];
        let grid = grid(&size, &[1.0; 3]);
        let theta = (parameters(transform, &grid, 1) * 0.05).unwrap();
        let step = (parameters(transform, &grid, 2) * 0.05).unwrap();
        let out = zeros(&theta);
        assert!(
            transform.retract(&theta, &step, 0.0, &out).unwrap(),
            "{}",
            transform.name()
        );
        assert!(
            distance(&values(&out), &values(&theta)) < 1e-14,
            "{}",
            transform.name()
        );
        assert!(transform.retract(&theta, &step, 1e-3, &out).unwrap());
        // the compositive step adds the slope of `u` along it, which is small here
        let moved = along(&theta, 1e-3, &step);
        assert!(
            distance(&values(&out), &values(&moved)) < 1e-3 * 0.1,
            "{}",
            transform.name()
        );
    });
}

#[test]
fn control_points_reproduce_constants_and_ramps() {
    let size = [17, 13, 9];
    let grid = grid(&size, &[1.0; 3]);
    let transform = BSpline { spacing: 4 };
    let theta = transform.identity(&grid, DType::F64, &Device::Cpu).unwrap();
    assert_eq!(theta.dims(), [3, 5, 6, 7]);
    let ones = transform
        .displacement(&theta.ones_like().unwrap(), &grid)
        .unwrap();
    assert!(values(&ones).iter().all(|v| (v - 1.0).abs() < 1e-14));
    // control k lies at voxel 4 (k - 1)
    let ramp = (0..theta.elem_count())
        .map(|k| 4.0 * ((k % 7) as f64 - 1.0))
        .collect();
    let u = values(
        &transform
            .displacement(&tensor(ramp, theta.dims()), &grid)
            .unwrap(),
    );
    for (v, value) in u.iter().enumerate() {
        close(*value, (v % 17) as f64, 1e-13, "ramp");
    }
}

#[test]
fn a_global_affine_is_the_same_map_on_every_grid() {
    for size in [&[17, 12][..], &[17, 12, 9]] {
        let rank = size.len();
        let coarse = grid(size, &[2.0, 1.5, 3.0]);
        let twice: Vec<usize> = size.iter().map(|n| 2 * n).collect();
        let fine = grid(&twice, &[1.0, 0.75, 1.5]);
        let theta = noise(&[rank, rank + 1], 3);
        let u = values(&GlobalAffine.displacement(&theta, &coarse).unwrap());
        let voxels: usize = size.iter().product();
        let theta_values = values(&theta);
        for (at, value) in u.iter().enumerate() {
            let (a, mut rest) = (at / voxels, at % voxels);
            let mut expected = theta_values[a * (rank + 1)];
            for b in 0..rank {
                let place = (rest % size[b]) as f64 + 0.5;
                expected +=
                    theta_values[a * (rank + 1) + 1 + b] * (2.0 * place / size[b] as f64 - 1.0);
                rest /= size[b];
            }
            close(*value, expected, 1e-12, "affine");
        }
        // the mean of the two or four fine voxels of a coarse one, in the same millimetres
        let moved = GlobalAffine.resample(&theta, &coarse, &fine).unwrap();
        let fine_u = GlobalAffine.displacement(&moved, &fine).unwrap();
        let mean = average_pool(&fine_u.unsqueeze(0).unwrap(), &vec![2; rank]).unwrap();
        for (half, whole) in values(&mean).iter().zip(&u) {
            close(*half, 2.0 * whole, 1e-12, "resampled");
        }
    }
}

/// A smooth displacement in millimetres, in voxels of a grid centred in the same field of view.
fn smooth_field(grid: &Grid) -> Tensor {
    let size = grid.size();
    let n: usize = size.iter().product();
    let mut u = vec![0.0; size.len() * n];
    for v in 0..n {
        let mut rest = v;
        let mut at = [0.0; 3];
        for b in 0..size.len() {
            at[b] = ((rest % size[b]) as f64 + 0.5) * grid.spacing()[b];
            rest /= size[b];
        }
        for a in 0..size.len() {
            let wave = (0.08 * at[a] + 0.05 * at[(a + 1) % size.len()]).sin();
            u[a * n + v] = 3.0 * wave / grid.spacing()[a];
        }
    }
    tensor(u, &shape(size.len(), size))
}

#[test]
fn a_displacement_is_the_same_on_another_grid() {
    let coarse = grid(&[20, 16, 14], &[2.0, 2.0, 3.0]);
    let fine = grid(&[40, 32, 42], &[1.0; 3]);
    let velocity = Velocity::default();
    for transform in [&Displacement as &dyn Transform, &Compositive, &velocity] {
        let moved = transform
            .resample(&smooth_field(&coarse), &coarse, &fine)
            .unwrap();
        let gap = distance(&values(&moved), &values(&smooth_field(&fine)));
        assert!(gap < 0.4, "{}: {gap}", transform.name());
        let inner = mean_gap(&moved, &smooth_field(&fine));
        assert!(inner < 0.03, "{}: {inner}", transform.name());
    }
    let transform = BSpline { spacing: 4 };
    let theta = (noise(
        transform
            .identity(&coarse, DType::F64, &Device::Cpu)
            .unwrap()
            .dims(),
        1,
    ) * 0.3)
        .unwrap();
    let u = transform.displacement(&theta, &coarse).unwrap();
    let expected = Displacement.resample(&u, &coarse, &fine).unwrap();
    let resampled = transform.resample(&theta, &coarse, &fine).unwrap();
    let got = transform.displacement(&resampled, &fine).unwrap();
    let gap = mean_gap(&got, &expected);
    let size =
        values(&expected).iter().map(|v| v.abs()).sum::<f64>() / expected.elem_count() as f64;
    assert!(gap < 0.1 * size, "{gap} of {size}");
}

fn mean_gap(a: &Tensor, b: &Tensor) -> f64 {
    let sum: f64 = values(a)
        .iter()
        .zip(values(b))
        .map(|(a, b)| (a - b).abs())
        .sum();
    sum / a.elem_count() as f64
}
