//! The convolution and its gradients against plain sums.

use candle_core::{DType, Device, Tensor, Var};
use stillpoint::{convolve, convolve_adjoint, convolve_joined, convolve_weight_gradient};

use crate::gradients::check;
use crate::samples::{close, distance, dot, noise, values};

/// Sizes (fastest axis first), kernels and strides of both ranks: odd, thin, longer than a run of vectors.
const CASES: &[(&[usize], &[usize], &[usize])] = &[
    (&[7, 5], &[3, 3], &[1, 1]),
    (&[7, 5], &[3, 3], &[2, 2]),
    (&[8, 6], &[5, 5], &[2, 2]),
    (&[1, 6], &[3, 3], &[2, 2]),
    (&[131, 9], &[5, 5], &[1, 1]),
    (&[64, 3], &[1, 1], &[2, 1]),
    (&[5, 4, 3], &[3, 3, 3], &[1, 1, 1]),
    (&[6, 5, 7], &[3, 3, 3], &[2, 2, 2]),
    (&[9, 8, 5], &[5, 5, 5], &[2, 2, 2]),
    (&[4, 9, 6], &[1, 1, 1], &[2, 2, 2]),
    (&[6, 1, 5], &[5, 5, 5], &[1, 1, 1]),
    (&[19, 3, 4], &[1, 1, 1], &[1, 1, 1]),
    (&[101, 20, 4], &[3, 3, 3], &[1, 1, 1]),
    (&[37, 18, 5], &[3, 3, 3], &[2, 2, 1]),
    (&[9, 7, 5], &[5, 3, 1], &[1, 2, 1]),
    // rows and planes of these are filtered: whole tiles and parts of some, every kernel along rows
    (&[19, 8, 6], &[3, 3, 3], &[1, 1, 1]),
    (&[33, 13, 7], &[5, 3, 3], &[1, 1, 1]),
    (&[17, 12, 3], &[1, 3, 1], &[1, 1, 1]),
    (&[40, 16], &[1, 3], &[1, 1]),
    (&[23, 23], &[5, 3], &[1, 1]),
    (&[21, 9, 7], &[5, 5, 5], &[1, 1, 1]),
    (&[34, 12, 8], &[3, 5, 5], &[1, 1, 1]),
    (&[18, 11, 3], &[5, 5, 1], &[1, 1, 1]),
    (&[40, 15], &[5, 5], &[1, 1]),
    (&[67, 8], &[1, 5], &[1, 1]),
    // no filter for rows and planes together
    (&[20, 9, 8], &[3, 5, 3], &[1, 1, 1]),
];

/// Batch, inputs and outputs.
const CHANNELS: &[(usize, usize, usize)] = &[(1, 1, 1), (2, 3, 5), (1, 5, 2), (2, 2, 7)];

fn shape(batch: usize, channels: usize, size: &[usize]) -> Vec<usize> {
    let mut shape = vec![batch, channels];
    shape.extend(size.iter().rev());
    shape
}

/// The sum over the kernel, entry by entry.
fn plain(x: &Tensor, w: &Tensor, bias: Option<&[f64]>, stride: &[usize]) -> (Vec<f64>, Vec<usize>) {
    let three = |dims: &[usize]| -> [usize; 3] {
        let rank = dims.len();
        std::array::from_fn(|a| if a < rank { dims[rank - 1 - a] } else { 1 })
    };
    let (size, kernel) = (three(&x.dims()[2..]), three(&w.dims()[2..]));
    let step: [usize; 3] = std::array::from_fn(|a| stride.get(a).copied().unwrap_or(1));
    let out: [usize; 3] = std::array::from_fn(|a| size[a].div_ceil(step[a]));
    let (batch, inputs, outputs) = (x.dims()[0], x.dims()[1], w.dims()[0]);
    let (x, w) = (values(x), values(w));
    let mut result = Vec::new();
    for n in 0..batch {
        for o in 0..outputs {
            for z in 0..out[2] {
                for y in 0..out[1] {
                    for v in 0..out[0] {
                        let mut sum = bias.map_or(0.0, |b| b[o]);
                        for c in 0..inputs {
                            for k in 0..kernel.iter().product() {
                                let tap = [
                                    k % kernel[0],
                                    k / kernel[0] % kernel[1],
                                    k / kernel[0] / kernel[1],
                                ];
                                let at: [isize; 3] = std::array::from_fn(|a| {
                                    ([v, y, z][a] * step[a] + tap[a]) as isize
                                        - (kernel[a] / 2) as isize
                                });
                                if (0..3).all(|a| (0..size[a] as isize).contains(&at[a])) {
                                    let at = at.map(|i| i as usize);
                                    let volume = n * inputs + c;
                                    let from = ((volume * size[2] + at[2]) * size[1] + at[1])
                                        * size[0]
                                        + at[0];
                                    let entries: usize = kernel.iter().product();
                                    sum += x[from] * w[(o * inputs + c) * entries + k];
                                }
                            }
                        }
                        result.push(sum);
                    }
                }
            }
        }
    }
    let mut dims = vec![batch, outputs];
    dims.extend(out[..stride.len()].iter().rev());
    (result, dims)
}

#[test]
fn agrees_with_the_plain_sum_in_both_precisions() {
    for &(size, kernel, stride) in CASES {
        for &(batch, inputs, outputs) in CHANNELS {
            let x = noise(&shape(batch, inputs, size), 1);
            let w = noise(&shape(outputs, inputs, kernel), 2);
            let b = noise(&[outputs], 3);
            let bias = values(&b);
            let (expected, dims) = plain(&x, &w, Some(&bias), stride);
            let square: f64 = expected.iter().map(|v| v * v).sum();
            let scale = (square / expected.len() as f64).sqrt();
            for (dtype, share) in [(DType::F64, 1e-12), (DType::F32, 3e-5)] {
                let to = |t: &Tensor| t.to_dtype(dtype).unwrap();
                let got = convolve(&to(&x), &to(&w), Some(&to(&b)), stride).unwrap();
                assert_eq!(got.dims(), dims);
                let gap = distance(&values(&got), &expected) / scale;
                assert!(
                    gap < share,
                    "{size:?} {kernel:?} {stride:?} {inputs} {outputs}: {gap}"
                );
            }
            let (expected, _) = plain(&x, &w, None, stride);
            let got = convolve(&x, &w, None, stride).unwrap();
            assert!(distance(&values(&got), &expected) < 1e-12 * scale);
        }
    }
}

/// The convolution is linear in the images and in the weights, so its gradients are its adjoints: exact at any size.
#[test]
fn gradients_pass_the_dot_product_test() {
    for &(size, kernel, stride) in CASES {
        for &(batch, inputs, outputs) in CHANNELS {
            for (dtype, share) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
                let variable = |dims: &[usize], seed| {
                    Var::from_tensor(&noise(dims, seed).to_dtype(dtype).unwrap()).unwrap()
                };
                let x = variable(&shape(batch, inputs, size), 1);
                let w = variable(&shape(outputs, inputs, kernel), 2);
                let b = variable(&[outputs], 3);
                let y = convolve(&x, &w, Some(&b), stride).unwrap();
                let g = noise(y.dims(), 4).to_dtype(dtype).unwrap();
                let gradients = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
                let (other_x, other_w) = (noise(x.dims(), 5), noise(w.dims(), 6));
                let (other_x, other_w) = (
                    other_x.to_dtype(dtype).unwrap(),
                    other_w.to_dtype(dtype).unwrap(),
                );
                let what = format!("{size:?} {kernel:?} {stride:?} {inputs} {outputs} {dtype:?}");
                let scale = (values(&y).len() as f64).sqrt();
                let moved = convolve(&other_x, &w, None, stride).unwrap();
                let (a, b_) = (dot(&moved, &g), dot(&other_x, gradients.get(&x).unwrap()));
                close(a / scale, b_ / scale, share, &what);
                let moved = convolve(&x, &other_w, None, stride).unwrap();
                let (a, b_) = (dot(&moved, &g), dot(&other_w, gradients.get(&w).unwrap()));
                close(a / scale, b_ / scale, share, &what);
                // the same, outside a graph
                let of_x = convolve_adjoint(&g, &w, stride, size).unwrap();
                assert_eq!(
                    distance(&values(&of_x), &values(gradients.get(&x).unwrap())),
                    0.0
                );
                let of_w = convolve_weight_gradient(&x, &g, stride, kernel).unwrap();
                assert_eq!(
                    distance(&values(&of_w), &values(gradients.get(&w).unwrap())),
                    0.0
                );
                let ones = values(gradients.get(&b).unwrap());
                let per_item = values(&g);
                let voxels = per_item.len() / batch / outputs;
                for o in 0..outputs {
                    let sum: f64 = (0..batch)
                        .flat_map(|n| &per_item[(n * outputs + o) * voxels..][..voxels])
                        .sum();
                    close(ones[o] / scale, sum / scale, share, &what);
                }
            }
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for &(size, kernel, stride) in CASES.iter().filter(|c| c.0.iter().product::<usize>() < 400) {
        let inputs = [
            noise(&shape(2, 3, size), 1),
            noise(&shape(5, 3, kernel), 2),
            noise(&[5], 3),
        ];
        let what = format!("{size:?} {kernel:?} {stride:?}");
        check(&what, &inputs, |t| {
            convolve(&t[0], &t[1], Some(&t[2]), stride).unwrap()
        });
        check(&what, &inputs[..2], |t| {
            convolve(&t[0], &t[1], None, stride).unwrap()
        });
    }
}

#[test]
fn joined_channels_are_those_of_the_concatenation() {
    for (size, kernel) in [
        (&[7, 5][..], &[3, 3][..]),
        (&[6, 5, 4], &[3, 3, 3]),
        (&[33, 11], &[5, 5]),
        (&[19, 9, 7], &[5, 5, 5]),
    ] {
        let (a, b) = (noise(&shape(2, 3, size), 1), noise(&shape(2, 2, size), 2));
        let w = noise(&shape(5, 5, kernel), 3);
        let joined = Tensor::cat(&[&a, &b], 1).unwrap();
        let expected = convolve(&joined, &w, None, &vec![1; size.len()]).unwrap();
        let got = convolve_joined(&a, &b, &w).unwrap();
        assert_eq!(distance(&values(&got), &values(&expected)), 0.0);
        check("joined", &[a, b, w], |t| {
            convolve_joined(&t[0], &t[1], &t[2]).unwrap()
        });
    }
}

#[test]
fn views_are_taken_as_they_look() {
    let x = noise(&[2, 6, 9, 8], 1);
    let w = noise(&[4, 3, 3, 3], 2);
    let part = x.narrow(1, 2, 3).unwrap().transpose(2, 3).unwrap();
    assert!(!part.is_contiguous());
    let got = convolve(&part, &w, None, &[1, 1]).unwrap();
    let expected = convolve(
        &part.copy().unwrap().force_contiguous().unwrap(),
        &w,
        None,
        &[1, 1],
    )
    .unwrap();
    assert_eq!(distance(&values(&got), &values(&expected)), 0.0);
    check("view", &[x, w], |t| {
        let part = t[0].narrow(1, 2, 3).unwrap().transpose(2, 3).unwrap();
        // a cotangent that is not contiguous either
        convolve(&part, &t[1], None, &[1, 1])
            .unwrap()
            .transpose(0, 1)
            .unwrap()
    });
}

/// Many blocks, more than one group of outputs, partial blocks at the ends.
#[test]
fn large_volumes_agree_with_the_plain_sum_where_it_is_sampled() {
    let (size, outputs) = ([70, 33, 12], 37);
    let x = noise(&shape(1, 9, &size), 1).to_dtype(DType::F32).unwrap();
    let w = noise(&shape(outputs, 9, &[3, 3, 3]), 2)
        .to_dtype(DType::F32)
        .unwrap();
    let got = values(&convolve(&x, &w, None, &[1, 1, 1]).unwrap());
    let (expected, _) = plain(&x, &w, None, &[1, 1, 1]);
    assert!(distance(&got, &expected) < 1e-3);
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    let w = Var::from_tensor(&noise(&[2, 1, 3, 3], 1)).unwrap();
    let x = noise(&[1, 1, 5, 5], 2);
    let y = convolve(&x, &w, None, &[1, 1]).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&w).is_some());
    assert!(gradients.get(&x).is_none());
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let (x, w) = (zeros(&[1, 2, 5, 5]), zeros(&[3, 2, 3, 3]));
    let message = |r: stillpoint::Result<Tensor>| r.unwrap_err().to_string();
    assert!(message(convolve(&x, &w, None, &[1, 1, 1])).contains("images of a convolution"));
    assert!(message(convolve(&x, &zeros(&[3, 4, 3, 3]), None, &[1, 1]))
        .contains("weight of a convolution"));
    assert!(message(convolve(&x, &zeros(&[3, 2, 2, 3]), None, &[1, 1])).contains("odd"));
    assert!(message(convolve(&x, &w, None, &[0, 1])).contains("stride"));
    assert!(message(convolve(&x, &w, Some(&zeros(&[2])), &[1, 1])).contains("bias"));
    let cotangent = zeros(&[1, 3, 5, 4]);
    assert!(message(convolve_adjoint(&cotangent, &w, &[1, 1], &[5, 5])).contains("cotangent"));
    assert!(
        message(convolve_weight_gradient(&x, &cotangent, &[1, 1], &[3, 3])).contains("cotangent")
    );
    let double = zeros(&[3, 2, 3, 3]).to_dtype(DType::F64).unwrap();
    assert!(message(convolve(&x, &double, None, &[1, 1])).contains("F32"));
    assert!(message(convolve_joined(&x, &zeros(&[1, 2, 5, 4]), &w)).contains("second images"));
}
