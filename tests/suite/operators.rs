//! Every operator once, on a grid of several parallel tasks: what must not depend on threads or on instructions.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};
use stillpoint::{
    average_pool, compose, compose_unfolded, conjugate_gradients, convolve, convolve_adjoint,
    convolve_weight_gradient, coverage, extend, gradient_energy, inverse_displacement,
    lncc_gradient, mind, normalise, pull_to_steps, rescale, resize, resize_adjoint,
    smallest_determinant, smooth, smooth_adjoint, spline_coefficients, spline_coefficients_adjoint,
    tanh, warp, warp_adjoint, warp_gradient, Affine, Bending, BlockSystem, Curvature, Differences,
    Diffusion, Displacement, Elastic, EnergyProblem, Grid, Interpolation, Krylov, LinearOptions,
    Problem, Regulariser, SsdData,
};

use crate::samples::{noise, shape, uniform, values, zeros};

const SIZE: [usize; 3] = [37, 29, 23];

/// Name and values of each result, for tensors of an element type.
pub struct Results {
    dtype: DType,
    pub all: Vec<(String, Vec<f64>)>,
}

impl Results {
    fn tensor(&mut self, name: &str, x: &Tensor) {
        self.all
            .push((format!("{name} {:?}", self.dtype), values(x)));
    }

    fn numbers(&mut self, name: &str, x: &[f64]) {
        self.all
            .push((format!("{name} {:?}", self.dtype), x.to_vec()));
    }

    fn noise(&self, channels: usize, size: &[usize], seed: u64) -> Tensor {
        noise(&shape(channels, size), seed)
            .to_dtype(self.dtype)
            .unwrap()
    }
}

/// All results.
pub fn run(dtype: DType) -> Results {
    let mut results = Results {
        dtype,
        all: Vec::new(),
    };
    images(&mut results);
    filters(&mut results);
    fields(&mut results);
    penalties(&mut results);
    blocks(&mut results, dtype);
    solve(&mut results);
    networks(&mut results);
    results
}

/// The results of the operators that store halves.
pub fn run_half() -> Results {
    let mut results = Results {
        dtype: DType::F16,
        all: Vec::new(),
    };
    blocks(&mut results, DType::F16);
    features(&mut results);
    results
}

/// The fused pass over features in halves, which computes in single precision.
fn features(results: &mut Results) {
    let single = |t: Tensor| t.to_dtype(DType::F32).unwrap();
    let u = single((results.noise(3, &SIZE, 1) * 1.5).unwrap());
    let data = SsdData {
        fixed: results.noise(5, &SIZE, 3),
        moving: results.noise(5, &SIZE, 2),
        mask: None,
        channel_weight: vec![0.7; 5],
        map: turned(),
        interpolation: Interpolation::Linear,
    };
    let (gradient, blocks) = (zeros(&u), single(results.noise(6, &SIZE, 5)));
    let energy = data
        .linearise(Some(&u), Curvature::GaussNewton, &gradient, &blocks)
        .unwrap();
    results.numbers("energy of halves", &[energy]);
    results.tensor("gradient of halves", &gradient);
    results.tensor("blocks of halves", &blocks);
}

fn turned() -> Affine {
    Affine::new(
        [
            [0.98, 0.05, -0.03],
            [-0.04, 1.02, 0.06],
            [0.02, -0.05, 0.97],
        ],
        [0.6, -0.7, 0.4],
    )
}

fn images(results: &mut Results) {
    let u = (results.noise(3, &SIZE, 1) * 1.5).unwrap();
    for interpolation in [Interpolation::Linear, Interpolation::Cubic] {
        for channels in [1, 2] {
            let name = |what: &str| format!("{what} {interpolation:?} {channels}");
            let moving = results.noise(channels, &SIZE, 2);
            let data = SsdData {
                fixed: results.noise(channels, &SIZE, 3),
                moving: moving.clone(),
                mask: Some(
                    uniform(&shape(1, &SIZE)[1..], 4)
                        .to_dtype(results.dtype)
                        .unwrap(),
                ),
                channel_weight: vec![0.7; channels],
                map: turned(),
                interpolation,
            };
            results.numbers(&name("value"), &[data.value(Some(&u)).unwrap()]);
            for (curvature, entries) in [
                (Curvature::GaussNewton, 3),
                (Curvature::GaussNewton, 6),
                (Curvature::Newton, 6),
            ] {
                if channels > 1 && entries == 3 {
                    continue;
                }
                let (gradient, blocks) = (zeros(&u), results.noise(entries, &SIZE, 5));
                let energy = data
                    .linearise(Some(&u), curvature, &gradient, &blocks)
                    .unwrap();
                results.numbers(&name("energy"), &[energy]);
                results.tensor(&name("gradient"), &gradient);
                results.tensor(&name("blocks"), &blocks);
            }
            let map = turned();
            results.tensor(
                &name("warp"),
                &warp(&moving, &u, &map, interpolation).unwrap(),
            );
            let cotangent = &data.fixed;
            results.tensor(
                &name("warp adjoint"),
                &warp_adjoint(cotangent, &u, &map, interpolation, &SIZE).unwrap(),
            );
            let many = results.noise(11, &SIZE, 31);
            results.tensor(
                &name("warp adjoint of many channels"),
                &warp_adjoint(&many, &u, &map, interpolation, &SIZE).unwrap(),
            );
            results.tensor(
                &name("warp gradient"),
                &warp_gradient(&moving, &u, &map, interpolation, cotangent).unwrap(),
            );
        }
    }
    let covered = uniform(&shape(1, &SIZE)[1..], 4)
        .to_dtype(results.dtype)
        .unwrap();
    let share = coverage(Some(&u), &SIZE, &turned(), &covered).unwrap();
    results.numbers("coverage", &[share]);
    results.tensor("covered", &covered);
}

fn filters(results: &mut Results) {
    let x = results.noise(2, &SIZE, 1);
    let small = [19, 40, 12];
    let sigma = [0.8, 1.7, 1.1];
    results.tensor("smooth", &smooth(&x, &sigma).unwrap());
    results.tensor("smooth adjoint", &smooth_adjoint(&x, &sigma).unwrap());
    results.tensor("resize", &resize(&x, &small).unwrap());
    results.tensor("resize adjoint", &resize_adjoint(&x, &small).unwrap());
    results.tensor("spline", &spline_coefficients(&x).unwrap());
    results.tensor("spline adjoint", &spline_coefficients_adjoint(&x).unwrap());
    results.tensor("extend", &extend(&x, &[2, 3, 1], &[41, 33, 25]).unwrap());
    let offsets = [[1.6, 0.3, -0.2], [-0.4, 2.2, 0.5], [0.1, -0.6, 1.3]];
    results.tensor("mind", &mind(&x, &offsets, &sigma).unwrap());
    results.numbers("gradient energy", &[gradient_energy(&x).unwrap()]);
    for window in [[7, 3, 5], [1, 9, 3]] {
        let name = |what: &str| format!("{what} {window:?}");
        let (value, gradients) = lncc_gradient(&x, &results.noise(2, &SIZE, 2), &window).unwrap();
        results.numbers(&name("lncc"), &[value]);
        for (k, gradient) in gradients.iter().enumerate() {
            results.tensor(&name(&format!("lncc gradient {k}")), gradient);
        }
    }
}

fn fields(results: &mut Results) {
    // gentle enough that neither the inverse nor the folds hang on the last bit
    let gentle = |seed| {
        let rough = results.noise(3, &SIZE, seed);
        (smooth(&rough, &[2.0; 3]).unwrap() * 4.0).unwrap()
    };
    let (u, d) = (gentle(1), gentle(2));
    let out = zeros(&u);
    compose(&u, &d, 0.8, &out).unwrap();
    results.tensor("compose", &out);
    compose_unfolded(&u, &d.copy().unwrap(), 0.8, 0.02, &out).unwrap();
    results.tensor("compose unfolded", &out);
    let (inverse, missed) = inverse_displacement(&u).unwrap();
    results.tensor("inverse", &inverse);
    results.numbers("missed", &[missed]);
    results.numbers("smallest determinant", &[smallest_determinant(&u).unwrap()]);
    for entries in [3, 6] {
        let (g, b) = (results.noise(3, &SIZE, 3), results.noise(entries, &SIZE, 4));
        pull_to_steps(&u, &g, &b).unwrap();
        results.tensor("pulled gradient", &g);
        results.tensor("pulled blocks", &b);
    }
}

fn grid() -> Grid {
    let identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    Grid::new(&SIZE, &[0.8, 1.1, 1.7], [0.0; 3], identity).unwrap()
}

fn penalties(results: &mut Results) {
    let u = results.noise(3, &SIZE, 1);
    for regulariser in [
        &Diffusion as &dyn Regulariser,
        &Bending::default(),
        &Elastic::default(),
    ] {
        results.numbers(
            regulariser.name(),
            &[regulariser.value(&u, &grid()).unwrap()],
        );
        results.tensor(
            regulariser.name(),
            &regulariser.gradient(&u, &grid()).unwrap(),
        );
    }
}

fn blocks(results: &mut Results, dtype: DType) {
    let system = |entries| {
        let (p, q) = (
            values(&noise(&shape(3, &SIZE), 1)),
            values(&noise(&shape(3, &SIZE), 2)),
        );
        let n: usize = SIZE.iter().product();
        let blocks = if entries == 3 {
            noise(&shape(3, &SIZE), 1)
        } else {
            let pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];
            let packed = pairs
                .iter()
                .flat_map(|&(a, b)| {
                    (0..n)
                        .map(|x| p[a * n + x] * p[b * n + x] + q[a * n + x] * q[b * n + x])
                        .collect::<Vec<_>>()
                })
                .collect();
            crate::samples::tensor(packed, &shape(6, &SIZE))
        };
        BlockSystem {
            blocks: blocks.to_dtype(dtype).unwrap(),
            differences: Differences {
                weight: [[0.7, 0.3, 0.5], [0.2, 0.9, 0.4], [0.6, 0.8, 1.1]],
            },
            shift: 0.1,
            extra_diagonal: [0.0; 3],
        }
    };
    for entries in [3, 6] {
        let system = system(entries);
        let (p, x, r, q) = (
            results.noise(3, &SIZE, 3),
            results.noise(3, &SIZE, 4),
            results.noise(3, &SIZE, 5),
            results.noise(3, &SIZE, 6),
        );
        let form = system.apply(&p, &q).unwrap();
        results.numbers("form", &[form]);
        results.tensor("product", &q);
        let sums = system.advance(0.1, &p, &x, &r, &q).unwrap();
        results.numbers("sums", &sums);
        for t in [&x, &r, &q] {
            results.tensor("advance", t);
        }
        let sums = system.precondition(&r, &q).unwrap();
        results.numbers("sums", &sums);
        results.tensor("precondition", &q);
    }
}

/// A model and a linear solve of an energy: the operators together.
fn solve(results: &mut Results) {
    let data = SsdData {
        fixed: results.noise(1, &SIZE, 1),
        moving: results.noise(1, &SIZE, 2),
        mask: None,
        channel_weight: vec![1.0],
        map: Affine::identity(),
        interpolation: Interpolation::Cubic,
    };
    let u = (results.noise(3, &SIZE, 3) * 0.3).unwrap();
    let problem = EnergyProblem::new(
        data,
        Arc::new(Elastic::default()),
        1.5,
        Arc::new(Displacement),
        grid(),
    );
    let krylov = Krylov::new(u.shape(), results.dtype, u.device()).unwrap();
    let model = problem
        .linearise(&u, Curvature::GaussNewton, &krylov.r)
        .unwrap();
    let options = LinearOptions {
        tolerance: 0.0,
        steps: 8,
        radius: f64::INFINITY,
    };
    let info =
        conjugate_gradients(&*model.operator, &*model.preconditioner, &krylov, &options).unwrap();
    results.numbers(
        "conjugate gradients",
        &[
            info.residual,
            info.smallest_ritz,
            info.length,
            info.reduction,
        ],
    );
    results.tensor("solution", &krylov.x);
}

fn networks(results: &mut Results) {
    for (size, stride) in [(&SIZE[..], 1), (&SIZE, 2), (&[67, 70], 1)] {
        let rank = size.len();
        let batched = |results: &Results, channels: usize, size: &[usize], seed: u64| {
            let x = results.noise(2 * channels, size, seed);
            let mut dims = vec![2, channels];
            dims.extend(&x.dims()[1..]);
            x.reshape(dims).unwrap()
        };
        let x = batched(results, 3, size, 1);
        let kernel = vec![3; rank];
        let w = results.noise(7 * 3, &kernel, 2);
        let mut shape = vec![7, 3];
        shape.extend(&w.dims()[1..]);
        let w = w.reshape(shape).unwrap();
        let steps = vec![stride; rank];
        let name = |what: &str| format!("{what} {rank} {stride}");
        let y = convolve(&x, &w, None, &steps).unwrap();
        let out: Vec<usize> = y.dims()[2..].iter().rev().copied().collect();
        let g = batched(results, 7, &out, 3);
        results.tensor(&name("convolve"), &y);
        results.tensor(
            &name("convolve adjoint"),
            &convolve_adjoint(&g, &w, &steps, size).unwrap(),
        );
        // sums of many products: one unit in the last place of one
        let of_weight = convolve_weight_gradient(&x, &g, &steps, &kernel).unwrap();
        results.tensor(&name("convolve weights"), &of_weight);
        let inputs = [y, results.noise(7, &[1], 4), results.noise(7, &[1], 5)];
        let tracked: Vec<Var> = inputs
            .iter()
            .map(|t| Var::from_tensor(t).unwrap())
            .collect();
        let vector = |v: &Var| v.as_tensor().flatten_all().unwrap();
        let z = normalise(
            tracked[0].as_tensor(),
            &vector(&tracked[1]),
            &vector(&tracked[2]),
            1,
            0.1,
        )
        .unwrap();
        let gradients = (&z * &g).unwrap().sum_all().unwrap().backward().unwrap();
        results.tensor(&name("normalise"), &z);
        results.tensor(&name("tanh"), &tanh(&(&x * 3.0).unwrap()).unwrap());
        for (k, v) in tracked.iter().enumerate() {
            let what = format!("normalise gradient {k}");
            results.tensor(&name(&what), gradients.get(v).unwrap());
        }
        let pooled = average_pool(&x, &vec![2; rank]).unwrap();
        results.tensor(&name("pool"), &pooled);
        let again = rescale(&pooled, &vec![0.5; rank], size).unwrap();
        results.tensor(&name("rescale"), &again);
    }
}
