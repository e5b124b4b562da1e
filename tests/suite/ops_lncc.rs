//! The local correlation against its formula voxel by voxel, and its gradients.

use candle_core::{DType, Device, Tensor, Var};
use stillpoint::{lncc, lncc_gradient};

use crate::gradients::slope_errors;
use crate::samples::{along, close, distance, dot, noise, shape, tensor, uniform, values};
use crate::threads::with_threads;

/// Sizes of grids with windows: smaller and larger than the grid, of one voxel, unequal, and over the borders of parts that are
/// computed apart.
const CASES: &[(&[usize], &[usize])] = &[
    (&[7, 5], &[3, 3]),
    (&[37, 4], &[9, 5]),
    (&[1, 6], &[7, 7]),
    (&[23, 19], &[1, 5]),
    (&[90, 190], &[5, 7]),
    (&[5, 4, 3], &[3, 3, 3]),
    (&[19, 3, 4], &[5, 99, 3]),
    (&[6, 1, 5], &[3, 1, 7]),
    (&[9, 2, 1], &[31, 3, 3]),
    (&[17, 13, 29], &[15, 3, 3]),
    (&[90, 183, 13], &[3, 3, 1]),
    (&[11, 14, 52], &[3, 5, 5]),
];

/// The places of the window around each voxel.
fn windows(size: &[usize], window: &[usize]) -> Vec<Vec<usize>> {
    let n: usize = size.iter().product();
    let around = |v: usize| {
        let (mut places, mut rest, mut stride) = (vec![0], v, 1);
        for (&n, &side) in size.iter().zip(window) {
            let (here, radius) = (rest % n, side / 2);
            rest /= n;
            let along = here.saturating_sub(radius)..=(here + radius).min(n - 1);
            places = places
                .iter()
                .flat_map(|p| along.clone().map(move |i| p + i * stride))
                .collect();
            stride *= n;
        }
        places
    };
    (0..n).map(around).collect()
}

/// The formula, with deviations from the mean of each window.
fn plain(a: &Tensor, b: &Tensor, size: &[usize], window: &[usize]) -> f64 {
    let (a, b) = (values(a), values(b));
    let windows = windows(size, window);
    let mut sum = 0.0;
    for (a, b) in a.chunks(windows.len()).zip(b.chunks(windows.len())) {
        for places in &windows {
            let count = places.len() as f64;
            let mean = |x: &[f64]| places.iter().map(|&p| x[p]).sum::<f64>() / count;
            let (of_a, of_b) = (mean(a), mean(b));
            let (mut aa, mut ab, mut bb) = (0.0, 0.0, 0.0);
            for &p in places {
                let (u, v) = (a[p] - of_a, b[p] - of_b);
                aa += u * u / count;
                ab += u * v / count;
                bb += v * v / count;
            }
            sum += ab * ab / (aa * bb + 1e-5);
        }
    }
    1.0 - sum / a.len() as f64
}

/// Two channels that have something in common.
fn pair(size: &[usize]) -> [Tensor; 2] {
    let a = uniform(&shape(2, size), 1);
    let b = along(&uniform(&shape(2, size), 2), 0.7, &a);
    [a, b]
}

fn scalar(x: &Tensor) -> f64 {
    values(x)[0]
}

#[test]
fn the_value_is_that_of_the_formula() {
    for &(size, window) in CASES {
        let [a, b] = pair(size);
        let expected = plain(&a, &b, size, window);
        let got = lncc(&a, &b, window).unwrap();
        assert_eq!(got.rank(), 0);
        let gap = (scalar(&got) - expected).abs();
        assert!(gap < 1e-12, "{size:?} {window:?}: {gap}");
        let [a, b] = [a, b].map(|t| t.to_dtype(DType::F32).unwrap());
        let got = lncc(&a, &b, window).unwrap();
        assert_eq!(got.dtype(), DType::F32);
        let gap = (scalar(&got) - expected).abs();
        assert!(gap < 2e-6, "{size:?} {window:?}: {gap}");
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for &(size, window) in CASES {
        for error in slope_errors(&pair(size), |t| lncc(&t[0], &t[1], window).unwrap()) {
            assert!(error < 1e-6, "{size:?} {window:?}: {error}");
        }
    }
}

/// Each voxel by itself: what a sum over all may hide.
#[test]
fn gradients_are_right_at_every_voxel() {
    for (size, window) in [(&[6, 5][..], &[3, 5][..]), (&[4, 3, 5], &[3, 3, 3])] {
        let pair = pair(size);
        let (_, gradients) = lncc_gradient(&pair[0], &pair[1], window).unwrap();
        for k in 0..2 {
            let found = values(&gradients[k]);
            for at in 0..found.len() {
                let value = |t: f64| {
                    let mut moved = values(&pair[k]);
                    moved[at] += t;
                    let mut images = pair.clone();
                    images[k] = tensor(moved, pair[k].dims());
                    plain(&images[0], &images[1], size, window)
                };
                let expected = (value(1e-5) - value(-1e-5)) / 2e-5;
                close(found[at], expected, 1e-9, &format!("{size:?} {k} {at}"));
            }
        }
    }
}

#[test]
fn gradients_in_single_precision_are_those_in_double() {
    for &(size, window) in CASES {
        let [a, b] = pair(size);
        let (value, expected) = lncc_gradient(&a, &b, window).unwrap();
        let [a, b] = [a, b].map(|t| t.to_dtype(DType::F32).unwrap());
        let (single, got) = lncc_gradient(&a, &b, window).unwrap();
        assert!((single - value).abs() < 1e-6, "{size:?} {window:?}");
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!((got.dtype(), got.dims()), (DType::F32, expected.dims()));
            let expected = values(expected);
            let scale = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
            let gap = distance(&values(got), &expected);
            assert!(gap <= 1e-5 * scale, "{size:?} {window:?}: {gap} of {scale}");
        }
    }
}

/// An offset changes nothing, so the gradient has no mean; and images that change places change their gradients.
#[test]
fn gradients_have_the_symmetries_of_the_value() {
    for &(size, window) in CASES {
        let [a, b] = pair(size);
        let (value, [of_a, of_b]) = lncc_gradient(&a, &b, window).unwrap();
        let (other, [first, second]) = lncc_gradient(&b, &a, window).unwrap();
        assert_eq!(value, other);
        let alone = scalar(&lncc(&a, &b, window).unwrap());
        assert!((value - alone).abs() < 1e-13, "{size:?} {window:?}");
        for (x, y) in [(&of_a, &second), (&of_b, &first)] {
            assert!(distance(&values(x), &values(y)) < 1e-15, "{size:?}");
            let size = values(x).iter().map(|v| v.abs()).sum::<f64>();
            let sum = dot(x, &x.ones_like().unwrap());
            assert!(sum.abs() <= 1e-11 * size, "{sum} of {size}");
        }
    }
}

/// Over the borders of parts that are computed apart.
#[test]
fn the_number_of_threads_changes_no_bit() {
    for &(size, window) in CASES {
        let [a, b] = pair(size).map(|t| t.to_dtype(DType::F32).unwrap());
        let bits = |threads: usize| {
            with_threads(threads, || {
                let alone = scalar(&lncc(&a, &b, window).unwrap());
                let (value, gradients) = lncc_gradient(&a, &b, window).unwrap();
                let mut all = vec![alone, value];
                all.extend(gradients.iter().flat_map(values));
                all.into_iter().map(f64::to_bits).collect::<Vec<_>>()
            })
        };
        assert!(bits(1) == bits(2), "{size:?} {window:?}");
    }
}

#[test]
fn a_gradient_arrives_at_each_image_that_asks_for_one() {
    let (size, window) = ([19, 7, 12], [5, 3, 7]);
    let [a, b] = pair(&size);
    let (_, expected) = lncc_gradient(&a, &b, &window).unwrap();
    for asked in [[true, true], [true, false], [false, true]] {
        let variables = [&a, &b].map(|t| Var::from_tensor(t).unwrap());
        let [first, second] = [0, 1].map(|k| {
            if asked[k] {
                variables[k].as_tensor().clone()
            } else {
                variables[k].detach()
            }
        });
        let loss = (lncc(&first, &second, &window).unwrap() * -2.5).unwrap();
        let gradients = loss.backward().unwrap();
        for k in 0..2 {
            let got = gradients.get(&variables[k]);
            assert_eq!(got.is_some(), asked[k]);
            if let Some(got) = got {
                let expected = values(&(&expected[k] * -2.5).unwrap());
                assert!(distance(&values(got), &expected) < 1e-15);
            }
        }
    }
}

/// Variances are not differences of large sums, nor do sums that run lose what is small beside what has passed.
#[test]
fn far_from_zero_the_correlation_stays() {
    let (size, window) = ([40, 31, 37], [7, 7, 7]);
    let near = pair(&size);
    let expected = scalar(&lncc(&near[0], &near[1], &window).unwrap());
    let far = near.each_ref().map(|t| (t + 1e6).unwrap());
    let got = scalar(&lncc(&far[0], &far[1], &window).unwrap());
    assert!((got - expected).abs() < 1e-8, "{got} {expected}");
    // half of the image lies far from the other half
    let step: Vec<f64> = (0..2 * 40 * 31 * 37)
        .map(|v| if v % 40 < 20 { 0.0 } else { 1000.0 })
        .collect();
    let step = tensor(step, near[0].dims()).to_dtype(DType::F32).unwrap();
    let far = near.map(|t| (t.to_dtype(DType::F32).unwrap() + &step).unwrap());
    let [a, b] = far.each_ref().map(|t| t.to_dtype(DType::F64).unwrap());
    let got = scalar(&lncc(&far[0], &far[1], &window).unwrap());
    let expected = plain(&a, &b, &size, &window);
    assert!((got - expected).abs() < 1e-6, "{got} {expected}");
}

#[test]
fn gain_offset_and_sign_of_the_contrast_do_not_count() {
    let a = uniform(&[1, 20, 20], 1);
    let same = ((&a * -2.0).unwrap() + 3.0).unwrap();
    let other = a.t().unwrap();
    let of = |b: &Tensor| scalar(&lncc(&a, b, &[7, 7]).unwrap());
    assert!(of(&same) < 0.01, "{}", of(&same));
    assert!(of(&other) > 0.5, "{}", of(&other));
}

#[test]
fn constant_images_have_no_correlation_and_no_gradient() {
    for dtype in [DType::F32, DType::F64] {
        for (size, window) in [(&[9, 7][..], &[3, 3][..]), (&[6, 5, 14], &[9, 3, 3])] {
            let flat = Tensor::full(0.1, shape(1, size), &Device::Cpu).unwrap();
            let flat = flat.to_dtype(dtype).unwrap();
            let other = uniform(&shape(1, size), 3).to_dtype(dtype).unwrap();
            for (a, b) in [(&flat, &flat), (&flat, &other), (&other, &flat)] {
                let (value, gradients) = lncc_gradient(a, b, window).unwrap();
                assert!((value - 1.0).abs() < 1e-12, "{value}");
                for gradient in &gradients {
                    let zeros = vec![0.0; gradient.elem_count()];
                    assert!(distance(&values(gradient), &zeros) < 1e-12);
                }
            }
        }
    }
}

#[test]
fn a_window_larger_than_the_image_takes_all_of_it() {
    for size in [&[6, 5][..], &[5, 4, 3]] {
        let [a, b] = pair(size);
        let of = |side: usize| lncc_gradient(&a, &b, &vec![side; size.len()]).unwrap();
        let (value, gradients) = of(99);
        let (exact, others) = of(11);
        assert_eq!(value, exact);
        assert_eq!(values(&gradients[0]), values(&others[0]));
        // one correlation for all voxels
        let correlation = |c: usize| {
            let part = |x: &Tensor| values(&x.narrow(0, c, 1).unwrap().contiguous().unwrap());
            let (a, b) = (part(&a), part(&b));
            let count = a.len() as f64;
            let mean = |x: &[f64]| x.iter().sum::<f64>() / count;
            let covariance = |x: &[f64], y: &[f64]| {
                let (mx, my) = (mean(x), mean(y));
                let products = x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my));
                products.sum::<f64>() / count
            };
            covariance(&a, &b).powi(2) / (covariance(&a, &a) * covariance(&b, &b) + 1e-5)
        };
        let expected = 1.0 - 0.5 * (correlation(0) + correlation(1));
        assert!((value - expected).abs() < 1e-13, "{value} {expected}");
    }
}

#[test]
fn a_batch_is_the_mean_of_its_items_and_views_are_taken_as_they_look() {
    let shape = [3, 2, 6, 9, 8];
    let (a, b) = (uniform(&shape, 1), uniform(&shape, 2));
    let all = scalar(&lncc(&a, &b, &[3, 5, 3]).unwrap());
    let item = |k: usize| lncc(&a.get(k).unwrap(), &b.get(k).unwrap(), &[3, 5, 3]).unwrap();
    let mean = (0..3).map(|k| scalar(&item(k))).sum::<f64>() / 3.0;
    assert!((all - mean).abs() < 1e-14);
    let turned = |t: &Tensor| t.transpose(3, 4).unwrap();
    let other = lncc(&turned(&a), &turned(&b), &[5, 3, 3]).unwrap();
    assert!((all - scalar(&other)).abs() < 1e-13);
}

#[test]
fn arguments_that_do_not_fit_are_named() {
    let x = noise(&[1, 4, 5, 6], 1);
    let message = |r: stillpoint::Result<Tensor>| r.unwrap_err().to_string();
    for window in [&[3, 4, 3][..], &[3], &[3; 4], &[3, 0, 3]] {
        assert!(message(lncc(&x, &x, window)).contains("window"));
    }
    assert!(message(lncc(&x, &noise(&[1, 4, 5, 7], 1), &[3; 3])).contains("second"));
    assert!(message(lncc(&noise(&[4, 5], 1), &noise(&[4, 5], 1), &[3; 3])).contains("axis"));
    let none = Tensor::zeros((1, 0, 4), DType::F32, &Device::Cpu).unwrap();
    assert!(lncc(&none, &none, &[3; 2]).is_err());
    let single = x.to_dtype(DType::F32).unwrap();
    assert!(lncc(&x, &single, &[3; 3]).is_err());
}
