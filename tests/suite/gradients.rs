//! Gradients that the tensor engine returns, against finite differences.

use candle_core::{Tensor, Var};

use crate::samples::{along, close, dot, noise, slope_error};

/// Fails unless the gradient of `sum(noise * f(inputs))` with respect to every input reaches it and agrees with central
/// finite differences along random directions.
pub fn check(what: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    let variables: Vec<Var> = inputs
        .iter()
        .map(|x| Var::from_tensor(x).unwrap())
        .collect();
    let tracked: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let result = f(&tracked);
    let cotangent = noise(result.dims(), 77);
    let gradients = (&result * &cotangent)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    for (k, x) in inputs.iter().enumerate() {
        let gradient = gradients
            .get(&tracked[k])
            .unwrap_or_else(|| panic!("{what}: no gradient reaches input {k}"));
        assert_eq!(gradient.dims(), x.dims(), "{what}: input {k}");
        let direction = noise(x.dims(), 88 + k as u64);
        let step = 1e-5;
        let at = |t: f64| {
            let mut moved = inputs.to_vec();
            moved[k] = along(x, t, &direction);
            dot(&f(&moved), &cotangent)
        };
        let expected = (at(step) - at(-step)) / (2.0 * step);
        close(
            dot(gradient, &direction),
            expected,
            1e-7,
            &format!("{what}: input {k}"),
        );
    }
}

/// The relative error of the gradient of a scalar `f` with respect to each of its data, against finite differences along random
/// directions.
pub fn slope_errors(data: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Vec<f64> {
    let variables: Vec<Var> = data.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tracked: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let gradients = f(&tracked).backward().unwrap();
    let error = |k: usize| {
        let step = (noise(data[k].dims(), 70 + k as u64) * 0.3).unwrap();
        let at = |t: f64| {
            let mut moved = data.to_vec();
            moved[k] = along(&data[k], t, &step);
            f(&moved).to_scalar::<f64>().unwrap()
        };
        slope_error(dot(gradients.get(&variables[k]).unwrap(), &step), at)
    };
    (0..data.len()).map(error).collect()
}
