//! Normalisation with its rectifier against plain sums, and its gradients.

use candle_core::{DType, Device, Tensor};
use stillpoint::normalise;

use crate::gradients::check;
use crate::samples::{distance, noise, values};

/// Shapes (batch, channels, space) and groups.
const CASES: &[(&[usize], usize)] = &[
    (&[2, 4, 5, 7], 4),
    (&[2, 4, 5, 7], 2),
    (&[1, 6, 3, 4, 5], 1),
    (&[3, 3, 2, 3, 19], 3),
    (&[2, 2, 1, 3], 2),
];

fn plain(x: &Tensor, gain: &[f64], offset: &[f64], groups: usize, slope: f64) -> Vec<f64> {
    let (batch, channels) = (x.dims()[0], x.dims()[1]);
    let voxels: usize = x.dims()[2..].iter().product();
    let x = values(x);
    let length = channels / groups * voxels;
    let mut out = Vec::new();
    for group in 0..batch * groups {
        let part = &x[group * length..(group + 1) * length];
        let mean = part.iter().sum::<f64>() / length as f64;
        let variance = part.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / length as f64;
        for (k, v) in part.iter().enumerate() {
            let c = (group * length + k) / voxels % channels;
            let z = gain[c] * (v - mean) / (variance + 1e-5).sqrt() + offset[c];
            out.push(if z > 0.0 { z } else { slope * z });
        }
    }
    out
}

#[test]
fn agrees_with_plain_sums_in_both_precisions() {
    for &(shape, groups) in CASES {
        for slope in [0.0, 0.1, 1.0] {
            let x = ((noise(shape, 1) * 3.0).unwrap() + 2.0).unwrap();
            let (gain, offset) = (noise(&[shape[1]], 2), noise(&[shape[1]], 3));
            let expected = plain(&x, &values(&gain), &values(&offset), groups, slope);
            for (dtype, share) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
                let to = |t: &Tensor| t.to_dtype(dtype).unwrap();
                let got = normalise(&to(&x), &to(&gain), &to(&offset), groups, slope).unwrap();
                assert_eq!(got.dims(), shape);
                assert!(
                    distance(&values(&got), &expected) < share,
                    "{shape:?} {groups} {dtype:?}"
                );
            }
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for &(shape, groups) in CASES {
        for slope in [0.1, 1.0] {
            let inputs = [
                noise(shape, 1),
                noise(&[shape[1]], 2),
                noise(&[shape[1]], 3),
            ];
            check(&format!("{shape:?} {groups} {slope}"), &inputs, |t| {
                normalise(&t[0], &t[1], &t[2], groups, slope).unwrap()
            });
        }
    }
}

#[test]
fn views_are_taken_as_they_look() {
    let inputs = [noise(&[6, 3, 5, 4], 1), noise(&[4], 2), noise(&[4], 3)];
    check("view", &inputs, |t| {
        let part = t[0].narrow(0, 1, 4).unwrap().transpose(0, 1).unwrap();
        normalise(&part, &t[1], &t[2], 2, 0.1)
            .unwrap()
            .transpose(0, 2)
            .unwrap()
    });
}

/// Single precision of values far from zero: means and variances are not differences of large sums.
#[test]
fn far_from_zero_the_variance_stays() {
    let near = noise(&[1, 2, 30, 40, 20], 1);
    let far = (&near + 3000.0).unwrap().to_dtype(DType::F32).unwrap();
    let near = (far.to_dtype(DType::F64).unwrap() - 3000.0).unwrap();
    let ones = Tensor::ones(2, DType::F32, &Device::Cpu).unwrap();
    let got = normalise(&far, &ones, &ones.zeros_like().unwrap(), 2, 1.0).unwrap();
    let expected = plain(&near, &[1.0; 2], &[0.0; 2], 2, 1.0);
    assert!(distance(&values(&got), &expected) < 1e-3);
}

#[test]
fn flat_channels_stay_finite() {
    let x = Tensor::full(7.0f32, (1, 2, 4, 4), &Device::Cpu).unwrap();
    let gain = Tensor::ones(2, DType::F32, &Device::Cpu).unwrap();
    let got = normalise(&x, &gain, &gain, 1, 0.1).unwrap();
    assert!(values(&got).iter().all(|v| *v == 1.0));
}

#[test]
fn arguments_that_do_not_fit_are_named() {
    let x = Tensor::zeros((1, 4, 3, 3), DType::F32, &Device::Cpu).unwrap();
    let c = |n: usize| Tensor::ones(n, DType::F32, &Device::Cpu).unwrap();
    let message = |r: stillpoint::Result<Tensor>| r.unwrap_err().to_string();
    assert!(message(normalise(&x, &c(3), &c(4), 4, 0.1)).contains("gain"));
    assert!(message(normalise(&x, &c(4), &c(5), 4, 0.1)).contains("offset"));
    assert!(message(normalise(&x, &c(4), &c(4), 3, 0.1)).contains("groups"));
    assert!(message(normalise(&x, &c(4), &c(4), 4, 1.5)).contains("slope"));
}
