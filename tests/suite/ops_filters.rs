//! Linear filters: adjoints by dot products, and answers that are known.

use candle_core::Tensor;
use stillpoint::{
    average_pool, rescale, resize, resize_adjoint, smooth, smooth_adjoint, spline_coefficients,
    spline_coefficients_adjoint,
};

use crate::gradients::check;
use crate::samples::{close, distance, dot, noise, shape, tensor, values, SIZES};

/// A tensor of a function of the index, fastest axis first.
fn sampled(size: &[usize], f: impl Fn(&[f64]) -> f64) -> Tensor {
    let n: usize = size.iter().product();
    let v = (0..n)
        .map(|v| {
            let mut rest = v;
            let index: Vec<f64> = size
                .iter()
                .map(|&n| {
                    let here = rest % n;
                    rest /= n;
                    here as f64
                })
                .collect();
            f(&index)
        })
        .collect();
    tensor(v, &shape(1, size))
}

#[test]
fn smoothing_passes_the_dot_product_test_and_keeps_constants() {
    for &size in SIZES {
        for sigma in [[0.6, 1.7, 0.9], [2.5, 0.0, 1.0]] {
            let sigma = &sigma[..size.len()];
            let (x, y) = (noise(&shape(2, size), 1), noise(&shape(2, size), 2));
            let (sx, sy) = (
                smooth(&x, sigma).unwrap(),
                smooth_adjoint(&y, sigma).unwrap(),
            );
            close(
                dot(&sx, &y),
                dot(&x, &sy),
                1e-12,
                &format!("{size:?} {sigma:?}"),
            );
            let ones = x.ones_like().unwrap();
            let gap = distance(&values(&smooth(&ones, sigma).unwrap()), &values(&ones));
            assert!(gap < 1e-13, "{size:?}: {gap}");
        }
    }
}

#[test]
fn an_impulse_becomes_a_gaussian() {
    let size = [31, 27];
    let sigma = [1.3, 2.0];
    let impulse = sampled(&size, |p| f64::from(u8::from(p == [15.0, 13.0])));
    let bell = |d: f64, sigma: f64| {
        let reach = (3.0 * sigma).floor() as i32;
        let sum: f64 = (-reach..=reach)
            .map(|k| (-0.5 * (f64::from(k) / sigma).powi(2)).exp())
            .sum();
        if d.abs() > 3.0 * sigma {
            0.0
        } else {
            (-0.5 * (d / sigma).powi(2)).exp() / sum
        }
    };
    let expected = sampled(&size, |p| {
        bell(p[0] - 15.0, sigma[0]) * bell(p[1] - 13.0, sigma[1])
    });
    let smoothed = smooth(&impulse, &sigma).unwrap();
    assert!(distance(&values(&smoothed), &values(&expected)) < 1e-14);
}

#[test]
fn resizing_passes_the_dot_product_test_and_keeps_constants() {
    for (from, to) in [
        (&[7, 5][..], &[13, 3][..]),
        (&[40, 9], &[21, 18]),
        (&[1, 6], &[3, 1]),
        (&[9, 4, 5], &[5, 8, 3]),
        (&[19, 1, 6], &[38, 2, 6]),
    ] {
        let (x, y) = (noise(&shape(2, from), 1), noise(&shape(2, to), 2));
        let forward = resize(&x, to).unwrap();
        let back = resize_adjoint(&y, from).unwrap();
        assert_eq!((forward.dims(), back.dims()), (y.dims(), x.dims()));
        close(
            dot(&forward, &y),
            dot(&x, &back),
            1e-12,
            &format!("{from:?} {to:?}"),
        );
        let flat = values(&resize(&x.ones_like().unwrap(), to).unwrap());
        assert!(flat.iter().all(|v| (v - 1.0).abs() < 1e-13));
    }
}

/// Voxels are areas: voxel `o` of the new grid has its centre at `(o + 1/2) f - 1/2` of the old one.
#[test]
fn resizing_keeps_ramps_in_place() {
    for (from, to) in [([12, 10], [24, 25]), ([40, 32], [20, 8])] {
        let ramp = sampled(&from, |p| 0.3 * p[0] - 0.7 * p[1]);
        let got = values(&resize(&ramp, &to).unwrap());
        let factor: Vec<f64> = (0..2).map(|a| from[a] as f64 / to[a] as f64).collect();
        let expected = values(&sampled(&to, |p| {
            0.3 * ((p[0] + 0.5) * factor[0] - 0.5) - 0.7 * ((p[1] + 0.5) * factor[1] - 0.5)
        }));
        let margin = |a: usize| 3.max(to[a] / 4);
        for y in margin(1)..to[1] - margin(1) {
            for x in margin(0)..to[0] - margin(0) {
                let v = y * to[0] + x;
                close(
                    got[v],
                    expected[v],
                    1e-12,
                    &format!("{from:?} {to:?} {x} {y}"),
                );
            }
        }
    }
}

/// `(c[i-1] + 4 c[i] + c[i+1]) / 6` along one axis, mirrored.
fn spline_values(c: &[f64], size: &[usize], axis: usize) -> Vec<f64> {
    let stride: usize = size[..axis].iter().product();
    let last = size[axis] - 1;
    (0..c.len())
        .map(|v| {
            let i = v / stride % size[axis];
            let at = |k: usize| c[v + k * stride - i * stride];
            let before = if i > 0 { i - 1 } else { 1.min(last) };
            let after = if i < last {
                i + 1
            } else {
                last.saturating_sub(1)
            };
            (at(before) + 4.0 * at(i) + at(after)) / 6.0
        })
        .collect()
}

#[test]
fn splines_take_the_values_at_the_voxels() {
    for &size in SIZES {
        let x = noise(&shape(1, size), 1);
        let mut back = values(&spline_coefficients(&x).unwrap());
        for axis in 0..size.len() {
            back = spline_values(&back, size, axis);
        }
        assert!(distance(&back, &values(&x)) < 1e-12, "{size:?}");
    }
}

#[test]
fn spline_coefficients_pass_the_dot_product_test() {
    for &size in SIZES {
        let (x, y) = (noise(&shape(3, size), 1), noise(&shape(3, size), 2));
        let (cx, cy) = (
            spline_coefficients(&x).unwrap(),
            spline_coefficients_adjoint(&y).unwrap(),
        );
        close(dot(&cx, &y), dot(&x, &cy), 1e-12, &format!("{size:?}"));
    }
}

#[test]
fn inputs_stay_as_they_are() {
    let x = noise(&[2, 5, 6], 1);
    let before = values(&x);
    spline_coefficients(&x).unwrap();
    smooth(&x, &[1.0, 1.0]).unwrap();
    let part = x.narrow(2, 1, 4).unwrap();
    let whole = spline_coefficients(&part.contiguous().unwrap()).unwrap();
    assert!(
        distance(
            &values(&spline_coefficients(&part).unwrap()),
            &values(&whole)
        ) == 0.0
    );
    assert_eq!(values(&x), before);
}

/// Sizes and factors of pooling.
const POOLS: &[(&[usize], &[usize])] = &[
    (&[8, 6], &[2, 2]),
    (&[7, 5], &[2, 2]),
    (&[1, 6], &[2, 1]),
    (&[5, 4, 3], &[2, 2, 2]),
    (&[37, 4, 5], &[2, 1, 3]),
];

#[test]
fn pooling_takes_means_of_what_is_there() {
    for &(size, factor) in POOLS {
        let x = noise(&[&[2], shape(3, size).as_slice()].concat(), 1);
        let got = average_pool(&x, factor).unwrap();
        let pooled: Vec<usize> = (0..size.len())
            .map(|a| size[a].div_ceil(factor[a]))
            .collect();
        let (cells, count) = (values(&got), size.iter().product::<usize>());
        let m: usize = pooled.iter().product();
        assert_eq!(cells.len(), 6 * m);
        let mut sums = vec![(0.0, 0.0); 6 * m];
        for (at, v) in values(&x).iter().enumerate() {
            let (mut rest, mut cell, mut stride) = (at % count, 0, 1);
            for a in 0..size.len() {
                cell += rest % size[a] / factor[a] * stride;
                rest /= size[a];
                stride *= pooled[a];
            }
            let sum = &mut sums[at / count * m + cell];
            *sum = (sum.0 + v, sum.1 + 1.0);
        }
        let expected: Vec<f64> = sums.iter().map(|s| s.0 / s.1).collect();
        assert!(distance(&cells, &expected) < 1e-14, "{size:?}");
        check("average_pool", &[x], |t| {
            average_pool(&t[0], factor).unwrap()
        });
    }
    assert!(average_pool(&noise(&[1, 4, 4], 1), &[0, 2]).is_err());
}

#[test]
fn rescaling_doubles_in_place_and_stops_where_asked() {
    for (coarse, fine) in [
        (&[4, 3][..], &[8, 5][..]),
        (&[1, 4], &[2, 7]),
        (&[5, 4, 3], &[9, 8, 6]),
        (&[20, 3, 2], &[40, 3, 4]),
    ] {
        let scale: Vec<f64> = (0..coarse.len())
            .map(|a| if coarse[a] == fine[a] { 1.0 } else { 0.5 })
            .collect();
        let slope = [0.3, -0.7, 0.2];
        let ramp = sampled(coarse, |p| (0..coarse.len()).map(|a| slope[a] * p[a]).sum());
        let got = values(&rescale(&ramp, &scale, fine).unwrap());
        let expected = values(&sampled(fine, |p| {
            (0..coarse.len())
                .map(|a| {
                    let at = (p[a] + 0.5) * scale[a] - 0.5;
                    slope[a] * at.clamp(0.0, (coarse[a] - 1) as f64)
                })
                .sum()
        }));
        assert!(distance(&got, &expected) < 1e-14, "{coarse:?}");
        let x = noise(&[&[2], shape(2, coarse).as_slice()].concat(), 1);
        check("rescale", &[x], |t| rescale(&t[0], &scale, fine).unwrap());
    }
    assert!(rescale(&noise(&[1, 4, 4], 1), &[0.5], &[8, 8]).is_err());
    assert!(rescale(&noise(&[1, 4, 4], 1), &[0.5, 0.0], &[8, 8]).is_err());
}

#[test]
fn gradients_flow_through_filters() {
    let x = noise(&[2, 3, 9, 7], 1);
    check("smooth", std::slice::from_ref(&x), |t| {
        smooth(&t[0], &[1.0, 0.7]).unwrap()
    });
    check("resize", std::slice::from_ref(&x), |t| {
        resize(&t[0], &[4, 13]).unwrap()
    });
    check("view", &[x], |t| {
        let turned = t[0].transpose(2, 3).unwrap();
        average_pool(&turned, &[2, 2])
            .unwrap()
            .transpose(1, 2)
            .unwrap()
    });
}
