//! The layer on a device beside that on the CPU.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::{LayerInput, RegistrationLayer};
use crate::adjoint::Adjoint;
use crate::features::FeatureLevel;
use crate::ops::{noise, smooth, Stage};
use crate::{Deformation, Features, GaussNewton, Grid};

/// Two pairs of two channels.
fn batch(size: &[usize], seed: u64) -> Tensor {
    let mut shape = vec![2, 2];
    shape.extend(size.iter().rev());
    let rough = noise(4, size, seed);
    smooth(&rough, &vec![3.0; size.len()])
        .unwrap()
        .reshape(shape)
        .unwrap()
}

/// The finest displacement, and the gradients of a loss of warped images: by the features of both images, the weights of the
/// regulariser and of channels, and the images.
fn gradients(size: &[usize], device: &Device, put: impl Fn(&Tensor) -> Tensor) -> Vec<Tensor> {
    let layer = RegistrationLayer {
        deformation: Deformation {
            features: Features::Intensities,
            device: device.clone(),
            // to the end, which the two must come to by ways of their own
            solver: Some(Arc::new(GaussNewton {
                steps: 100,
                decrease: 1e-9,
                ..GaussNewton::default()
            })),
            ..Deformation::default()
        },
        adjoint: Adjoint {
            tolerance: 1e-5,
            ..Adjoint::gauss_newton()
        },
        ..RegistrationLayer::default()
    };
    let leaf = |tensor: &Tensor| Var::from_tensor(&put(tensor)).unwrap();
    let small = |numbers: &[f32]| Tensor::new(numbers, &Device::Cpu).unwrap();
    let moving = batch(size, 1);
    let fixed = ((&moving * 0.9).unwrap() + (batch(size, 2) * 0.1).unwrap()).unwrap();
    let leaves = [
        fixed,
        moving,
        small(&[4.0]),
        small(&[1.0, 0.6]),
        batch(size, 3),
    ];
    let [fixed, moving, lambda, weights, images] = leaves.each_ref().map(leaf);
    let grid = Grid::axis_aligned(size, &vec![1.0; size.len()]).unwrap();
    let level = |features: &Var| {
        [FeatureLevel {
            shrink: 1,
            features: features.as_tensor().clone(),
            grid: grid.clone(),
        }]
    };
    let (of_fixed, of_moving) = (level(&fixed), level(&moving));
    let channel_weights = [weights.as_tensor().clone()];
    let input = LayerInput {
        lambda: Some(lambda.as_tensor()),
        channel_weights: Some(&channel_weights),
        ..LayerInput::new(&of_fixed, &of_moving)
    };
    let output = layer.forward(&input).unwrap();
    assert!(output.failures.is_empty(), "{:?}", output.failures);
    let finest = output.finest();
    let warped = finest.warp(images.as_tensor(), &grid, &grid).unwrap();
    let loss = (warped * put(&batch(size, 4))).unwrap().sum_all().unwrap();
    let found = loss.backward().unwrap();
    let of = |leaf: &Var| found.get(leaf).unwrap().clone();
    let of_weights = Tensor::cat(&[of(&lambda), of(&weights)], 0).unwrap();
    let gradients = [of(&fixed), of(&moving), of_weights, of(&images)];
    [finest.displacement.detach()]
        .into_iter()
        .chain(gradients)
        .collect()
}

fn length(tensor: &Tensor) -> f32 {
    let squares = tensor.sqr().unwrap().sum_all().unwrap();
    squares.to_scalar::<f32>().unwrap().sqrt()
}

/// Slopes of linear interpolation jump from cell to cell, so that gradients of optima a rounding apart differ in places; those of
/// the very same optimum are compared with the adjoint.
#[test]
fn optima_and_their_gradients_as_on_the_cpu() {
    for stage in Stage::all() {
        for size in [&[26, 23][..], &[15, 13, 11]] {
            let expected = gradients(size, &Device::Cpu, Tensor::clone);
            let got = stage.run(|| gradients(size, stage.device(), |t| stage.put(t)));
            for (expected, got) in expected.iter().zip(&got) {
                let got = got.to_device(&Device::Cpu).unwrap();
                let (apart, size) = (length(&(expected - got).unwrap()), length(expected));
                assert!(apart < 0.1 * size, "{size} apart by {apart}");
            }
        }
    }
}
