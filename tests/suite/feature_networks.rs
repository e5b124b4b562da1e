//! Feature networks: where their maps lie, what their gradients are, and what they refuse.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};
use stillpoint::{
    level_grid, matched_grid, resize, Architecture, BaseFeatures, Downsampling, FeatureNetwork,
    Grid, HandMade, Intensities, LevelGrids, Mind, NetworkConfig, Normalisation, Result, Unet,
};

use crate::samples::{close, distance, dot, noise, values};

/// Grids that nothing divides, thick slices, and images smaller than the network's pooling.
fn grids() -> Vec<Grid> {
    [
        (&[33, 21][..], &[1.0, 1.0][..]),
        (&[16, 16], &[2.0, 2.0]),
        (&[5, 3], &[1.0, 1.3]),
        (&[17, 12, 9], &[1.0, 1.0, 1.0]),
        (&[14, 15, 6], &[0.9, 0.9, 3.1]),
        (&[12, 1, 7], &[1.0, 1.0, 1.0]),
    ]
    .into_iter()
    .map(|(size, spacing)| Grid::axis_aligned(size, spacing).unwrap())
    .collect()
}

/// Small networks of all kinds.
fn configs(rank: usize) -> Vec<NetworkConfig> {
    let small = NetworkConfig {
        widths: vec![4, 4, 6],
        outputs: 3,
        ..NetworkConfig::unet(rank, 2)
    };
    vec![
        small.clone(),
        NetworkConfig {
            normalisation: Normalisation::Group(2),
            downsampling: Downsampling::Stride,
            ..small.clone()
        },
        NetworkConfig {
            architecture: Architecture::EncoderUnet,
            ..small.clone()
        },
        NetworkConfig {
            architecture: Architecture::LargeKernelUnet,
            shrinks: vec![4, 2],
            ..small
        },
    ]
}

fn images(batch: usize, channels: usize, grid: &Grid, seed: u64) -> Tensor {
    let shape = [&[batch, channels], grid.shape().as_slice()].concat();
    noise(&shape, seed)
}

fn network(config: &NetworkConfig, seed: u64) -> Unet {
    Unet::new(config, None, seed, DType::F64).unwrap()
}

#[test]
fn maps_lie_on_the_grids_of_the_levels() {
    for grid in grids() {
        for config in configs(grid.rank()) {
            let network = network(&config, 1);
            let x = images(2, 2, &grid, 1);
            let levels = network.fixed_pyramid(&x, &grid).unwrap();
            assert_eq!(levels.len(), config.shrinks.len());
            for (level, &shrink) in levels.iter().zip(&config.shrinks) {
                assert_eq!(
                    (level.shrink, &level.grid),
                    (shrink, &level_grid(&grid, shrink).unwrap())
                );
                let shape = [&[2, 3], level.grid.shape().as_slice()].concat();
                assert_eq!(level.features.dims(), shape);
                assert!(values(&level.features).iter().all(|v| v.is_finite()));
                let item = level.item(1).unwrap();
                assert_eq!(item.features.dims(), &shape[1..]);
            }
        }
    }
}

#[test]
fn moving_maps_match_the_spacing_of_the_fixed_levels() {
    let fixed = Grid::axis_aligned(&[40, 44], &[2.0, 2.0]).unwrap();
    for (size, spacing) in [
        (&[40, 44], &[2.0, 2.0]),
        (&[81, 75], &[1.0, 1.0]),
        (&[35, 34], &[3.0, 2.5]),
    ] {
        let moving = Grid::axis_aligned(size, spacing).unwrap();
        let network = network(&configs(2)[0], 1);
        let x = images(1, 2, &moving, 1);
        let levels = network.moving_pyramid(&x, &moving, &fixed).unwrap();
        for level in &levels {
            let expected =
                matched_grid(&moving, &level_grid(&fixed, level.shrink).unwrap()).unwrap();
            assert_eq!(level.grid, expected);
            assert_eq!(level.features.dims()[2..], expected.shape());
        }
        if moving == fixed {
            let same = network.fixed_pyramid(&x, &fixed).unwrap();
            for (a, b) in levels.iter().zip(&same) {
                assert_eq!(distance(&values(&a.features), &values(&b.features)), 0.0);
            }
        }
    }
}

/// The sum of all maps times noise, and its gradients.
fn loss(network: &Unet, x: &Tensor, grid: &Grid) -> Tensor {
    let levels = network.fixed_pyramid(x, grid).unwrap();
    let mut sum = Tensor::zeros((), DType::F64, x.device()).unwrap();
    for (k, level) in levels.iter().enumerate() {
        let weight = noise(level.features.dims(), 50 + k as u64);
        sum = (sum + (&level.features * weight).unwrap().sum_all().unwrap()).unwrap();
    }
    sum
}

#[test]
fn gradients_of_all_weights_and_of_the_images_agree_with_finite_differences() {
    for (rank, size) in [(2, &[13, 10][..]), (3, &[9, 6, 7])] {
        let grid = Grid::axis_aligned(size, &vec![1.0; rank]).unwrap();
        for config in configs(rank) {
            // without the kink of the rectifier, which finite differences would cross
            let config = NetworkConfig {
                slope: 1.0,
                ..config
            };
            let network = network(&config, 3);
            let x = Var::from_tensor(&images(2, 2, &grid, 1)).unwrap();
            let gradients = loss(&network, x.as_tensor(), &grid).backward().unwrap();
            let parameters = network.parameters();
            let mut variables: Vec<(&str, &Var)> = parameters.iter().collect();
            variables.push(("images", &x));
            let step = 1e-5;
            for (name, var) in variables {
                let what = format!("{:?} {name}", config.architecture);
                let gradient = gradients
                    .get(var.as_tensor())
                    .unwrap_or_else(|| panic!("{what}: no gradient"));
                let start = var.as_detached_tensor().copy().unwrap();
                let direction = noise(var.dims(), 9);
                let at = |t: f64| {
                    var.set(&((&direction * t).unwrap() + &start).unwrap())
                        .unwrap();
                    loss(&network, x.as_tensor(), &grid)
                        .to_scalar::<f64>()
                        .unwrap()
                };
                let expected = (at(step) - at(-step)) / (2.0 * step);
                var.set(&start).unwrap();
                close(dot(gradient, &direction), expected, 1e-6, &what);
            }
        }
    }
}

/// A level alone, and the way back taken twice: the second time as if there had been no first.
#[test]
fn levels_are_passed_back_alone_and_again() {
    let grid = Grid::axis_aligned(&[13, 10], &[1.0, 1.0]).unwrap();
    let x = images(1, 2, &grid, 1);
    for config in configs(2) {
        let network = network(&config, 3);
        let levels = network.fixed_pyramid(&x, &grid).unwrap();
        let weights = network.parameters().variables();
        let gradients = |loss: &Tensor| -> Vec<Option<Tensor>> {
            let store = loss.backward().unwrap();
            weights.iter().map(|w| store.get(w).cloned()).collect()
        };
        let squares = |level: usize| levels[level].features.sqr().unwrap().sum_all().unwrap();
        let mut sums: Vec<f64> = vec![0.0; weights.len()];
        for level in 0..levels.len() {
            for (sum, gradient) in sums.iter_mut().zip(gradients(&squares(level))) {
                *sum += gradient.map_or(0.0, |g| dot(&g, &noise(g.dims(), 4)));
            }
        }
        let mut all = squares(0);
        for level in 1..levels.len() {
            all = (all + squares(level)).unwrap();
        }
        for _ in 0..2 {
            for (sum, gradient) in sums.iter().zip(gradients(&all)) {
                let gradient = gradient.expect("a gradient of each weight");
                let got = dot(&gradient, &noise(gradient.dims(), 4));
                close(got, *sum, 1e-9, &format!("{:?}", config.architecture));
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_network() {
    let config = &configs(2)[3];
    let all = |seed| -> Vec<f64> {
        let parameters = network(config, seed).parameters();
        parameters
            .iter()
            .flat_map(|(_, v)| values(v.as_tensor()))
            .collect()
    };
    assert_eq!(all(5), all(5));
    assert_ne!(all(5), all(6));
    assert_eq!(all(5).len(), network(config, 5).parameters().count());
}

/// Weights keep the size of activations: features of a random network are neither lost nor blown up.
#[test]
fn random_features_have_about_unit_variance() {
    let grid = Grid::axis_aligned(&[40, 36], &[1.0, 1.0]).unwrap();
    for config in [
        NetworkConfig::unet(2, 1),
        NetworkConfig::encoder_unet(2, 1),
        NetworkConfig::large_kernel_unet(2, 1, 8),
    ] {
        let network = network(&config, 1);
        let levels = network
            .fixed_pyramid(&images(1, 1, &grid, 1), &grid)
            .unwrap();
        for level in levels {
            let v = values(&level.features);
            let square = v.iter().map(|v| v * v).sum::<f64>() / v.len() as f64;
            assert!(
                (0.1..10.0).contains(&square),
                "{:?} {square}",
                config.architecture
            );
        }
    }
}

#[test]
fn images_of_a_batch_do_not_see_each_other() {
    let grid = Grid::axis_aligned(&[13, 9], &[1.0, 1.0]).unwrap();
    let network = network(&configs(2)[0], 1);
    let (a, b) = (images(1, 2, &grid, 1), images(1, 2, &grid, 2));
    let both = Tensor::cat(&[&a, &b], 0).unwrap();
    let together = network.fixed_pyramid(&both, &grid).unwrap();
    for (k, alone) in [a, b].iter().enumerate() {
        let alone = network.fixed_pyramid(alone, &grid).unwrap();
        for (one, all) in alone.iter().zip(&together) {
            let (one, all) = (one.item(0).unwrap(), all.item(k).unwrap());
            assert_eq!(
                distance(&values(&one.features), &values(&all.features)),
                0.0
            );
        }
    }
}

/// Each channel, and its square.
#[derive(Debug)]
struct Squares;

fn squares(images: &Tensor) -> Result<Tensor> {
    Ok(Tensor::cat(&[images, &images.sqr()?], 1)?)
}

impl BaseFeatures for Squares {
    fn name(&self) -> String {
        "squares".into()
    }
    fn channels(&self, inputs: usize, _: usize) -> usize {
        2 * inputs
    }
    fn features(&self, images: &Tensor, _: &Grid, levels: LevelGrids) -> Result<Vec<Tensor>> {
        levels.resized(&squares(images)?)
    }
}

#[test]
fn on_a_base_the_network_starts_at_the_base() {
    let grid = Grid::axis_aligned(&[15, 18], &[1.0, 1.0]).unwrap();
    let config = NetworkConfig {
        outputs: 4,
        base: Some("squares".into()),
        ..configs(2)[0].clone()
    };
    let network = Unet::new(&config, Some(Arc::new(Squares)), 1, DType::F64).unwrap();
    let hand_made = HandMade::new(Arc::new(Squares), 2, 2, &[4, 2, 1]).unwrap();
    let x = images(2, 2, &grid, 1);
    let levels = network.fixed_pyramid(&x, &grid).unwrap();
    let expected = hand_made.fixed_pyramid(&x, &grid).unwrap();
    let base = squares(&x).unwrap();
    assert_eq!(hand_made.channels(), 4);
    for (level, same) in levels.iter().zip(&expected) {
        assert_eq!(
            distance(&values(&level.features), &values(&same.features)),
            0.0
        );
        let resized = resize(&base, level.grid.size()).unwrap();
        assert_eq!(distance(&values(&level.features), &values(&resized)), 0.0);
    }
    // the heads learn from the first step, what is below them from the second
    let gradients = loss(&network, &x, &grid).backward().unwrap();
    let size = |name: &str| {
        let var = network.parameters().get(name).unwrap().clone();
        let gradient = gradients.get(var.as_tensor()).unwrap();
        dot(gradient, gradient)
    };
    assert!(size("head1.weight") > 0.0 && size("head4.bias") > 0.0);
    assert_eq!(size("encoder0.0.weight"), 0.0);
}

#[test]
fn beside_a_base_the_network_has_its_share() {
    let grid = Grid::axis_aligned(&[15, 18], &[1.0, 1.0]).unwrap();
    let x = images(1, 2, &grid, 1);
    let config = NetworkConfig {
        outputs: 4,
        base: Some("squares".into()),
        share: 0.25,
        ..configs(2)[0].clone()
    };
    let network = Unet::new(&config, Some(Arc::new(Squares)), 1, DType::F64).unwrap();
    let base = network.fixed_pyramid(&x, &grid).unwrap();
    // heads of ones: what is added is the share of their hyperbolic tangent
    for (name, var) in network.parameters().iter() {
        if name.starts_with("head") && name.ends_with(".bias") {
            var.set(&var.ones_like().unwrap()).unwrap();
        }
    }
    let levels = network.fixed_pyramid(&x, &grid).unwrap();
    for (level, base) in levels.iter().zip(&base) {
        let added = (&level.features - &base.features).unwrap();
        for v in values(&added) {
            assert!((v - 0.25 * 1f64.tanh()).abs() < 1e-9, "{v}");
        }
    }
}

#[test]
fn intensities_are_a_network_without_weights() {
    let grid = Grid::axis_aligned(&[15, 18, 9], &[1.0, 1.0, 1.0]).unwrap();
    let network = HandMade::new(Arc::new(Intensities), 3, 1, &[2, 1]).unwrap();
    let x = images(1, 1, &grid, 1);
    let levels = network.fixed_pyramid(&x, &grid).unwrap();
    assert_eq!(distance(&values(&levels[1].features), &values(&x)), 0.0);
    assert_eq!(network.parameters().count(), 0);
    assert!(HandMade::new(Arc::new(Intensities), 3, 1, &[1, 2]).is_err());
}

/// Both lie in one place of the world, one with its first axis turned round.
#[test]
fn descriptors_do_not_depend_on_the_orientation_of_the_grid() {
    for (size, spacing) in [
        (&[15, 18][..], &[1.0, 1.3][..]),
        (&[14, 10, 6], &[1.0, 1.0, 4.0]),
    ] {
        let grid = Grid::axis_aligned(size, spacing).unwrap();
        let mut direction = grid.direction();
        direction[0][0] = -1.0;
        let mut origin = grid.origin();
        origin[0] += (size[0] - 1) as f64 * spacing[0];
        let turned = Grid::new(size, spacing, origin, direction).unwrap();
        let x = images(2, 1, &grid, 1);
        let last = x.rank() - 1;
        let rank = size.len();
        let network = HandMade::new(Arc::new(Mind), rank, 1, &[1]).unwrap();
        assert_eq!(network.channels(), if rank == 2 { 4 } else { 12 });
        let maps = network.fixed_pyramid(&x, &grid).unwrap().remove(0);
        let flip = |x: &Tensor| x.flip(&[last]).unwrap();
        let others = network.fixed_pyramid(&flip(&x), &turned).unwrap().remove(0);
        assert_eq!(maps.features.dims()[1], network.channels());
        let gap = distance(&values(&maps.features), &values(&flip(&others.features)));
        assert!(gap < 1e-9, "{gap}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let grid = Grid::axis_aligned(&[15, 18], &[1.0, 1.0]).unwrap();
    let network = network(&configs(2)[0], 1);
    let message = |x: &Tensor, grid: &Grid| network.fixed_pyramid(x, grid).unwrap_err().to_string();
    let x = images(1, 2, &grid, 1);
    assert!(message(&images(1, 3, &grid, 1), &grid).contains("images of a feature network"));
    assert!(message(&x, &Grid::axis_aligned(&[15, 17], &[1.0, 1.0]).unwrap()).contains("images"));
    assert!(message(&x, &Grid::axis_aligned(&[3, 3, 3], &[1.0; 3]).unwrap()).contains("axes"));
    assert!(message(&x.to_dtype(DType::F32).unwrap(), &grid).contains("F32"));
    let targets = |sizes: &[[usize; 2]]| -> Vec<Grid> {
        sizes
            .iter()
            .map(|s| Grid::axis_aligned(s, &[1.0, 1.0]).unwrap())
            .collect()
    };
    let message = |targets: &[Grid]| network.maps(&x, &grid, targets).unwrap_err().to_string();
    assert!(message(&targets(&[[15, 18]])).contains("targets"));
    assert!(message(&targets(&[[4, 5], [8, 9], [15, 18]])).contains("field of view"));
}

#[test]
fn configurations_that_contradict_themselves_are_refused() {
    let good = NetworkConfig::unet(2, 1);
    let message = |config: NetworkConfig| {
        Unet::new(&config, None, 1, DType::F32)
            .unwrap_err()
            .to_string()
    };
    let with = |change: &dyn Fn(&mut NetworkConfig)| {
        let mut config = good.clone();
        change(&mut config);
        message(config)
    };
    assert!(with(&|c| c.rank = 4).contains("rank"));
    assert!(with(&|c| c.inputs = 0).contains("inputs"));
    assert!(with(&|c| c.widths.clear()).contains("widths"));
    assert!(with(&|c| c.shrinks = vec![16, 1]).contains("shrinks"));
    assert!(with(&|c| c.shrinks = vec![1, 2]).contains("shrinks"));
    let encoder = NetworkConfig {
        widths: vec![4; 4],
        ..NetworkConfig::encoder_unet(2, 1)
    };
    assert!(message(encoder).contains("ends at its coarsest level"));
    assert!(with(&|c| c.shrinks = vec![3]).contains("shrinks"));
    assert!(with(&|c| c.normalisation = Normalisation::Group(5)).contains("groups"));
    assert!(with(&|c| c.slope = -0.1).contains("slope"));
    assert!(with(&|c| c.share = 0.0).contains("share"));
    assert!(with(&|c| c.share = 0.1).contains("no effect without a base"));
    assert!(with(&|c| c.base = Some("squares".into())).contains("'squares'"));
    let config = NetworkConfig {
        base: Some("squares".into()),
        ..good
    };
    let error = Unet::new(&config, Some(Arc::new(Squares)), 1, DType::F32).unwrap_err();
    assert!(error.to_string().contains("outputs"));
}
