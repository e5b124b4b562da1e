//! Features that learn through the solver, on the smallest problem that shows it: two squares.
//!
//! Fixed and moving image each hold one square, of another size at another place; in half of the pairs the squares do not
//! overlap, so that intensities have no slope that leads from one to the other. A small U-Net, which sees where each voxel lies
//! beside its intensity, learns feature maps on which the very same solver finds the way, free-form or with one affine map (the
//! toy of Jena et al., arXiv:2406.07361). Prints the Dice on pairs it has never seen, for intensities and for the learned
//! features; the 1500 steps take some six minutes on two cores.
//!
//! `cargo run --release --example train_toy [STEPS] [SIZE]`

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use std::sync::Arc;
use stillpoint::{
    coloured_to_png, smooth, ColouredMap, ColouredRow, Displacement, Error, FeatureLevel,
    FeatureNetwork, GlobalAffine, Grid, LayerInput, LayerLevel, LayerOutput, NetworkConfig,
    RegistrationLayer, Result, Rng, Unet,
};

/// Pairs of one step.
const BATCH: usize = 4;

/// The learning rate at the start; it falls to zero as the square of the steps that are left.
const RATE: f64 = 1e-3;

/// The largest norm of a gradient; longer ones are shortened to it.
const LONGEST: f64 = 1.0;

/// Of so many steps all but one go through the affine solver, which is harder to lead.
const TURN: usize = 4;

/// Unseen pairs.
const TEST: usize = 64;

/// Pairs of squares: images `[batch, 1, size, size]`, where the moving one lies from every place of the fixed one, `[batch, 2,
/// size, size]`, and which pairs overlap.
struct Squares {
    fixed: Tensor,
    moving: Tensor,
    way: Tensor,
    overlap: Vec<bool>,
}

/// A square, by its lower corner and its side.
#[derive(Clone, Copy)]
struct Square {
    corner: [usize; 2],
    side: usize,
}

impl Square {
    fn random(rng: &mut Rng, size: usize) -> Self {
        let side = size / 6 + (rng.uniform() * (size / 8) as f64) as usize;
        let mut place = || 2 + (rng.uniform() * (size - side - 4) as f64) as usize;
        Self {
            corner: [place(), place()],
            side,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        (0..2).all(|a| {
            self.corner[a] < other.corner[a] + other.side
                && other.corner[a] < self.corner[a] + self.side
        })
    }

    fn draw(&self, size: usize) -> Vec<f32> {
        let inside = |v: usize, a: usize| v >= self.corner[a] && v < self.corner[a] + self.side;
        (0..size * size)
            .map(|v| f32::from(u8::from(inside(v % size, 0) && inside(v / size, 1))))
            .collect()
    }

    /// The displacement along an axis that carries this square to the other.
    fn way(&self, other: &Self, axis: usize, size: usize) -> Vec<f32> {
        let middle = |s: &Self| s.corner[axis] as f64 + 0.5 * (s.side as f64 - 1.0);
        let (from, to) = (middle(self), middle(other));
        let scale = other.side as f64 / self.side as f64;
        (0..size * size)
            .map(|v| {
                let x = [v % size, v / size][axis] as f64;
                (to + scale * (x - from) - x) as f32
            })
            .collect()
    }
}

impl Squares {
    /// Every second pair overlaps.
    fn new(rng: &mut Rng, size: usize, count: usize) -> Result<Self> {
        let (mut fixed, mut moving, mut way) = (Vec::new(), Vec::new(), Vec::new());
        let mut overlap = Vec::new();
        while overlap.len() < count {
            let (f, m) = (Square::random(rng, size), Square::random(rng, size));
            if f.overlaps(&m) == (overlap.len() % 2 == 0) {
                fixed.extend(f.draw(size));
                moving.extend(m.draw(size));
                way.extend((0..2).flat_map(|axis| f.way(&m, axis, size)));
                overlap.push(f.overlaps(&m));
            }
        }
        let shape = (count, 1, size, size);
        Ok(Self {
            fixed: Tensor::from_vec(fixed, shape, &Device::Cpu)?,
            moving: Tensor::from_vec(moving, shape, &Device::Cpu)?,
            way: Tensor::from_vec(way, (count, 2, size, size), &Device::Cpu)?,
            overlap,
        })
    }
}

/// What the network makes of images, of which it sees the places of their voxels too, from -1 to 1.
fn pyramid(network: &Unet, images: &Tensor, grid: &Grid) -> Result<Vec<FeatureLevel>> {
    let (count, size) = (images.dim(0)?, grid.size()[0]);
    let axis = Tensor::arange(0f32, size as f32, &Device::Cpu)?;
    let axis = axis.affine(2.0 / size as f64, -1.0)?;
    let along = |shape: (usize, usize, usize, usize)| -> Result<Tensor> {
        let places = axis.reshape(shape)?;
        Ok(places.broadcast_as((count, 1, size, size))?.contiguous()?)
    };
    let (x, y) = (along((1, 1, 1, size))?, along((1, 1, size, 1))?);
    network.fixed_pyramid(&Tensor::cat(&[images, &x, &y], 1)?, grid)
}

/// How far the displacements miss the way, a mean over the fixed squares: squared up to about a voxel, then linear.
fn miss(level: &LayerLevel, squares: &Squares, grid: &Grid) -> Result<Tensor> {
    let gap = (level.displacement_on(grid)? - &squares.way)?;
    let gap = ((gap.sqr()?.sum_keepdim(1)? + 1.0)?.sqrt()? - 1.0)?;
    let inside = &squares.fixed;
    Ok(((gap * inside)?.sum_all()? / inside.sum_all()?)?)
}

/// Shortens gradients to the longest norm they may have; whether they are finite.
fn shorten(gradients: &mut GradStore, network: &Unet) -> Result<bool> {
    let variables = network.parameters().variables();
    let mut square = 0.0;
    for gradient in variables.iter().filter_map(|v| gradients.get(v)) {
        square += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    let factor = (LONGEST / square.sqrt()).min(1.0);
    for variable in &variables {
        if let Some(gradient) = gradients.remove(variable) {
            gradients.insert(variable, (gradient * factor)?);
        }
    }
    Ok(square.is_finite())
}

/// Soft Dice of each pair, `[batch]`.
fn dice(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let sum = |t: &Tensor| t.flatten_from(1)?.sum(1);
    let both = (sum(&(a * b)?)? * 2.0)?;
    Ok((both / ((sum(a)? + sum(b)?)? + 1e-6)?)?)
}

/// Dice of the warped square, cut at a half, with the fixed one.
fn hard_dice(out: &LayerOutput, squares: &Squares, grid: &Grid) -> Result<Vec<f32>> {
    let warped = out.finest().warp(&squares.moving, grid, grid)?;
    let cut = warped.ge(0.5)?.to_dtype(DType::F32)?;
    Ok(dice(&cut, &squares.fixed)?.to_vec1()?)
}

/// Images as their own features, on the levels of a network.
fn intensities(images: &Tensor, grid: &Grid, shrinks: &[usize]) -> Result<Vec<FeatureLevel>> {
    let level = |&shrink: &usize| {
        let grid = stillpoint::level_grid(grid, shrink)?;
        Ok(FeatureLevel {
            shrink,
            features: stillpoint::resize(images, grid.size())?,
            grid,
        })
    };
    shrinks.iter().map(level).collect()
}

/// The fixed square in green and a moving one in magenta: white where both are.
fn overlaid(
    name: &str,
    moving: &Tensor,
    squares: &Squares,
    pair: usize,
    grid: &Grid,
) -> Result<ColouredMap> {
    let values =
        |images: &Tensor| -> Result<Vec<f32>> { Ok(images.get(pair)?.flatten_all()?.to_vec1()?) };
    let (green, magenta) = (values(&squares.fixed)?, values(moving)?);
    Ok(ColouredMap {
        name: name.into(),
        grid: grid.clone(),
        colours: [magenta.clone(), green, magenta],
    })
}

fn summary(name: &str, dice: &[f32], overlap: &[bool]) {
    let mean = |wanted: bool| {
        let of: Vec<f64> = dice
            .iter()
            .zip(overlap)
            .filter(|(_, o)| **o == wanted)
            .map(|(d, _)| f64::from(*d))
            .collect();
        stillpoint::mean(&of)
    };
    let all = 0.5 * (mean(true) + mean(false));
    println!(
        "{name:<24} Dice {all:.4}  overlapping {:.4}, apart {:.4}",
        mean(true),
        mean(false)
    );
}

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map_while(|word| word.parse().ok());
    let steps: usize = numbers.next().unwrap_or(1500);
    let size: usize = numbers.next().unwrap_or(48);
    let straight = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let grid = Grid::new(&[size, size], &[1.0, 1.0], [0.0; 3], straight)?;
    let config = NetworkConfig {
        widths: vec![16, 16, 32, 32, 32, 32],
        shrinks: vec![16, 8, 4, 2, 1],
        outputs: 8,
        ..NetworkConfig::unet(2, 3)
    };
    let network = Unet::new(&config, None, 1, DType::F32)?;
    let mut layer = RegistrationLayer::default();
    layer.deformation.transform = Arc::new(Displacement);
    // squares move far
    layer.deformation.lambda = 0.05;
    println!(
        "{} weights, {steps} steps of {BATCH} pairs",
        network.parameters().count()
    );

    let mut rng = Rng::new(7);
    let unseen = Squares::new(&mut Rng::new(1_000_003), size, TEST)?;
    let shrinks = network.shrinks().to_vec();
    let mut affine = layer.clone();
    affine.deformation.transform = Arc::new(GlobalAffine);
    // an affine map is smooth by itself
    affine.deformation.lambda = 0.005;
    let solvers = [("free-form", &layer), ("affine", &affine)];
    let plain = [
        intensities(&unseen.fixed, &grid, &shrinks)?,
        intensities(&unseen.moving, &grid, &shrinks)?,
    ];
    for (name, layer) in solvers {
        let out = layer.forward(&LayerInput::new(&plain[0], &plain[1]))?;
        let found = hard_dice(&out, &unseen, &grid)?;
        summary(&format!("intensities, {name}"), &found, &unseen.overlap);
    }

    let mut optimiser = AdamW::new(
        network.parameters().variables(),
        ParamsAdamW {
            lr: RATE,
            ..ParamsAdamW::default()
        },
    )?;
    let solve = |network: &Unet, layer: &RegistrationLayer| -> Result<LayerOutput> {
        let fixed = pyramid(network, &unseen.fixed, &grid)?;
        let moving = pyramid(network, &unseen.moving, &grid)?;
        layer.forward(&LayerInput::new(&fixed, &moving))
    };
    for step in 1..=steps {
        let pairs = Squares::new(&mut rng, size, BATCH)?;
        let left = 1.0 - (step - 1) as f64 / steps as f64;
        optimiser.set_learning_rate(RATE * left * left);
        let fixed = pyramid(&network, &pairs.fixed, &grid)?;
        let moving = pyramid(&network, &pairs.moving, &grid)?;
        // both solvers: the features have to lead either one
        let solver = solvers[usize::from(step % TURN != TURN - 1)].1;
        let out = solver.forward(&LayerInput::new(&fixed, &moving))?;
        let mut loss: Option<Tensor> = None;
        for (level, &shrink) in out.levels.iter().zip(&shrinks) {
            // blurred as far as the level can see, so that squares apart feel each other
            let sigma = [0.75 * shrink as f64; 2];
            let (moving, fixed) = (
                smooth(&pairs.moving, &sigma)?,
                smooth(&pairs.fixed, &sigma)?,
            );
            let warped = level.warp(&moving, &grid, &grid)?;
            let overlap = dice(&warped, &fixed)?.mean_all()?;
            let rest = (&warped - &fixed)?.sqr()?.mean_all()?;
            let miss = miss(level, &pairs, &grid)?;
            let term = (((1.0 - overlap)? + (rest * 4.0)?)? + (miss * 0.125)?)?;
            loss = Some(match loss {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        let Some(loss) = loss else { break };
        let mut gradients = loss.backward()?;
        if shorten(&mut gradients, &network)? {
            optimiser.step(&gradients)?;
        }
        if step % 50 == 0 || step == steps {
            let of = loss.to_scalar::<f32>()? / out.levels.len() as f32;
            println!("step {step:>4}, loss {of:.4}");
            for (name, layer) in solvers {
                let found = hard_dice(&solve(&network, layer)?, &unseen, &grid)?;
                summary(&format!("learned, {name}"), &found, &unseen.overlap);
            }
        }
    }
    let mut moved = vec![("fixed, moving".to_owned(), unseen.moving.clone())];
    for (name, layer) in solvers {
        let out = layer.forward(&LayerInput::new(&plain[0], &plain[1]))?;
        let warped = out.finest().warp(&unseen.moving, &grid, &grid)?;
        moved.push((format!("intensities, {name}"), warped));
    }
    for (name, layer) in solvers {
        let warped = solve(&network, layer)?
            .finest()
            .warp(&unseen.moving, &grid, &grid)?;
        moved.push((format!("learned, {name}"), warped));
    }
    let mut rows = Vec::new();
    for pair in 0..4 {
        let maps = moved
            .iter()
            .map(|(name, moving)| overlaid(name, moving, &unseen, pair, &grid))
            .collect::<Result<_>>()?;
        rows.push(ColouredRow {
            title: format!("Unseen pair {}", pair + 1),
            maps,
        });
    }
    let path = std::path::Path::new("out/train_toy.png");
    let picture = coloured_to_png(&rows)?;
    std::fs::create_dir_all("out")
        .and_then(|()| std::fs::write(path, picture))
        .map_err(|e| Error::io(path, "write", e))?;
    println!(
        "picture (fixed green, warped magenta, both white): {}",
        path.display()
    );
    Ok(())
}
