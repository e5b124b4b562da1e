//! The hyperbolic tangent against the standard library's, and its gradient.

use candle_core::{DType, Device, Tensor};
use stillpoint::tanh;

use crate::gradients::check;
use crate::samples::{noise, values};

#[test]
fn agrees_with_the_standard_library_in_both_precisions() {
    let mut places: Vec<f64> = (-4000..=4000).map(|k| f64::from(k) * 0.01).collect();
    places.extend([1e-12, -3e-7, 1e-4, 700.0, -1e30]);
    let x = Tensor::new(places.as_slice(), &Device::Cpu).unwrap();
    for (dtype, share) in [(DType::F64, 2e-15), (DType::F32, 1e-6)] {
        let x = x.to_dtype(dtype).unwrap();
        for (found, place) in values(&tanh(&x).unwrap()).iter().zip(values(&x)) {
            let expected = place.tanh();
            assert!(
                (found - expected).abs() <= share * expected.abs(),
                "{dtype:?} {place}: {found} for {expected}"
            );
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let x = Tensor::new(&[0.5f32, f32::NAN, f32::INFINITY], &Device::Cpu).unwrap();
    let found = tanh(&x).unwrap().to_vec1::<f32>().unwrap();
    assert!(found[0].is_finite() && found[1].is_nan() && found[2].is_nan());
}

#[test]
fn gradients_are_true() {
    let shape = [2, 3, 5, 7];
    check("tanh", &[noise(&shape, 1)], |x| tanh(&x[0]).unwrap());
}
