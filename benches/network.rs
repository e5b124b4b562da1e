//! Convolutions and whole networks beside the roof of this machine: `cargo bench --bench network -- --quick`.
//!
//! The share is that of the multiply-add rate measured in the same run, both by the seconds that threads computed where
//! the system tells, so that other work on the machine changes little. Operations are those of the plain sum: kernels of
//! three or five voxels take about a third of them (in two dimensions, about half), and so may pass 100 %. Whole networks
//! include what the tensor engine does between the operators.

mod machine;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use criterion::Criterion;
use machine::{computed_seconds, operations_a_second, Roof};
use stillpoint::{
    average_pool, convolve, convolve_adjoint, convolve_weight_gradient, normalise, rescale,
    FeatureNetwork, Grid, Instructions, NetworkConfig, Rng, Unet,
};

#[global_allocator]
static ALLOCATOR: stillpoint::memory::Allocator = stillpoint::memory::Allocator;

/// Voxels of the kernel along each axis, inputs, outputs and size (fastest axis first) of convolutions.
type Shape = (usize, usize, usize, &'static [usize]);

/// Those whose results are half as many along each axis.
const STRIDED: [Shape; 3] = [
    (3, 16, 32, &[112, 96, 80]),
    (3, 32, 64, &[56, 48, 40]),
    (3, 16, 32, &[192, 160]),
];

const CONVOLUTIONS: [Shape; 12] = [
    (3, 16, 16, &[112, 96, 80]),
    (3, 32, 32, &[112, 96, 80]),
    (3, 2, 16, &[112, 96, 80]),
    (3, 32, 32, &[56, 48, 40]),
    (3, 64, 64, &[28, 24, 20]),
    (3, 48, 16, &[112, 96, 80]),
    (3, 16, 16, &[192, 160]),
    (5, 16, 16, &[112, 96, 80]),
    (5, 32, 32, &[56, 48, 40]),
    (5, 64, 64, &[28, 24, 20]),
    (5, 128, 128, &[14, 12, 10]),
    (5, 16, 16, &[192, 160]),
];

struct Row {
    name: String,
    seconds: f64,
    computed: f64,
    flops: f64,
}

struct Bench<'a> {
    criterion: &'a mut Criterion,
    rows: Vec<Row>,
}

impl Bench<'_> {
    fn time(&mut self, name: &str, flops: f64, mut work: impl FnMut()) {
        let best = RefCell::new([f64::INFINITY; 2]);
        self.criterion.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let mut taken = Duration::ZERO;
                for _ in 0..rounds {
                    let (start, before) = (Instant::now(), computed_seconds());
                    work();
                    let once = start.elapsed();
                    let computed = match (before, computed_seconds()) {
                        (Some(before), Some(after)) => after - before,
                        _ => once.as_secs_f64() * rayon::current_num_threads() as f64,
                    };
                    best.replace_with(|best| {
                        [best[0].min(once.as_secs_f64()), best[1].min(computed)]
                    });
                    taken += once;
                }
                taken
            });
        });
        let [seconds, computed] = best.into_inner();
        if seconds.is_finite() {
            self.rows.push(Row {
                name: name.into(),
                seconds,
                computed,
                flops,
            });
        }
    }
}

fn noise(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| rng.uniform() as f32 - 0.5)
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn shape(batch: usize, channels: usize, size: &[usize]) -> Vec<usize> {
    let mut shape = vec![batch, channels];
    shape.extend(size.iter().rev());
    shape
}

fn describe(size: &[usize]) -> String {
    let size: Vec<String> = size.iter().rev().map(ToString::to_string).collect();
    size.join("x")
}

fn convolutions(bench: &mut Bench<'_>) {
    let plain = CONVOLUTIONS.map(|shape| (shape, 1));
    let strided = STRIDED.map(|shape| (shape, 2));
    for ((edge, inputs, outputs, size), step) in plain.into_iter().chain(strided) {
        let batch = if size.len() == 2 { 16 } else { 1 };
        let kernel = vec![edge; size.len()];
        let stride = vec![step; size.len()];
        let results: Vec<usize> = size.iter().map(|n| n.div_ceil(step)).collect();
        let x = noise(&shape(batch, inputs, size), 1);
        let g = noise(&shape(batch, outputs, &results), 2);
        let w = noise(&shape(outputs, inputs, &kernel), 3);
        let entries: usize = kernel.iter().product();
        let voxels: usize = results.iter().product();
        let flops = 2.0 * (batch * inputs * outputs * entries * voxels) as f64;
        let by = if step > 1 { " by 2" } else { "" };
        let name = |what: &str| {
            format!(
                "{edge}{by}: {inputs}->{outputs} at {}, {what}",
                describe(size)
            )
        };
        bench.time(&name("forward"), flops, || {
            convolve(&x, &w, None, &stride).unwrap();
        });
        bench.time(&name("to data"), flops, || {
            convolve_adjoint(&g, &w, &stride, size).unwrap();
        });
        bench.time(&name("to weights"), flops, || {
            convolve_weight_gradient(&x, &g, &stride, &kernel).unwrap();
        });
    }
}

fn others(bench: &mut Bench<'_>) {
    let size = [112, 96, 80];
    let x = noise(&shape(1, 16, &size), 1);
    let ones = Tensor::ones(16, DType::F32, &Device::Cpu).unwrap();
    let count = x.elem_count() as f64;
    bench.time("normalise, 16 channels", 10.0 * count, || {
        normalise(&x, &ones, &ones, 16, 0.1).unwrap();
    });
    bench.time("average pool by 2, 16 channels", count, || {
        average_pool(&x, &[2; 3]).unwrap();
    });
    let half = noise(&shape(1, 16, &[56, 48, 40]), 1);
    bench.time("rescale by 2, 16 channels", 4.0 * count, || {
        rescale(&half, &[0.5; 3], &size).unwrap();
    });
}

fn networks(bench: &mut Bench<'_>) {
    let grid = Grid::axis_aligned(&[112, 96, 80], &[2.0; 3]).unwrap();
    let x = noise(&shape(1, 1, grid.size()), 1);
    for (name, config) in [
        ("U-Net", NetworkConfig::unet(3, 1)),
        ("encoder", NetworkConfig::encoder_unet(3, 1)),
        ("LKU-16", NetworkConfig::large_kernel_unet(3, 1, 16)),
    ] {
        let network = Unet::new(&config, None, 1, DType::F32).unwrap();
        let flops = flops(&config, grid.voxels());
        let forward = || network.fixed_pyramid(&x, &grid).unwrap();
        bench.time(&format!("{name}, forward"), flops, || {
            forward();
        });
        bench.time(
            &format!("{name}, forward and backward"),
            3.0 * flops,
            || {
                let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
                for level in forward() {
                    loss = (loss + level.features.sqr().unwrap().mean_all().unwrap()).unwrap();
                }
                loss.backward().unwrap();
            },
        );
    }
}

/// Operations of the convolutions of a network on a cubic grid.
fn flops(config: &NetworkConfig, voxels: usize) -> f64 {
    use stillpoint::Architecture::{EncoderUnet, LargeKernelUnet};
    let at = |scale: usize| voxels as f64 / 8f64.powi(scale as i32);
    let large = if config.architecture == LargeKernelUnet {
        125.0
    } else {
        27.0
    };
    let mut products = 0.0;
    for (scale, &width) in config.widths.iter().enumerate() {
        let inputs = if scale == 0 {
            config.inputs
        } else {
            config.widths[scale - 1]
        };
        products += at(scale) * (width * (27 * inputs)) as f64;
        products += at(scale) * large * (width * width) as f64;
        if config.architecture != EncoderUnet && scale + 1 < config.widths.len() {
            let joined = width + config.widths[scale + 1];
            products += at(scale) * (27 * width * (joined + width)) as f64;
        }
    }
    for &shrink in &config.shrinks {
        let scale = shrink.ilog2() as usize;
        products += at(scale) * (27 * config.widths[scale] * config.outputs) as f64;
    }
    2.0 * products
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().without_plots();
    let threads = rayon::current_num_threads() as f64;
    let rate = || operations_a_second().unwrap_or_else(|| Roof::measure().arithmetic / threads);
    let before = rate();
    let mut bench = Bench {
        criterion: &mut criterion,
        rows: Vec::new(),
    };
    convolutions(&mut bench);
    others(&mut bench);
    networks(&mut bench);
    let rows = bench.rows;
    let rate = before.max(rate());
    criterion.final_summary();
    println!(
        "\n{threads} threads, {:?}; arithmetic {:.0} GFLOP/s a thread (multiply-adds); the program's allocator",
        Instructions::current(),
        rate / 1e9
    );
    println!(
        "\n{:<44} {:>9} {:>12} {:>9} {:>9} {:>6}",
        "operator", "ms", "computed ms", "GFLOP", "GFLOP/s", "share"
    );
    for row in rows {
        println!(
            "{:<44} {:>9.2} {:>12.2} {:>9.2} {:>9.1} {:>5.0}%",
            row.name,
            row.seconds * 1e3,
            row.computed * 1e3,
            row.flops / 1e9,
            row.flops / row.seconds / 1e9,
            100.0 * row.flops / (row.computed * rate)
        );
    }
}
