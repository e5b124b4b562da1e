//! A learned update run to its equilibrium, and what becomes of it beyond the steps it was trained for.
//!
//! Instead of an energy there is a map: a small network looks at the fixed image and the moving one as it is warped so far,
//! and adds to the force `d` of the demons; a Gaussian smooths what they sum up to, `u <- S(p u + d + f (F - M o u))`. A pull
//! `p` just below one holds what nothing else holds; at first `f` is zero, so that training starts from a method that works
//! (Thirion 1998, doi:10.1016/S1361-8415(98)80022-4). The displacement is where the map comes to rest (deep equilibrium
//! models, Bai, Kolter and Koltun 2019, arXiv:1909.01377; for registration Zhang, Zhao and Tao 2025, arXiv:2507.00582). The
//! same network is trained twice with as many updates of its weights:
//!
//! * *unrolled*: ten steps, all of them in the graph;
//! * *equilibrium*: to rest by Anderson's acceleration, the gradient by the implicit function theorem, GMRES on transposed
//!   products; nothing of the way there is kept.
//!
//! Then both are run on pairs they have not seen, for up to 100 steps. Prints the error after each, and whether the map has
//! come to rest; draws both to `out/deep_equilibrium.png`.
//!
//! `cargo run --release --example deep_equilibrium [STEPS]`

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use stillpoint::{
    attach_residual, charts_to_png, convolve, smooth, warp, Adjoint, Affine, Anderson, Chart,
    Error, Interpolation, Residual, Result, Rng, Series, Unconverged,
};

/// Voxels along both axes.
const SIZE: usize = 40;
/// Pairs of one update of the weights, and unseen ones.
const BATCH: usize = 2;
const TEST: usize = 12;
/// Steps of the unrolled training, and of the longest run.
const UNROLLED: usize = 10;
const LONGEST: usize = 100;
/// Plain steps before those that are extrapolated.
const PLAIN: usize = 30;
/// Width of the Gaussian that keeps displacements smooth, voxels.
const SIGMA: f64 = 1.5;
/// What is left of a displacement where nothing holds it.
const PULL: f64 = 0.97;
/// The map's squared stretch that goes unpunished, and the length of what is stretched, voxels.
const CONTRACTION: f64 = 0.7;
const PROBE: f64 = 0.05;
/// Learning rate at the start; it falls to zero.
const RATE: f64 = 1e-3;

/// Images `[1, ny, nx]` and the displacement `[2, ny, nx]` that carries one onto the other.
struct Case {
    fixed: Tensor,
    moving: Tensor,
    truth: Tensor,
}

impl Case {
    fn random(rng: &mut Rng) -> Result<Self> {
        let mut field = |channels: usize, sigma: f64, size: f32| -> Result<Tensor> {
            let values: Vec<f32> = (0..channels * SIZE * SIZE)
                .map(|_| rng.normal() as f32)
                .collect();
            let noise = Tensor::from_vec(values, (channels, SIZE, SIZE), &Device::Cpu)?;
            let smoothed = smooth(&noise, &[sigma; 2])?;
            let deviation = smoothed.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?;
            Ok((smoothed * f64::from(size / deviation))?)
        };
        let moving = field(1, 2.0, 1.0)?;
        let truth = field(2, 6.0, 1.8)?;
        let mut fixed = moved(&moving, &truth)?;
        fixed = (fixed + field(1, 0.0, 0.05)?)?;
        Ok(Self {
            fixed,
            moving,
            truth,
        })
    }

    /// Mean squared distance of displacements, voxels squared.
    fn loss(&self, u: &Tensor) -> Result<Tensor> {
        let rest = (u - &self.truth)?.sqr()?.sum_all()?;
        Ok((rest / (SIZE * SIZE) as f64)?)
    }

    fn error(&self, u: &Tensor) -> Result<f64> {
        Ok(f64::from(self.loss(u)?.to_scalar::<f32>()?).sqrt())
    }

    /// What a residual is made of: weights of the network, then the images.
    fn data(&self, network: &Update) -> Vec<Tensor> {
        let mut data: Vec<Tensor> = network
            .weights
            .iter()
            .map(|var| var.as_tensor().clone())
            .collect();
        data.extend([self.fixed.clone(), self.moving.clone()]);
        data
    }
}

fn moved(image: &Tensor, u: &Tensor) -> Result<Tensor> {
    warp(image, u, &Affine::identity(), Interpolation::Linear)
}

/// The learned map.
struct Update {
    weights: Vec<Var>,
}

impl Update {
    fn new(rng: &mut Rng) -> Result<Self> {
        let mut weights = Vec::new();
        for (outputs, inputs, scale) in [(16, 3, 0.27), (16, 16, 0.11), (2, 16, 0.0)] {
            let count = outputs * inputs * 9;
            let values: Vec<f32> = (0..count).map(|_| (scale * rng.normal()) as f32).collect();
            let kernel = Tensor::from_vec(values, (outputs, inputs, 3, 3), &Device::Cpu)?;
            weights.push(Var::from_tensor(&kernel)?);
            let bias = Tensor::zeros(outputs, DType::F32, &Device::Cpu)?;
            weights.push(Var::from_tensor(&bias)?);
        }
        Ok(Self { weights })
    }

    /// `S(u + f)`, from the data of a case.
    fn apply(u: &Tensor, data: &[Tensor]) -> Result<Tensor> {
        let (weights, images) = data.split_at(data.len() - 2);
        let (fixed, warped) = (&images[0], moved(&images[1], u)?);
        let difference = (fixed - &warped)?;
        let mut x = Tensor::cat(&[fixed, &warped, &difference], 0)?.unsqueeze(0)?;
        for (layer, pair) in weights.chunks(2).enumerate() {
            if layer > 0 {
                x = ((x.relu()? * 0.9)? + (x * 0.1)?)?;
            }
            x = convolve(&x, &pair[0], Some(&pair[1]), &[1, 1])?;
        }
        // no difference, no force: what fits stays at rest
        let learned = x.get(0)?.broadcast_mul(&difference)?;
        let force = (learned + demons(&warped, &difference)?)?;
        smooth(&((u * PULL)? + force)?, &[SIGMA; 2])
    }
}

/// Up the warped image's slope where it is too dark, down where it is too bright; at most half a voxel.
fn demons(warped: &Tensor, difference: &Tensor) -> Result<Tensor> {
    let slope = |dim: usize| -> Result<Tensor> {
        let (n, wide) = (warped.dims()[dim], warped.pad_with_same(dim, 1, 1)?);
        Ok(((wide.narrow(dim, 2, n)? - wide.narrow(dim, 0, n)?)? * 0.5)?)
    };
    let slope = Tensor::cat(&[slope(2)?, slope(1)?], 0)?;
    let square = (slope.sqr()?.sum_keepdim(0)? + difference.sqr()?)?;
    Ok(slope.broadcast_mul(&(difference / (square + 1e-2)?)?)?)
}

impl Residual for Update {
    fn residual(&self, u: &Tensor, data: &[Tensor]) -> Result<Tensor> {
        Ok((u - Self::apply(u, data)?)?)
    }
}

/// Where the map comes to rest, and whether it did.
fn equilibrium(case: &Case, network: &Update) -> Result<(Tensor, bool)> {
    let still: Vec<Tensor> = case.data(network).iter().map(Tensor::detach).collect();
    let anderson = Anderson {
        steps: LONGEST - PLAIN,
        tolerance: 1e-3,
        memory: 2,
    };
    // far from rest the map is too curved to be extrapolated
    let mut start = case.truth.zeros_like()?;
    for _ in 0..PLAIN {
        start = Update::apply(&start, &still)?;
    }
    let found = anderson.solve(&mut |u| Update::apply(u, &still), &start)?;
    Ok((found.theta, found.converged))
}

/// By how much the map stretches, squared, what it stretches most: three steps of the power method by finite differences,
/// and a fourth in the graph. Below one the map comes to rest by itself (a penalty on the Jacobian keeps deep equilibria
/// stable: Bai, Koltun and Kolter 2021, arXiv:2106.14342).
fn growth(u: &Tensor, data: &[Tensor]) -> Result<Tensor> {
    let still: Vec<Tensor> = data.iter().map(Tensor::detach).collect();
    let here = Update::apply(u, &still)?;
    let mut rng = Rng::new(17);
    let values: Vec<f32> = (0..u.elem_count()).map(|_| rng.normal() as f32).collect();
    let mut probe = smooth(
        &Tensor::from_vec(values, u.dims(), &Device::Cpu)?,
        &[2.0; 2],
    )?;
    for _ in 0..3 {
        let size = probe.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?;
        probe = (probe * (PROBE / f64::from(size)))?;
        probe = (Update::apply(&(u + &probe)?, &still)? - &here)?;
    }
    let stretched = (Update::apply(&(u + &probe)?, data)? - Update::apply(u, data)?)?;
    let before = probe.sqr()?.sum_all()?.detach();
    Ok((stretched.sqr()?.sum_all()? / before)?)
}

/// How a step of the training gets its displacement.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Unrolled,
    Equilibrium,
}

/// Trains; how many of the equilibria were reached.
fn train(way: Way, steps: usize) -> Result<(Update, f64)> {
    let network = Arc::new(Update::new(&mut Rng::new(3))?);
    let mut rng = Rng::new(9);
    let mut optimiser = AdamW::new(network.weights.clone(), ParamsAdamW::default())?;
    let adjoint = Adjoint {
        tolerance: 1e-2,
        products: 40,
        unconverged: Unconverged::Warn,
        ..Adjoint::exact()
    };
    let (mut rested, mut sum, start) = (0, 0.0, Instant::now());
    for step in 1..=steps {
        let mut loss: Option<Tensor> = None;
        for _ in 0..BATCH {
            let case = Case::random(&mut rng)?;
            let data = case.data(&network);
            let mut penalty = Tensor::zeros((), DType::F32, &Device::Cpu)?;
            let u = match way {
                Way::Unrolled => {
                    let mut u = case.truth.zeros_like()?;
                    for _ in 0..UNROLLED {
                        u = Update::apply(&u, &data)?;
                    }
                    u
                }
                Way::Equilibrium => {
                    let (u, converged) = equilibrium(&case, &network)?;
                    let growth = growth(&u, &data)?;
                    penalty = (growth - CONTRACTION)?.relu()?;
                    if converged {
                        rested += 1;
                        attach_residual(network.clone(), &u, &data, adjoint)?.0
                    } else {
                        // no equilibrium, no gradient of it: what is learned here is to have one
                        u
                    }
                }
            };
            let term = ((case.loss(&u)? + penalty)? / BATCH as f64)?;
            loss = Some(match loss {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        let Some(loss) = loss else { continue };
        sum += f64::from(loss.to_scalar::<f32>()?);
        let mut gradients = loss.backward()?;
        clip(&network, &mut gradients)?;
        let left = 1.0 - (step - 1) as f64 / steps as f64;
        optimiser.set_learning_rate(RATE * left);
        optimiser.step(&gradients)?;
        if step % 50 == 0 {
            let seconds = start.elapsed().as_secs();
            println!(
                "  step {step:>4}: training error {:.3} voxels, {seconds} s",
                (sum / 50.0).sqrt()
            );
            sum = 0.0;
        }
    }
    let network = Arc::into_inner(network)
        .ok_or_else(|| Error::argument("network", "is still part of a graph"))?;
    Ok((network, rested as f64 / (steps * BATCH) as f64))
}

/// Shortens the gradient of all weights together to a length of one.
fn clip(network: &Update, gradients: &mut candle_core::backprop::GradStore) -> Result<()> {
    let mut square = 0.0;
    for weight in &network.weights {
        if let Some(gradient) = gradients.get(weight) {
            square += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    let scale = 1.0 / square.sqrt().max(1.0);
    for weight in &network.weights {
        if let Some(gradient) = gradients.remove(weight) {
            gradients.insert(weight, (gradient * scale)?);
        }
    }
    Ok(())
}

/// Error and size of the last step after 0, 1, 2, ... plain steps, means over the cases; errors are those of the root of the
/// mean squared distance.
fn run(network: &Update, cases: &[Case]) -> Result<Vec<[f64; 2]>> {
    let mut course = vec![[0.0; 2]; LONGEST + 1];
    let share = 1.0 / cases.len() as f64;
    for case in cases {
        let data: Vec<Tensor> = case.data(network).iter().map(Tensor::detach).collect();
        let mut u = case.truth.zeros_like()?;
        course[0][0] += share * case.error(&u)?;
        for at in &mut course[1..] {
            let next = Update::apply(&u, &data)?;
            let step = (&next - &u)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
            at[0] += share * case.error(&next)?;
            at[1] += share * (f64::from(step) / (SIZE * SIZE) as f64).sqrt();
            u = next;
        }
    }
    Ok(course)
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let steps: usize = words.next().and_then(|w| w.parse().ok()).unwrap_or(400);
    let mut rng = Rng::new(1_000_003);
    let unseen: Vec<Case> = (0..TEST)
        .map(|_| Case::random(&mut rng))
        .collect::<Result<_>>()?;
    let mut courses = Vec::new();
    for (way, name) in [
        (Way::Unrolled, "unrolled"),
        (Way::Equilibrium, "equilibrium"),
    ] {
        println!("{name}: {steps} steps of {BATCH} pairs");
        let (network, rested) = train(way, steps)?;
        if way == Way::Equilibrium {
            println!(
                "  {:.0} % of the training's solves came to rest",
                100.0 * rested
            );
        }
        let mut at_rest = (0.0, 0);
        for case in &unseen {
            let (u, converged) = equilibrium(case, &network)?;
            at_rest.0 += case.error(&u)? / TEST as f64;
            at_rest.1 += usize::from(converged);
        }
        courses.push((name, run(&network, &unseen)?, at_rest));
    }

    println!("\nerror on {TEST} unseen pairs, voxels (and the size of the last step)");
    let shown = [0, 2, 5, 10, 20, 50, 100];
    print!("{:<12}", "steps");
    shown.iter().for_each(|step| print!("{step:>16}"));
    println!("{:>24}", "Anderson, 100 at most");
    for (name, course, (error, count)) in &courses {
        print!("{name:<12}");
        for &step in &shown {
            let [error, moved] = course[step];
            print!("{:>16}", format!("{error:.3} ({moved:.0e})"));
        }
        println!("{:>24}", format!("{error:.3}, {count} at rest"));
    }

    let chart = |title: &str, up: &str, part: usize, first: usize| Chart {
        title: title.into(),
        across: "steps".into(),
        up: up.into(),
        series: courses
            .iter()
            .map(|(name, course, _)| Series {
                name: (*name).into(),
                points: (first..=LONGEST)
                    .map(|step| [step as f64, course[step][part]])
                    .collect(),
            })
            .collect(),
        linear: [true, false],
    };
    let picture = charts_to_png(&[
        chart("Error of the displacement", "voxels", 0, 0),
        chart("Length of a step", "voxels", 1, 1),
    ])?;
    let path = std::path::Path::new("out/deep_equilibrium.png");
    std::fs::create_dir_all("out")
        .and_then(|()| std::fs::write(path, picture))
        .map_err(|e| Error::io(path, "write", e))?;
    println!("picture: {}", path.display());
    Ok(())
}
