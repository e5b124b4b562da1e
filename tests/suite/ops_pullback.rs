//! Derivatives of the warp along a step, of the energy's gradient with respect to its data, and of operators in a graph.

use candle_core::{Tensor, Var};
use stillpoint::{
    resize, resize_adjoint, smooth, smooth_adjoint, spline_coefficients, warp, warp_adjoint,
    warp_adjoint_derivative, warp_derivative, warp_gradient, Curvature, Interpolation, SsdData,
};

use crate::ops_ssd::{cases, map};
use crate::samples::{along, close, distance, dot, noise, shape, tensor, values, zeros, SIZES};

const BOTH: [Interpolation; 2] = [Interpolation::Linear, Interpolation::Cubic];

fn other(size: &[usize]) -> Vec<usize> {
    size.iter()
        .map(|&n| if n == 1 { 1 } else { n + 2 })
        .collect()
}

/// Calls `check` with an image of few or many channels, a displacement, a step and a cotangent.
fn warps(mut check: impl FnMut([&Tensor; 4], &[usize], Interpolation, &str)) {
    for &size in SIZES {
        for interpolation in BOTH {
            for channels in [2, 6] {
                let image = noise(&shape(channels, &other(size)), 1);
                let u = noise(&shape(size.len(), size), 2);
                let q = noise(&shape(size.len(), size), 3);
                let g = noise(&shape(channels, size), 4);
                let name = format!("{size:?} {interpolation:?} {channels}");
                check([&image, &u, &q, &g], size, interpolation, &name);
            }
        }
    }
}

#[test]
fn the_derivative_of_the_warp_along_a_step_is_that_of_finite_differences() {
    warps(|[image, u, q, _], size, interpolation, name| {
        let map = map(size.len());
        let slope = warp_derivative(image, u, &map, interpolation, q).unwrap();
        let at = |t: f64| values(&warp(image, &along(u, t, q), &map, interpolation).unwrap());
        let (ahead, behind) = (at(1e-6), at(-1e-6));
        let differences: Vec<f64> = ahead
            .iter()
            .zip(&behind)
            .map(|(a, b)| (a - b) / 2e-6)
            .collect();
        let gap = distance(&values(&slope), &differences);
        assert!(gap < 1e-7, "{name}: {gap}");
    });
}

#[test]
fn both_adjoints_of_the_derivative_pass_the_dot_product_test() {
    warps(|[image, u, q, g], size, interpolation, name| {
        let (map, moving) = (map(size.len()), other(size));
        let slope = warp_derivative(image, u, &map, interpolation, q).unwrap();
        let by_step = warp_gradient(image, u, &map, interpolation, g).unwrap();
        close(dot(&slope, g), dot(&by_step, q), 1e-12, name);
        let by_image = warp_adjoint_derivative(g, u, &map, interpolation, &moving, q).unwrap();
        assert_eq!(by_image.dims(), image.dims());
        close(dot(&slope, g), dot(&by_image, image), 1e-12, name);
    });
}

/// `g . q` with `g` the gradient of the energy.
fn along_gradient(data: &SsdData, u: &Tensor, q: &Tensor) -> f64 {
    let rank = u.dims()[0];
    let g = zeros(u);
    let blocks = noise(&shape(rank * (rank + 1) / 2, &data_size(data)), 9);
    data.linearise(Some(u), Curvature::Newton, &g, &blocks)
        .unwrap();
    dot(&g, q)
}

fn data_size(data: &SsdData) -> Vec<usize> {
    data.fixed.dims()[1..].iter().rev().copied().collect()
}

/// The gradient depends on all data by polynomials of the second degree: central differences are exact but for rounding.
#[test]
fn the_pullback_to_the_data_is_that_of_finite_differences() {
    cases(|data, u, size, name| {
        let q = noise(u.dims(), 21);
        let found = data.pullback(u, &q).unwrap();
        let slope = |change: &dyn Fn(f64) -> SsdData| {
            -(along_gradient(&change(1e-2), u, &q) - along_gradient(&change(-1e-2), u, &q)) / 2e-2
        };
        let step = noise(data.fixed.dims(), 22);
        let fixed = slope(&|t| SsdData {
            fixed: along(&data.fixed, t, &step),
            ..data.clone()
        });
        close(dot(&found.fixed, &step), fixed, 1e-9, name);

        let step = noise(data.moving.dims(), 23);
        let coefficients = match data.interpolation {
            Interpolation::Linear => step.clone(),
            Interpolation::Cubic => spline_coefficients(&step).unwrap(),
        };
        let moving = slope(&|t| SsdData {
            moving: along(&data.moving, t, &coefficients),
            ..data.clone()
        });
        close(dot(&found.moving, &step), moving, 1e-9, name);

        for c in 0..data.channel_weight.len() {
            let weight = slope(&|t| {
                let mut data = data.clone();
                data.channel_weight[c] += t;
                data
            });
            close(found.channel_weight[c], weight, 1e-9, name);
        }

        let step = noise(&shape(1, size)[1..], 24);
        let ones = tensor(vec![1.0; step.elem_count()], step.dims());
        let mask = data.mask.clone().unwrap_or(ones);
        let mask = slope(&|t| SsdData {
            mask: Some(along(&mask, t, &step)),
            ..data.clone()
        });
        close(dot(&found.mask, &step), mask, 1e-9, name);
    });
}

#[test]
fn operators_in_a_graph_hand_back_their_adjoints() {
    warps(|[image, u, _, g], size, interpolation, name| {
        let (map, moving) = (map(size.len()), other(size));
        let (image, u) = (
            Var::from_tensor(image).unwrap(),
            Var::from_tensor(u).unwrap(),
        );
        // tensors that come out of other operations, and one of them used twice
        let (twice, half) = (
            (image.as_tensor() * 2.0).unwrap(),
            (u.as_tensor() * 0.5).unwrap(),
        );
        let out = warp(&twice, &half, &map, interpolation).unwrap();
        let still = warp(&twice.detach(), &half.detach(), &map, interpolation).unwrap();
        assert_eq!(values(&out), values(&still));
        let loss = (&out * g).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let of_image = warp_adjoint(g, &half, &map, interpolation, &moving).unwrap();
        let of_u = warp_gradient(&twice, &half, &map, interpolation, g).unwrap();
        let found = values(gradients.get(&image).unwrap());
        assert!(
            distance(&found, &values(&(of_image * 2.0).unwrap())) < 1e-12,
            "{name}"
        );
        let found = values(gradients.get(&u).unwrap());
        assert!(
            distance(&found, &values(&(of_u * 0.5).unwrap())) < 1e-12,
            "{name}"
        );
        // an argument without a graph is left alone
        let out = warp(&image, &u.detach(), &map, interpolation).unwrap();
        let gradients = out.sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&image).is_some() && gradients.get(&u).is_none());
    });
    let x = Var::from_tensor(&noise(&[3, 7, 9], 1)).unwrap();
    let g = noise(&[3, 4, 12], 2);
    let out = resize(x.as_tensor(), &[12, 4]).unwrap();
    let gradients = (out * &g).unwrap().sum_all().unwrap().backward().unwrap();
    let expected = values(&resize_adjoint(&g, &[9, 7]).unwrap());
    assert!(distance(&values(gradients.get(&x).unwrap()), &expected) < 1e-13);
    let g = noise(&[3, 7, 9], 2);
    let out = smooth(x.as_tensor(), &[1.0, 2.0]).unwrap();
    let gradients = (out * &g).unwrap().sum_all().unwrap().backward().unwrap();
    let expected = values(&smooth_adjoint(&g, &[1.0, 2.0]).unwrap());
    assert!(distance(&values(gradients.get(&x).unwrap()), &expected) < 1e-13);
}

/// The trap that residuals must avoid: what `backward` returns has lost part of its graph, and differentiating it again gives
/// a wrong number without a word.
#[test]
fn the_engine_does_not_differentiate_the_result_of_a_backward_pass() {
    let x = Var::from_tensor(&noise(&[4], 1)).unwrap();
    // (x^2)^3, so that the derivative of one operation passes another
    let sixth = x.sqr().unwrap().powf(3.0).unwrap().sum_all().unwrap();
    let slope = sixth.backward().unwrap().get(&x).unwrap().clone();
    let expected = values(&(x.powf(4.0).unwrap() * 30.0).unwrap());
    let again = slope.sum_all().unwrap().backward().unwrap();
    let right = again
        .get(&x)
        .is_some_and(|found| distance(&values(found), &expected) < 1e-9);
    assert!(
        !right,
        "second derivatives work now: say so in the documents"
    );
}
