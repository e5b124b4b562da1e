//! Networks on a device beside those on the CPU.

use candle_core::{DType, Tensor, Var};

use super::{
    named_base, Architecture, Downsampling, FeatureNetwork, HeadActivation, NetworkConfig,
    Normalisation, Unet,
};
use crate::features::level_grid;
use crate::ops::{noise, Stage};
#[cfg(feature = "cuda")]
use crate::Error;
use crate::Grid;

/// Networks that differ in everything that has a kernel of its own.
fn configs() -> Vec<NetworkConfig> {
    let small = |config: NetworkConfig| NetworkConfig {
        widths: vec![5, 9, 6],
        shrinks: vec![2, 1],
        outputs: 3,
        ..config
    };
    vec![
        small(NetworkConfig::unet(3, 1)),
        NetworkConfig {
            downsampling: Downsampling::Stride,
            normalisation: Normalisation::Group(3),
            widths: vec![6, 9, 6],
            head: HeadActivation::Linear,
            ..small(NetworkConfig::unet(2, 2))
        },
        NetworkConfig {
            architecture: Architecture::LargeKernelUnet,
            ..small(NetworkConfig::unet(2, 1))
        },
        NetworkConfig {
            widths: vec![5, 9],
            ..small(NetworkConfig::encoder_unet(3, 2))
        },
        NetworkConfig {
            base: Some("mind".into()),
            outputs: 4,
            share: 0.3,
            ..small(NetworkConfig::unet(2, 1))
        },
        NetworkConfig {
            base: Some("coarse-mind".into()),
            outputs: 13,
            ..small(NetworkConfig::unet(3, 1))
        },
    ]
}

/// The maps of two images, and the gradients of a loss of them by the images and by all parameters.
fn gradients(network: &Unet, grid: &Grid, put: impl Fn(&Tensor) -> Tensor) -> Vec<Tensor> {
    let config = network.config();
    let images = noise(2 * config.inputs, grid.size(), 1);
    let shape = [&[2, config.inputs], grid.shape().as_slice()].concat();
    let images = Var::from_tensor(&put(&images.reshape(shape).unwrap())).unwrap();
    let targets: Vec<Grid> = config
        .shrinks
        .iter()
        .map(|&s| level_grid(grid, s).unwrap())
        .collect();
    let maps = network.maps(images.as_tensor(), grid, &targets).unwrap();
    let mut loss: Option<Tensor> = None;
    for (seed, map) in maps.iter().enumerate() {
        let size = targets[seed].size();
        let weights = noise(2 * config.outputs, size, 2 + seed as u64);
        let weights = put(&weights.reshape(map.dims()).unwrap());
        let part = (map * weights).unwrap().sum_all().unwrap();
        loss = Some(match loss {
            Some(sum) => (sum + part).unwrap(),
            None => part,
        });
    }
    let found = loss.unwrap().backward().unwrap();
    let parameters = network.parameters();
    let leaves = std::iter::once(&images).chain(parameters.iter().map(|(_, var)| var));
    let gradients = leaves.map(|leaf| match found.get(leaf) {
        Some(gradient) => gradient.clone(),
        // MIND hands nothing back
        None => leaf.as_tensor().zeros_like().unwrap(),
    });
    maps.iter().map(Tensor::detach).chain(gradients).collect()
}

#[test]
fn maps_and_gradients_as_on_the_cpu() {
    for stage in Stage::all() {
        for config in configs() {
            let base = config.base.as_deref().and_then(named_base);
            let network = Unet::new(&config, base, 3, DType::F32).unwrap();
            // heads on top of a base start at zero, and would hide the rest
            for (seed, (_, var)) in network.parameters().iter().enumerate() {
                let shake = noise(1, &[var.elem_count(), 1], seed as u64);
                let shake = (shake.reshape(var.dims()).unwrap() * 0.1).unwrap();
                var.set(&(var.as_detached_tensor() + shake).unwrap())
                    .unwrap();
            }
            let size = &[19, 14, 9][..config.rank];
            let spacing = &[1.0, 1.2, 2.1][..config.rank];
            let grid = Grid::axis_aligned(size, spacing).unwrap();
            let expected = gradients(&network, &grid, Tensor::clone);
            let there = network.to_device(stage.device()).unwrap();
            let got = stage.run(|| gradients(&there, &grid, |t| stage.put(t)));
            for (k, (expected, got)) in expected.iter().zip(&got).enumerate() {
                let what = format!("{:?}, {:?}, tensor {k}", config.architecture, config.base);
                stage.same(&what, &[expected], &[got], 2e-4);
            }
        }
    }
}

/// A copy on a device has weights of its own.
#[test]
fn a_network_is_carried_with_its_weights() {
    for stage in Stage::all() {
        let config = NetworkConfig::unet(2, 1);
        let network = Unet::new(&config, None, 3, DType::F32).unwrap();
        let there = network.to_device(stage.device()).unwrap();
        assert!(there.device().unwrap().same_device(stage.device()));
        for ((name, here), (other, var)) in
            network.parameters().iter().zip(there.parameters().iter())
        {
            assert_eq!(name, other);
            stage.same(name, &[here.as_tensor()], &[var.as_tensor()], 0.0);
            here.set(&here.as_detached_tensor().zeros_like().unwrap())
                .unwrap();
        }
        let sum = |network: &Unet| -> f64 {
            let parameters = network.parameters();
            let squares = parameters.iter().map(|(_, var)| {
                let sum = var.as_detached_tensor().sqr().unwrap().sum_all().unwrap();
                f64::from(sum.to_scalar::<f32>().unwrap())
            });
            squares.sum()
        };
        assert!(sum(&network) == 0.0 && sum(&there) > 1.0);
    }
}

/// Images that lie elsewhere than the network are refused by name.
#[cfg(feature = "cuda")]
#[test]
fn images_must_lie_with_the_network() {
    let Ok(opened) = crate::DeviceChoice::Cuda(0).open() else {
        eprintln!("skipped: no GPU");
        return;
    };
    let config = NetworkConfig::unet(2, 1);
    let network = Unet::new(&config, None, 3, DType::F32).unwrap();
    let there = network.to_device(&opened.device).unwrap();
    let grid = Grid::axis_aligned(&[16, 16], &[1.0, 1.0]).unwrap();
    let images = noise(1, grid.size(), 1).unsqueeze(0).unwrap();
    let error = there.fixed_pyramid(&images, &grid).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    assert!(error.to_string().contains("cuda:0"), "{error}");
}
