//! An energy of one's own, with a part that learns: where tissue slides, a regulariser has to let go.
//!
//! Two tissues slide along a dark gap, and one of them holds an organ that moves with it. A few landmarks are known;
//! the displacement between them is what minimises
//! `1/2 sum_k |u(x_k) - d_k|^2 + 1/2 sum_e w_e |difference of u along edge e|^2`. With one `w` for all edges the two sides
//! drag each other along. Here a small network reads `w` off the image, and is trained by the error of the *minimum*: the
//! gradient passes it by the implicit function theorem. It learns to cut at the gap and not at the organ's outline.
//! (Regularisers that vary in space are learned through a registration in Niethammer, Kwitt and Vialard 2019, arXiv:1904.09524.)
//!
//! It takes the energy and its gradient in the tensor engine's operations; products with the Hessian, the solver and the
//! adjoint are the crate's. The example checks its gradient against finite differences, trains for half a minute, compares
//! with the best constant `w` on cases it has not seen, and draws them to `out/custom_energy.png`.
//!
//! `cargo run --release --example custom_energy [STEPS]`

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var, D};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use stillpoint::{
    attach_residual, coloured_to_png, convolve, Adjoint, AutodiffProblem, ColouredMap, ColouredRow,
    Energy, Error, Grid, Residual, Result, Rng, Solver, TrustRegion,
};

/// Voxels along both axes.
const SIZE: usize = 32;
/// Landmarks of a case: one voxel in forty.
const LANDMARKS: usize = 26;
/// Cases of one step, and unseen ones.
const BATCH: usize = 2;
const TEST: usize = 20;

/// The difference to the next voxel along the last axis but `back`, and its adjoint.
fn difference(u: &Tensor, back: usize) -> Result<Tensor> {
    let dim = u.rank() - 1 - back;
    let n = u.dims()[dim] - 1;
    Ok((u.narrow(dim, 1, n)? - u.narrow(dim, 0, n)?)?)
}

fn difference_adjoint(f: &Tensor, back: usize) -> Result<Tensor> {
    let dim = f.rank() - 1 - back;
    Ok((f.pad_with_zeros(dim, 1, 0)? - f.pad_with_zeros(dim, 0, 1)?)?)
}

/// The energy. Data: weights of the edges `[2, ny, nx]` (that of voxel `x` along axis `a` belongs to the edge between `x` and
/// the next voxel), where landmarks are `[1, ny, nx]`, and their displacements `[2, ny, nx]`.
struct Sliding;

impl Sliding {
    /// The weights of the edges along an axis, `[1, ...]`.
    fn weights(data: &Tensor, axis: usize) -> Result<Tensor> {
        let of_axis = data.narrow(0, axis, 1)?;
        let dim = 2 - axis;
        Ok(of_axis.narrow(dim, 0, SIZE - 1)?)
    }
}

impl Residual for Sliding {
    fn residual(&self, u: &Tensor, data: &[Tensor]) -> Result<Tensor> {
        let mut g = (u - &data[2])?.broadcast_mul(&data[1])?;
        for axis in 0..2 {
            let flow = difference(u, axis)?.broadcast_mul(&Self::weights(&data[0], axis)?)?;
            g = (g + difference_adjoint(&flow, axis)?)?;
        }
        Ok(g)
    }

    fn is_symmetric(&self) -> bool {
        true
    }
}

impl Energy for Sliding {
    fn energy(&self, u: &Tensor, data: &[Tensor]) -> Result<Tensor> {
        let mut sum = (u - &data[2])?.sqr()?.broadcast_mul(&data[1])?.sum_all()?;
        for axis in 0..2 {
            let rough = difference(u, axis)?.sqr()?;
            let weighted = rough.broadcast_mul(&Self::weights(&data[0], axis)?)?;
            sum = (sum + weighted.sum_all()?)?;
        }
        Ok((sum * 0.5)?)
    }
}

/// An image, its motion, and where the motion is known.
struct Case {
    /// `[1, 1, ny, nx]`.
    image: Tensor,
    /// `[2, ny, nx]`, voxels.
    truth: Tensor,
    /// `[1, ny, nx]`: 1 where there is a landmark.
    known: Tensor,
}

impl Case {
    fn random(rng: &mut Rng) -> Result<Self> {
        let n = SIZE as f64;
        // the gap: a line that is bent and tilted
        let (middle, bend, phase) = (
            rng.range(0.35, 0.65) * n,
            rng.range(-2.0, 2.0),
            rng.range(0.0, 6.3),
        );
        let tilt = rng.range(-0.2, 0.2);
        let gap = |y: f64| middle + tilt * (y - n / 2.0) + bend * (y / n * 4.0 + phase).sin();
        let organ_side = if rng.uniform() < 0.5 { -1.0 } else { 1.0 };
        let organ = [
            gap(n / 2.0) + organ_side * 0.25 * n,
            rng.range(0.3, 0.7) * n,
        ];
        let radius = rng.range(3.0, 5.0);
        let shades = [0; 3].map(|_| rng.range(0.4, 1.0));
        // both sides slide along the gap, and all is stretched a little
        let slide = [rng.range(-3.0, 3.0), rng.range(-3.0, 3.0)];
        let stretch = [0; 4].map(|_| rng.range(-0.05, 0.05));
        let (mut image, mut truth) = (Vec::new(), [Vec::new(), Vec::new()]);
        for v in 0..SIZE * SIZE {
            let (x, y) = ((v % SIZE) as f64, (v / SIZE) as f64);
            let side = usize::from(x > gap(y));
            let inside = (x - organ[0]).hypot(y - organ[1]) < radius;
            let dark = (x - gap(y)).abs() < 0.8;
            let shade = match (dark, inside) {
                (true, _) => 0.1,
                (false, true) => shades[2],
                (false, false) => shades[side],
            };
            image.push(shade + 0.03 * rng.normal());
            let along = tilt + bend * 4.0 / n * (y / n * 4.0 + phase).cos();
            let (dx, dy) = (x - n / 2.0, y - n / 2.0);
            truth[0].push(slide[side] * along + stretch[0] * dx + stretch[1] * dy);
            truth[1].push(slide[side] + stretch[2] * dx + stretch[3] * dy);
        }
        let mut known = vec![0.0; SIZE * SIZE];
        for _ in 0..LANDMARKS {
            known[rng.below(SIZE * SIZE)] = 1.0;
        }
        let tensor = |values: Vec<f64>, shape: &[usize]| {
            Tensor::from_vec(values, shape, &Device::Cpu).map_err(Error::from)
        };
        Ok(Self {
            image: tensor(image, &[1, 1, SIZE, SIZE])?,
            truth: tensor(truth.concat(), &[2, SIZE, SIZE])?,
            known: tensor(known, &[1, SIZE, SIZE])?,
        })
    }

    fn data(&self, weights: &Tensor) -> Result<Vec<Tensor>> {
        let targets = self.truth.broadcast_mul(&self.known)?;
        Ok(vec![weights.clone(), self.known.clone(), targets])
    }

    /// The displacement that minimises the energy, with the derivative of the minimum.
    fn displacement(&self, weights: &Tensor) -> Result<Tensor> {
        let energy = Arc::new(Sliding);
        let data = self.data(weights)?;
        let solver = TrustRegion {
            gradient: 1e-9,
            products: 2000,
            tolerance: 1e-3,
            probe: 0,
            ..TrustRegion::default()
        };
        let problem = AutodiffProblem::new(energy.clone(), &data);
        let start = self.truth.zeros_like()?;
        let found = solver.solve(&problem, start, &mut |_| Ok(()))?;
        Ok(attach_residual(energy, &found.theta, &data, Adjoint::exact())?.0)
    }

    /// Mean squared error of all voxels, voxels squared.
    fn loss(&self, weights: &Tensor) -> Result<Tensor> {
        let rest = (self.displacement(weights)? - &self.truth)?;
        Ok((rest.sqr()?.sum_all()? / (SIZE * SIZE) as f64)?)
    }
}

/// Two convolutions from the image to the logarithm of the weights.
struct Stiffness {
    layers: [(Var, Var); 2],
}

impl Stiffness {
    fn new(rng: &mut Rng) -> Result<Self> {
        let mut layer = |outputs: usize, inputs: usize, scale: f64| -> Result<(Var, Var)> {
            let shape = [outputs, inputs, 3, 3];
            let values: Vec<f64> = (0..outputs * inputs * 9)
                .map(|_| scale * rng.normal())
                .collect();
            let weight = Tensor::from_vec(values, &shape, &Device::Cpu)?;
            let bias = Tensor::zeros(outputs, DType::F64, &Device::Cpu)?;
            Ok((Var::from_tensor(&weight)?, Var::from_tensor(&bias)?))
        };
        Ok(Self {
            layers: [layer(12, 1, 0.5)?, layer(2, 12, 0.02)?],
        })
    }

    fn variables(&self) -> Vec<Var> {
        let pairs = self.layers.iter();
        pairs.flat_map(|(w, b)| [w.clone(), b.clone()]).collect()
    }

    /// Between `exp(-8)` and `exp(8)`, `[2, ny, nx]`.
    fn weights(&self, image: &Tensor) -> Result<Tensor> {
        let [(first, shift), (second, level)] = &self.layers;
        // the border is no edge
        let image = image
            .pad_with_same(D::Minus1, 1, 1)?
            .pad_with_same(D::Minus2, 1, 1)?;
        let inner = convolve(&image, first, Some(shift), &[1, 1])?;
        let inner = (inner.relu()? + (inner * 0.1)?)?;
        let out = convolve(&inner, second, Some(level), &[1, 1])?;
        let out = out.narrow(2, 1, SIZE)?.narrow(3, 1, SIZE)?.get(0)?;
        Ok(((out * 0.125)?.tanh()? * 8.0)?.exp()?.contiguous()?)
    }
}

fn constant(weight: f64) -> Result<Tensor> {
    Ok(Tensor::full(weight, (2, SIZE, SIZE), &Device::Cpu)?)
}

fn number(t: &Tensor) -> Result<f64> {
    Ok(t.to_scalar::<f64>()?)
}

/// Root of the mean squared error over cases, voxels.
fn error(cases: &[Case], weights: &dyn Fn(&Case) -> Result<Tensor>) -> Result<f64> {
    let mut sum = 0.0;
    for case in cases {
        sum += number(&case.loss(&weights(case)?)?)?;
    }
    Ok((sum / cases.len() as f64).sqrt())
}

/// The derivative of the loss with respect to the network's last bias, against differences of minima found again.
fn check(case: &Case, network: &Stiffness) -> Result<()> {
    let loss = || case.loss(&network.weights(&case.image)?);
    let bias = &network.layers[1].1;
    let store = loss()?.backward()?;
    let gradient = store
        .get(bias)
        .map_or(Ok(vec![0.0; 2]), |g| g.to_vec1::<f64>())?;
    let here = bias.as_tensor().copy()?;
    let step = 1e-4;
    let at = |t: f64| -> Result<f64> {
        bias.set(&(&here + t)?)?;
        number(&loss()?)
    };
    let slope = (at(step)? - at(-step)?) / (2.0 * step);
    bias.set(&here)?;
    let exact: f64 = gradient.iter().sum();
    println!(
        "gradient of the error: {exact:.9} by the adjoint, {slope:.9} by finite differences, relative gap {:.1e}",
        ((exact - slope) / slope).abs()
    );
    Ok(())
}

fn draw(cases: &[Case], network: &Stiffness, best: f64) -> Result<Vec<u8>> {
    let grid = Grid::axis_aligned(&[SIZE, SIZE], &[1.0, 1.0])?;
    let grey = |name: &str, values: &Tensor, low: f64, high: f64| -> Result<ColouredMap> {
        let values = values.flatten_all()?.to_vec1::<f64>()?;
        let shades: Vec<f32> = values
            .iter()
            .map(|v| ((v - low) / (high - low)).clamp(0.0, 1.0) as f32)
            .collect();
        Ok(ColouredMap {
            name: name.into(),
            grid: grid.clone(),
            colours: [shades.clone(), shades.clone(), shades],
        })
    };
    let mut rows = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let weights = network.weights(&case.image)?;
        let logarithm = weights.log()?;
        let along_y = |u: &Tensor| u.get(1);
        let (learned, plain) = (
            case.displacement(&weights)?,
            case.displacement(&constant(best)?)?,
        );
        let moved = |name: &str, u: &Tensor| grey(name, &along_y(u)?, -4.0, 4.0);
        rows.push(ColouredRow {
            title: format!("Unseen case {}", number + 1),
            maps: vec![
                grey("image", &case.image, 0.0, 1.0)?,
                grey("landmarks", &case.known, 0.0, 1.0)?,
                grey("log w along x", &logarithm.get(0)?, -8.0, 8.0)?,
                moved("true motion, y", &case.truth)?,
                moved("one w", &plain)?,
                moved("learned w", &learned)?,
            ],
        });
    }
    coloured_to_png(&rows)
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let steps: usize = words.next().and_then(|w| w.parse().ok()).unwrap_or(100);
    let mut rng = Rng::new(5);
    let network = Stiffness::new(&mut Rng::new(1))?;
    let cases = |rng: &mut Rng, count: usize| -> Result<Vec<Case>> {
        (0..count).map(|_| Case::random(rng)).collect()
    };
    let unseen = cases(&mut Rng::new(1_000_003), TEST)?;

    check(&unseen[0], &network)?;

    // what a constant can do, chosen on cases of its own
    let tuning = cases(&mut Rng::new(77), TEST)?;
    let mut best = (f64::INFINITY, 1.0);
    for k in -10..=2 {
        let weight = 10f64.powf(0.5 * f64::from(k));
        let found = error(&tuning, &|_| constant(weight))?;
        if found < best.0 {
            best = (found, weight);
        }
    }
    let plain = error(&unseen, &|_| constant(best.1))?;
    println!(
        "one w for all edges, {:.1e}: error {plain:.3} voxels",
        best.1
    );

    let parameters = ParamsAdamW {
        lr: 0.02,
        weight_decay: 0.0,
        ..ParamsAdamW::default()
    };
    let mut optimiser = AdamW::new(network.variables(), parameters)?;
    for step in 1..=steps {
        let mut loss: Option<Tensor> = None;
        for case in cases(&mut rng, BATCH)? {
            let term = case.loss(&network.weights(&case.image)?)?;
            loss = Some(match loss {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        if let Some(loss) = loss {
            let left = 1.0 - (step - 1) as f64 / steps as f64;
            optimiser.set_learning_rate(0.02 * left);
            optimiser.backward_step(&loss)?;
        }
        if step % 25 == 0 || step == steps {
            let found = error(&unseen, &|case| network.weights(&case.image))?;
            println!("step {step:>4}: error {found:.3} voxels");
        }
    }
    let path = std::path::Path::new("out/custom_energy.png");
    let write = |bytes: Vec<u8>| {
        std::fs::create_dir_all("out")?;
        std::fs::write(path, bytes)
    };
    write(draw(&unseen[..3], &network, best.1)?).map_err(|e| Error::io(path, "write", e))?;
    println!("picture: {}", path.display());
    Ok(())
}
