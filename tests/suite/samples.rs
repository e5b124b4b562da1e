//! Tensors to try operators on, and plain arithmetic on them.

use candle_core::{DType, Device, Tensor};
use stillpoint::Rng;

/// Grids of both ranks, fastest axis first: odd, longer than any vector, thin, and with an axis of one voxel.
pub const SIZES: &[&[usize]] = &[
    &[7, 5],
    &[37, 4],
    &[1, 6],
    &[5, 4, 3],
    &[19, 3, 4],
    &[6, 1, 5],
    &[9, 2, 1],
];

/// The shape of a tensor with this many channels on a grid given fastest axis first.
pub fn shape(channels: usize, size: &[usize]) -> Vec<usize> {
    let mut shape = vec![channels];
    shape.extend(size.iter().rev());
    shape
}

/// A double-precision tensor of these values.
pub fn tensor(values: Vec<f64>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Standard normal values.
pub fn noise(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    tensor(
        (0..shape.iter().product()).map(|_| rng.normal()).collect(),
        shape,
    )
}

/// Uniform values between 0 and 1.
pub fn uniform(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    tensor(
        (0..shape.iter().product()).map(|_| rng.uniform()).collect(),
        shape,
    )
}

/// The values of a tensor, in double precision.
pub fn values(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// `x + t y`.
pub fn along(x: &Tensor, t: f64, y: &Tensor) -> Tensor {
    ((y * t).unwrap() + x).unwrap()
}

/// The sum of products.
pub fn dot(x: &Tensor, y: &Tensor) -> f64 {
    assert_eq!(x.dims(), y.dims());
    values(x).iter().zip(values(y)).map(|(a, b)| a * b).sum()
}

/// The largest absolute difference.
pub fn distance(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).fold(0.0, |worst, (a, b)| {
        let gap = (a - b).abs();
        assert!(gap.is_finite(), "{a} against {b}");
        worst.max(gap)
    })
}

/// Fails unless both numbers agree to a share of their size (and of one).
pub fn close(a: f64, b: f64, share: f64, what: &str) {
    let scale = 1.0 + a.abs().max(b.abs());
    assert!((a - b).abs() <= share * scale, "{what}: {a} against {b}");
}

/// A tensor of zeros like another one.
pub fn zeros(x: &Tensor) -> Tensor {
    x.zeros_like().unwrap()
}

/// The slope of a function at zero by central differences of the fourth order.
pub fn slope(at: impl Fn(f64) -> f64, h: f64) -> f64 {
    (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h)
}

/// The relative error of a slope that was found, against central differences: truncation falls with the step and rounding
/// grows, so one of three steps is small enough for both. No more are tried than it takes to come below `1e-6`.
pub fn slope_error(found: f64, at: impl Fn(f64) -> f64) -> f64 {
    let mut best = f64::INFINITY;
    for h in [4e-3, 1e-3, 2.5e-4] {
        let difference = slope(&at, h);
        best = best.min((found - difference).abs() / difference.abs());
        if best < 1e-6 {
            break;
        }
    }
    best
}
