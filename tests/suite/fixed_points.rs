//! Fixed points of maps whose limit is known.

use candle_core::Tensor;
use stillpoint::Anderson;

use crate::samples::{distance, noise, values};

const N: usize = 12;

/// `T(x) = W x + b` with a spectral radius of about `scale`, and its fixed point, by many plain steps.
fn linear(scale: f64) -> (Tensor, Tensor) {
    let w = (noise(&[N, N], 1) * (scale / (N as f64).sqrt())).unwrap();
    (w, noise(&[N, 1], 2))
}

fn image(w: &Tensor, b: &Tensor, x: &Tensor) -> Tensor {
    (w.matmul(x).unwrap() + b).unwrap()
}

#[test]
fn acceleration_reaches_the_fixed_point_in_fewer_steps() {
    let (w, b) = linear(0.8);
    let mut limit = b.clone();
    for _ in 0..2000 {
        limit = image(&w, &b, &limit);
    }
    let run = |memory| {
        let anderson = Anderson {
            memory,
            tolerance: 1e-10,
            steps: 500,
        };
        let found = anderson
            .solve(&mut |x| Ok(image(&w, &b, x)), &b.zeros_like().unwrap())
            .unwrap();
        assert!(found.converged);
        assert!(distance(&values(&found.theta), &values(&limit)) < 1e-8);
        found.residuals.len()
    };
    let (plain, accelerated) = (run(0), run(6));
    assert!(2 * accelerated < plain, "{accelerated} against {plain}");
}

#[test]
fn maps_that_repel_are_accelerated_to_their_fixed_point_or_give_the_best_point_back() {
    // plain iteration diverges; a full history makes the method exact for a linear map
    let (w, b) = linear(1.6);
    let anderson = Anderson {
        memory: N,
        tolerance: 1e-8,
        steps: 200,
    };
    let start = b.zeros_like().unwrap();
    let found = anderson
        .solve(&mut |x| Ok(image(&w, &b, x)), &start)
        .unwrap();
    let rest = (image(&w, &b, &found.theta) - &found.theta).unwrap();
    let size = values(&rest).iter().map(|v| v * v).sum::<f64>().sqrt();
    let best = found
        .residuals
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min);
    assert!((size - best).abs() <= 1e-9 * (1.0 + best), "{size} {best}");
    assert!(best < 0.1 * found.residuals[0], "{best}");
    // a map that leaves its domain at once
    let lost = anderson.solve(&mut |x| Ok((x / 0.0)?), &b).unwrap();
    assert!(!lost.converged);
    assert_eq!(values(&lost.theta), values(&b));
    let error = anderson.solve(&mut |x| Ok(x.t()?), &b).unwrap_err();
    assert!(error.to_string().contains("fixed-point map"), "{error}");
}
