//! The sums for the correlation of two images: equal to a plain loop, derivatives to differences.

use candle_core::{Device, Tensor};
use stillpoint::{Affine, CorrelationData, Rng};

use super::alignment::{rotation, sample};

/// Random data of two channels, with masks, in double precision.
fn random(fixed: &[usize], moving: &[usize]) -> CorrelationData {
    let mut rng = Rng::new(5);
    let mut tensor = |channels: usize, size: &[usize], mask: bool| {
        let mut shape: Vec<usize> = size.iter().rev().copied().collect();
        let n = channels * size.iter().product::<usize>();
        let values: Vec<f64> = (0..n)
            .map(|_| if mask { rng.uniform() } else { rng.normal() })
            .collect();
        if !mask {
            shape.insert(0, channels);
        }
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    CorrelationData {
        fixed: tensor(2, fixed, false),
        moving: tensor(2, moving, false),
        fixed_mask: Some(tensor(1, fixed, true)),
        moving_mask: Some(tensor(1, moving, true)),
    }
}

/// A map between the grids that keeps everything inside, or not.
fn index_map(rank: usize, inside: bool) -> Affine {
    let mut m = rotation([0.2, 0.1, 1.0], if rank == 3 { 17.0 } else { 0.0 });
    if rank == 2 {
        m = rotation([0.0, 0.0, 1.0], 17.0);
    }
    let shift = if inside { 4.3 } else { -1.2 };
    Affine::new(m, [shift, 2.1, if rank == 3 { 2.3 } else { 0.0 }])
}

fn sizes(rank: usize) -> (Vec<usize>, Vec<usize>) {
    if rank == 3 {
        (vec![19, 8, 7], vec![27, 21, 13])
    } else {
        (vec![19, 8], vec![27, 21])
    }
}

fn values(x: &Tensor) -> Vec<f32> {
    let all = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    all.iter().map(|&v| v as f32).collect()
}

#[test]
fn the_sums_match_a_plain_loop_inside_and_at_the_border() {
    for rank in [2, 3] {
        let (fixed, moving) = sizes(rank);
        let mut data = random(&fixed, &moving);
        // single precision values, so that the reference reads the same numbers
        for x in [&mut data.fixed, &mut data.moving] {
            *x = x
                .to_dtype(candle_core::DType::F32)
                .unwrap()
                .to_dtype(candle_core::DType::F64)
                .unwrap();
        }
        for inside in [true, false] {
            let map = index_map(rank, inside);
            let found = data.sums(&map).unwrap();
            let (n, m): (usize, usize) = (fixed.iter().product(), moving.iter().product());
            let (f, g) = (values(&data.fixed), values(&data.moving));
            let fixed_mask = values(data.fixed_mask.as_ref().unwrap());
            let moving_mask = values(data.moving_mask.as_ref().unwrap());
            for c in 0..2 {
                let mut sums = [0.0; 6];
                for v in 0..n {
                    let x = [
                        v % fixed[0],
                        v / fixed[0] % fixed[1],
                        v / (fixed[0] * fixed[1]),
                    ];
                    let p = map.apply(x.map(|i| i as f64));
                    let mut w = f64::from(fixed_mask[v]);
                    let mut near = [0.0; 3];
                    for a in 0..rank {
                        let last = moving[a] as f64 - 1.0;
                        w *= (p[a] + 0.5).min(last + 0.5 - p[a]).clamp(0.0, 1.0);
                        near[a] = p[a].clamp(0.0, last);
                    }
                    w *= sample(&moving_mask, &moving, near);
                    let a = f64::from(f[c * n + v]);
                    let b = sample(&g[c * m..(c + 1) * m], &moving, near);
                    for (sum, term) in sums.iter_mut().zip([1.0, a, b, a * a, a * b, b * b]) {
                        *sum += w * term;
                    }
                }
                let s = &found[c];
                let found = [
                    s.weight,
                    s.fixed,
                    s.moving,
                    s.fixed_fixed,
                    s.fixed_moving,
                    s.moving_moving,
                ];
                for (a, b) in sums.iter().zip(found) {
                    assert!((a - b).abs() < 1e-4 * sums[0], "{sums:?} {found:?}");
                }
                let all = fixed_mask.iter().sum::<f32>();
                assert!(sums[0] > 0.1 * f64::from(all), "hardly any overlap");
            }
        }
    }
}

#[test]
fn the_derivatives_of_the_sums_are_those_of_differences() {
    for rank in [2, 3] {
        let (fixed, moving) = sizes(rank);
        let mut data = random(&fixed, &moving);
        // the moving weights count as constant
        data.moving_mask = None;
        let map = index_map(rank, true);
        let mut rng = Rng::new(9);
        let directions: Vec<Affine> = (0..5)
            .map(|_| {
                let mut d = Affine::new([[0.0; 3]; 3], [0.0; 3]);
                for a in 0..rank {
                    d.translation[a] = rng.normal();
                    for b in 0..rank {
                        d.matrix[a][b] = 0.1 * rng.normal();
                    }
                }
                d
            })
            .collect();
        let found = data.derivative(&map, &directions).unwrap();
        let whole: f64 = data.sums(&map).unwrap()[0].weight;
        let all = data.fixed_mask.as_ref().unwrap().sum_all().unwrap();
        let all = all.to_scalar::<f64>().unwrap();
        assert!((whole - all).abs() < 1e-9, "the map must stay inside");
        let h = 1e-6;
        let moved = |k: usize, t: f64| {
            let d = &directions[k];
            Affine::new(
                std::array::from_fn(|r| {
                    std::array::from_fn(|c| map.matrix[r][c] + t * d.matrix[r][c])
                }),
                std::array::from_fn(|r| map.translation[r] + t * d.translation[r]),
            )
        };
        for c in 0..2 {
            for k in 0..directions.len() {
                let up = data.sums(&moved(k, h)).unwrap()[c];
                let down = data.sums(&moved(k, -h)).unwrap()[c];
                let slope = |a: f64, b: f64| (a - b) / (2.0 * h);
                let d = &found[c];
                for (exact, difference) in [
                    (d.slope[k], slope(up.moving, down.moving)),
                    (d.slope_fixed[k], slope(up.fixed_moving, down.fixed_moving)),
                    (
                        2.0 * d.slope_moving[k],
                        slope(up.moving_moving, down.moving_moving),
                    ),
                ] {
                    assert!(
                        (exact - difference).abs() < 1e-4 * whole,
                        "{rank} {c} {k}: {exact} {difference}"
                    );
                }
            }
        }
    }
}

#[test]
fn products_of_slopes_are_those_of_warped_differences() {
    for rank in [2, 3] {
        let (fixed, moving) = sizes(rank);
        let data = random(&fixed, &moving);
        let map = index_map(rank, false);
        // with a mask of one voxel, `q q'` is the product of two slopes
        let n: usize = fixed.iter().product();
        let directions: Vec<Affine> = (0..rank * (rank + 1))
            .map(|e| {
                let mut d = Affine::new([[0.0; 3]; 3], [0.0; 3]);
                if e % (rank + 1) == rank {
                    d.translation[e / (rank + 1)] = 1.0;
                } else {
                    d.matrix[e / (rank + 1)][e % (rank + 1)] = 1.0;
                }
                d
            })
            .collect();
        let k = directions.len();
        let whole = data.derivative(&map, &directions).unwrap();
        let mut sum = vec![0.0; k * k];
        let mask = data.fixed_mask.as_ref().unwrap();
        let mask = mask.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for v in 0..n {
            let mut one = vec![0.0; n];
            one[v] = mask[v];
            let shape: Vec<usize> = fixed.iter().rev().copied().collect();
            let single = CorrelationData {
                fixed_mask: Some(Tensor::from_vec(one, shape, &Device::Cpu).unwrap()),
                ..data.clone()
            };
            let d = &single.derivative(&map, &directions).unwrap()[1];
            if d.sums.weight > 0.0 {
                for (e, s) in sum.iter_mut().enumerate() {
                    *s += d.slope[e / k] * d.slope[e % k] / d.sums.weight;
                }
            }
        }
        let scale = sum.iter().fold(0.0f64, |a, s| a.max(s.abs()));
        for (a, b) in sum.iter().zip(&whole[1].slope_slope) {
            assert!((a - b).abs() < 1e-10 * scale, "{a} {b}");
        }
    }
}
