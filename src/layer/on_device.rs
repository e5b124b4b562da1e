//! The layer on a device beside that on the CPU.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};

use super::{LayerInput, RegistrationLayer};
use crate::adjoint::{Adjoint, Unconverged};
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

/// A fast solve to the end, which the CPU and a device must come to by ways of their own.
fn fast(device: &Device) -> RegistrationLayer {
    RegistrationLayer {
        deformation: Deformation {
            features: Features::Intensities,
            device: device.clone(),
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
    }
}

/// A certified solve with the exact adjoint.
fn certified(device: &Device) -> RegistrationLayer {
    let mut layer = RegistrationLayer::certified();
    layer.uncertified = Unconverged::Refuse;
    layer.deformation.features = Features::Intensities;
    layer.deformation.device = device.clone();
    layer
}

/// The finest displacement and its determinants, and the gradients of a loss of warped images: by the features of both images,
/// the weights of the regulariser and of channels, and the images.
fn gradients(
    layer: &RegistrationLayer,
    size: &[usize],
    put: impl Fn(&Tensor) -> Tensor,
) -> Vec<Tensor> {
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
    [
        finest.displacement.detach().to_dtype(DType::F32).unwrap(),
        finest.determinants().unwrap(),
    ]
    .into_iter()
    .chain(gradients)
    .collect()
}

fn length(tensor: &Tensor) -> f32 {
    let squares = tensor.sqr().unwrap().sum_all().unwrap();
    squares.to_scalar::<f32>().unwrap().sqrt()
}

/// Fails where tensors differ by more than this share of their length.
#[track_caller]
fn compare(
    stage: &Stage,
    layer: impl Fn(&Device) -> RegistrationLayer,
    size: &[usize],
    share: f32,
) {
    let expected = gradients(&layer(&Device::Cpu), size, Tensor::clone);
    let got = stage.run(|| gradients(&layer(stage.device()), size, |t| stage.put(t)));
    for (k, (expected, got)) in expected.iter().zip(&got).enumerate() {
        let got = got.to_device(&Device::Cpu).unwrap();
        let (apart, size) = (length(&(expected - got).unwrap()), length(expected));
        assert!(apart < share * size, "tensor {k}: {size} apart by {apart}");
    }
}

/// Slopes of linear interpolation jump from cell to cell, so that gradients of optima a rounding apart differ in places; those of
/// the very same optimum are compared with the adjoint.
#[test]
fn optima_and_their_gradients_as_on_the_cpu() {
    for stage in Stage::all() {
        for size in [&[26, 23][..], &[15, 13, 11]] {
            compare(&stage, fast, size, 0.1);
        }
    }
}

#[test]
fn certified_optima_and_their_exact_gradients_as_on_the_cpu() {
    for stage in Stage::all() {
        for size in [&[18, 17][..], &[9, 10, 8]] {
            compare(&stage, certified, size, 1e-3);
        }
    }
}
