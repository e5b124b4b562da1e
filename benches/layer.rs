//! Forward and backward passes of the registration layer: `cargo bench --bench layer`.
//!
//! A phantom pair of 80x96x112 voxels, 16 channels of an untrained network as leaves of the graph, the fast solve with its
//! default gradient, and a loss on the warped brain (the labels of both as one structure). Medians of as many rounds; the ratio is
//! what a step through the solver pays for its gradient.

use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use stillpoint::{
    FeatureLevel, FeatureNetwork, Grid, Instructions, LayerInput, NetworkConfig, Phantom,
    RegistrationLayer, Result, Unet,
};

#[global_allocator]
static ALLOCATOR: stillpoint::memory::Allocator = stillpoint::memory::Allocator;

/// Fastest axis first.
const SIZE: [usize; 3] = [112, 96, 80];
const ROUNDS: usize = 7;

/// The features of an image as leaves.
fn leaves(network: &Unet, values: &[f32], grid: &Grid) -> Result<Vec<FeatureLevel>> {
    let shape = [vec![1, 1], grid.shape()].concat();
    let images = Tensor::from_slice(values, shape, &Device::Cpu)?;
    let mut levels = network.fixed_pyramid(&images, grid)?;
    for level in &mut levels {
        let leaf = Var::from_tensor(&level.features.detach())?;
        level.features = leaf.as_tensor().clone();
    }
    Ok(levels)
}

/// Where there is any label.
fn mask(labels: &[u32], grid: &Grid) -> Result<Tensor> {
    let inside: Vec<f32> = labels.iter().map(|&l| (l > 0).into()).collect();
    let shape = [vec![1, 1], grid.shape()].concat();
    Ok(Tensor::from_vec(inside, shape, &Device::Cpu)?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let phantom = Phantom::pair(&SIZE, &[2.0; 3], 1)?;
    let grid = &phantom.grid;
    println!(
        "{} threads, {:?}; medians of {ROUNDS}\n\n{:<10} {:>10} {:>11} {:>6}",
        rayon::current_num_threads(),
        Instructions::current(),
        "levels",
        "forward ms",
        "backward ms",
        "ratio"
    );
    for shrinks in [vec![1], vec![4, 2, 1]] {
        let config = NetworkConfig {
            shrinks: shrinks.clone(),
            ..NetworkConfig::unet(3, 1)
        };
        let network = Unet::new(&config, None, 1, DType::F32)?;
        let fixed = leaves(&network, &phantom.fixed, grid)?;
        let moving = leaves(&network, &phantom.moving, grid)?;
        let (of_fixed, of_moving) = (
            mask(&phantom.fixed_labels, grid)?,
            mask(&phantom.moving_labels, grid)?,
        );
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let out = RegistrationLayer::default().forward(&LayerInput::new(&fixed, &moving))?;
            forward.push(start.elapsed().as_secs_f64());
            let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
            for level in &out.levels {
                let warped = level.warp(&of_moving, grid, grid)?;
                loss = (loss + (warped - &of_fixed)?.sqr()?.mean_all()?)?;
            }
            let start = Instant::now();
            loss.backward()?;
            backward.push(start.elapsed().as_secs_f64());
        }
        let (forward, backward) = (median(forward), median(backward));
        let levels: Vec<String> = shrinks.iter().map(|s| s.to_string()).collect();
        println!(
            "{:<10} {:>10.0} {:>11.0} {:>6.2}",
            levels.join("x"),
            1e3 * forward,
            1e3 * backward,
            backward / forward
        );
    }
    Ok(())
}
