//! The self-similarity descriptors, against their formula and by what they must not see.

use candle_core::{DType, Tensor};
use stillpoint::{mind, smooth, warp, Affine, Interpolation};

use crate::samples::{distance, noise, shape, tensor, uniform, values, zeros, SIZES};

/// Neighbours that lie off the voxels and off the axes.
const OBLIQUE: [[f64; 3]; 3] = [[1.6, 0.3, -0.2], [-0.4, 2.2, 0.5], [0.1, -0.6, 1.3]];
const WIDTHS: [f64; 3] = [0.9, 1.4, 0.0];

/// The formula, step by step.
fn plain(image: &Tensor, offsets: &[[f64; 3]], sigma: &[f64]) -> Vec<f64> {
    let rank = offsets.len();
    let n: usize = image.dims()[1..].iter().product();
    let mut all = Vec::new();
    for c in 0..image.dims()[0] {
        let channel = image.narrow(0, c, 1).unwrap().contiguous().unwrap();
        let mut still = image.dims().to_vec();
        still[0] = rank;
        let still = zeros(&noise(&still, 0));
        let neighbours: Vec<Vec<f64>> = offsets
            .iter()
            .flat_map(|o| [o.map(|o| -o), *o])
            .map(|o| warp(&channel, &still, &Affine::shift(o), Interpolation::Linear).unwrap())
            .map(|shifted| values(&shifted))
            .collect();
        let mut differences = Vec::new();
        for i in 0..2 * rank {
            for j in i + 1..2 * rank {
                if i / 2 != j / 2 {
                    let squares = neighbours[i].iter().zip(&neighbours[j]);
                    let squares = squares.map(|(a, b)| (a - b).powi(2)).collect();
                    let squares = smooth(&tensor(squares, channel.dims()), sigma).unwrap();
                    differences.push(values(&squares));
                }
            }
        }
        let low = |x: usize| {
            let here = differences.iter().map(|d| d[x]);
            here.fold(f64::INFINITY, f64::min)
        };
        let noise: Vec<f64> = (0..n)
            .map(|x| {
                let sum: f64 = differences.iter().map(|d| d[x] - low(x)).sum();
                sum / differences.len() as f64
            })
            .collect();
        let squares: f64 = noise.iter().map(|v| v * v).sum();
        let typical = squares / noise.iter().sum::<f64>();
        for d in &differences {
            all.extend((0..n).map(|x| (-(d[x] - low(x)) / (noise[x] + 0.02 * typical)).exp()));
        }
    }
    all
}

#[test]
fn descriptors_follow_their_formula() {
    for &size in SIZES {
        let rank = size.len();
        let (offsets, sigma) = (&OBLIQUE[..rank], &WIDTHS[..rank]);
        let image = uniform(&shape(2, size), 7);
        let expected = plain(&image, offsets, sigma);
        let found = mind(&image, offsets, sigma).unwrap();
        let pairs = if rank == 2 { 4 } else { 12 };
        assert_eq!(found.dims(), shape(2 * pairs, size));
        let gap = distance(&values(&found), &expected);
        assert!(gap < 1e-8, "{size:?}: {gap}");
        let single = image.to_dtype(DType::F32).unwrap();
        let single = mind(&single, offsets, sigma).unwrap();
        let gap = distance(&values(&single), &expected);
        assert!(gap < 1e-3, "{size:?}: {gap}");
    }
}

#[test]
fn gain_offset_and_sign_of_the_contrast_do_not_count() {
    let size = [19, 14, 11];
    let image = uniform(&shape(1, &size), 3);
    let found = values(&mind(&image, &OBLIQUE, &WIDTHS).unwrap());
    for (gain, offset) in [(250.0, -40.0), (1e-3, 0.0), (-1.0, 1.0), (-7.0, 5.0)] {
        let other = ((&image * gain).unwrap() + offset).unwrap();
        let gap = distance(&values(&mind(&other, &OBLIQUE, &WIDTHS).unwrap()), &found);
        assert!(gap < 1e-9, "{gain} {offset}: {gap}");
    }
    // but what the image shows does
    let other = values(&mind(&image.sqr().unwrap(), &OBLIQUE, &WIDTHS).unwrap());
    assert!(distance(&other, &found) > 0.1);
}

#[test]
fn a_constant_image_gives_ones() {
    for size in [&[9, 7][..], &[6, 5, 4]] {
        for dtype in [DType::F32, DType::F64] {
            let flat = (noise(&shape(1, size), 1) * 0.0).unwrap() + 3.0;
            let flat = flat.unwrap().to_dtype(dtype).unwrap();
            let rank = size.len();
            let found = mind(&flat, &OBLIQUE[..rank], &WIDTHS[..rank]).unwrap();
            assert!(values(&found).iter().all(|v| *v == 1.0), "{size:?}");
        }
    }
}

#[test]
fn an_edge_is_dissimilar_across_and_similar_along() {
    // bright above the middle of the first axis: neighbours along it differ, the others do not
    let size = [16, 12];
    let n: usize = size.iter().product();
    let edge = (0..n).map(|v| f64::from(u8::from(v % 16 >= 8))).collect();
    let edge = tensor(edge, &shape(1, &size));
    let found = values(&mind(&edge, &[[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]], &[0.0, 0.0]).unwrap());
    let at = 6 * 16 + 7;
    // at the edge's dark side: -x is as dark as -y and +y, +x is bright
    let [minus_low, minus_high, plus_low, plus_high] = [0, 1, 2, 3].map(|k| found[k * n + at]);
    assert_eq!((minus_low, minus_high), (1.0, 1.0));
    assert!(plus_low < 0.2 && plus_low == plus_high, "{plus_low}");
}

#[test]
fn every_axis_needs_an_offset_and_a_width() {
    let image = noise(&[1, 5, 6, 7], 1);
    for (offsets, widths) in [(2, 3), (3, 2)] {
        let error = mind(&image, &OBLIQUE[..offsets], &WIDTHS[..widths]).unwrap_err();
        assert!(error.to_string().contains("one an axis"), "{error}");
    }
}
