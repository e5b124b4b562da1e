//! Every operator beside the roof of this machine: `cargo bench --bench ops -- --quick`.
//!
//! Bytes are what an operator must read and write once, operations what its arithmetic takes a voxel, both counted by
//! hand. The share of the roof is the larger of the shares of the bandwidth and of the multiply-add rate measured in the
//! same run. Small grids live in the caches and may come out above one.

mod machine;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use criterion::Criterion;
use machine::Roof;
use stillpoint::{
    compose, inverse_displacement, lncc, lncc_gradient, pull_to_steps, resize,
    smallest_determinant, smooth, spline_coefficients, warp, warp_adjoint, warp_gradient, Affine,
    BlockSystem, Compositive, Curvature, Differences, Diffusion, Elastic, EnergyProblem, Grid,
    Instructions, Interpolation, Problem, Regulariser, Rng, SsdData,
};

#[global_allocator]
static ALLOCATOR: stillpoint::memory::Allocator = stillpoint::memory::Allocator;

/// Grids of three sizes, fastest axis first; the last is a brain at 1 mm.
const SIZES: [[usize; 3]; 3] = [[48, 56, 40], [96, 112, 80], [192, 224, 160]];

struct Row {
    name: String,
    voxels: usize,
    seconds: f64,
    bytes: f64,
    flops: f64,
}

struct Bench<'a> {
    criterion: &'a mut Criterion,
    size: [usize; 3],
    rows: Vec<Row>,
}

impl Bench<'_> {
    /// Times an operator that moves `bytes` and computes `flops` a voxel.
    fn time(&mut self, name: &str, bytes: f64, flops: f64, mut work: impl FnMut()) {
        let [nx, ny, nz] = self.size;
        let best = RefCell::new(f64::INFINITY);
        self.criterion
            .bench_function(&format!("{name} {nx}x{ny}x{nz}"), |b| {
                b.iter_custom(|rounds| {
                    let mut taken = Duration::ZERO;
                    for _ in 0..rounds {
                        let start = Instant::now();
                        work();
                        let once = start.elapsed();
                        best.replace_with(|best| best.min(once.as_secs_f64()));
                        taken += once;
                    }
                    taken
                });
            });
        let seconds = best.into_inner();
        if seconds.is_finite() {
            let voxels = nx * ny * nz;
            self.rows.push(Row {
                name: name.into(),
                voxels,
                seconds,
                bytes: bytes * voxels as f64,
                flops: flops * voxels as f64,
            });
        }
    }
}

fn noise(channels: usize, size: [usize; 3], amplitude: f32, seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let n = channels * size.iter().product::<usize>();
    let values: Vec<f32> = (0..n)
        .map(|_| amplitude * (rng.uniform() as f32 - 0.5))
        .collect();
    Tensor::from_vec(values, (channels, size[2], size[1], size[0]), &Device::Cpu).unwrap()
}

/// A displacement as registrations have them: a few voxels, smooth.
fn displacement(size: [usize; 3]) -> Tensor {
    (smooth(&noise(3, size, 1.0, 1), &[3.0; 3]).unwrap() * 40.0).unwrap()
}

fn data_term(bench: &mut Bench<'_>) {
    let size = bench.size;
    let u = displacement(size);
    for (channels, interpolation) in [
        (1, Interpolation::Linear),
        (4, Interpolation::Linear),
        (16, Interpolation::Linear),
        (1, Interpolation::Cubic),
    ] {
        if channels == 16 && size == SIZES[2] {
            continue;
        }
        let data = SsdData {
            fixed: noise(channels, size, 1.0, 2),
            moving: noise(channels, size, 1.0, 3),
            mask: None,
            channel_weight: vec![1.0; channels],
            map: Affine::identity(),
            interpolation,
        };
        let entries = if channels == 1 { 3 } else { 6 };
        let gradient = u.zeros_like().unwrap();
        let blocks = noise(entries, size, 0.0, 4);
        let c = channels as f64;
        // positions and cell, then a channel: interpolation with slopes, products with the slopes
        let (slopes, values) = match interpolation {
            Interpolation::Linear => (33.0, 14.0),
            Interpolation::Cubic => (
                16.0 * 4.0 + 4.0 * 14.0 + 8.0 + 130.0,
                16.0 * 2.0 + 4.0 * 4.0 + 130.0,
            ),
        };
        let block = if channels == 1 { 4.0 } else { 15.0 };
        let name = |what: &str| format!("{what}, {channels} channels, {interpolation:?}");
        bench.time(
            &name("linearise"),
            4.0 * (2.0 * c + 6.0 + entries as f64),
            33.0 + c * (slopes + 25.0 + block),
            || {
                data.linearise(Some(&u), Curvature::GaussNewton, &gradient, &blocks)
                    .unwrap();
            },
        );
        bench.time(
            &name("value"),
            4.0 * (2.0 * c + 3.0),
            33.0 + c * (values + 4.0),
            || {
                data.value(Some(&u)).unwrap();
            },
        );
    }
}

/// What an iteration of the fast mode does beside its inner solve: compositive, the model in halves; features of a type.
fn iteration(bench: &mut Bench<'_>, channels: usize, stored: DType) {
    let size = bench.size;
    let u = displacement(size);
    let features = |seed| {
        let smooth = smooth(&noise(channels, size, 9.0, seed), &[1.5; 3]).unwrap();
        smooth.to_dtype(stored).unwrap()
    };
    let (fixed, moving) = (features(2), features(3));
    let data = SsdData {
        fixed,
        moving,
        mask: Some(noise(1, size, 1.0, 4).sqr().unwrap().squeeze(0).unwrap()),
        channel_weight: vec![1.0; channels],
        map: Affine::identity(),
        interpolation: Interpolation::Linear,
    };
    let grid = Grid::axis_aligned(&size, &[1.0; 3]).unwrap();
    let (diffusion, compositive) = (Arc::new(Diffusion), Arc::new(Compositive));
    let mut problem = EnergyProblem::new(data, diffusion, 0.2, compositive, grid);
    problem.compact = true;
    let step = u.zeros_like().unwrap().to_dtype(DType::F16).unwrap();
    let out = u.zeros_like().unwrap();
    // differences and slopes of three components along three axes, gradient and vector carried to steps
    let (c, near) = (channels as f64, 9.0 * 9.0 + 30.0);
    let (entries, block) = if channels == 1 {
        (3.0, 4.0)
    } else {
        (6.0, 15.0)
    };
    let (width, halves) = match stored {
        DType::F16 => (2.0, " in halves"),
        _ => (4.0, ""),
    };
    let name = |what: &str| format!("{what} of an iteration, {channels} channels{halves}");
    bench.time(
        &name("fused pass"),
        4.0 * 4.0 + 2.0 * width * c + 2.0 * (3.0 + entries),
        33.0 + c * (33.0 + 10.0 + block) + near,
        || {
            problem
                .linearise(&u, Curvature::GaussNewton, &step)
                .unwrap();
        },
    );
    bench.time(
        &name("energy"),
        4.0 * 4.0 + 2.0 * width * c,
        33.0 + c * (14.0 + 4.0) + 27.0,
        || {
            problem.value(&u).unwrap();
        },
    );
    if channels > 1 || stored == DType::F16 {
        return;
    }
    let step = (&u * 1e-3).unwrap().to_dtype(DType::F16).unwrap();
    bench.time(
        "step of an iteration",
        4.0 * 9.0 + 2.0 * 3.0,
        33.0 + 3.0 * 15.0 + 8.0 * 14.0,
        || {
            problem.retract(&u, &step, -1.0, &out).unwrap();
        },
    );
}

fn linear_system(bench: &mut Bench<'_>) {
    let size = bench.size;
    for (dtype, width) in [(DType::F16, 2.0), (DType::F32, 4.0)] {
        for entries in [3, 6] {
            let system = BlockSystem {
                blocks: noise(entries, size, 0.1, 1).to_dtype(dtype).unwrap(),
                differences: Differences {
                    weight: [[1.0; 3]; 3],
                },
                shift: 1e-3,
                extra_diagonal: [0.0; 3],
            };
            let vector = |seed| noise(3, size, 1.0, seed).to_dtype(dtype).unwrap();
            let (p, x, r, q) = (vector(2), vector(3), vector(4), vector(5));
            let k = entries as f64;
            let block = if entries == 3 { 12.0 } else { 18.0 };
            bench.time(
                &format!("product, {entries} entries, {dtype:?}"),
                width * (6.0 + k),
                3.0 * 17.0 + block,
                || {
                    system.apply(&p, &q).unwrap();
                },
            );
            let solve = if entries == 3 { 40.0 } else { 60.0 };
            bench.time(
                &format!("advance, {entries} entries, {dtype:?}"),
                width * (21.0 + k),
                24.0 + solve,
                || {
                    system.advance(1e-6, &p, &x, &r, &q).unwrap();
                },
            );
        }
    }
}

fn fields(bench: &mut Bench<'_>) {
    let size = bench.size;
    let u = displacement(size);
    let d = displacement(size);
    let out = u.zeros_like().unwrap();
    bench.time("compose", 4.0 * 9.0, 33.0 + 3.0 * 15.0, || {
        compose(&u, &d, 1.0, &out).unwrap()
    });
    let (g, b) = (noise(3, size, 1.0, 3), noise(6, size, 1.0, 4));
    bench.time(
        "pull to steps, 6 entries",
        4.0 * (3.0 + 6.0 + 12.0),
        27.0 + 15.0 + 6.0 * 15.0,
        || {
            pull_to_steps(&u, &g, &b).unwrap();
        },
    );
    bench.time(
        "smallest determinant",
        4.0 * 3.0,
        8.0 * 14.0 + 2.0 * 30.0,
        || {
            smallest_determinant(&u).unwrap();
        },
    );
    bench.time("inverse displacement", 4.0 * 6.0, 4.0 * 200.0, || {
        inverse_displacement(&u).unwrap();
    });
    let differences = Differences {
        weight: [[1.0; 3]; 3],
    };
    bench.time("diffusion, value", 4.0 * 3.0, 27.0, || {
        differences.value(&u).unwrap();
    });
    bench.time("diffusion, gradient", 4.0 * 9.0, 48.0, || {
        differences.add_gradient(&u, &out).unwrap();
    });
    let grid = Grid::new(&size, &[1.0; 3], [0.0; 3], Affine::identity().matrix).unwrap();
    bench.time("elastic, gradient", 4.0 * 6.0, 48.0 + 48.0, || {
        Elastic::default().gradient(&u, &grid).unwrap();
    });
}

/// The warp of so many channels with its derivatives, of which a value and a gradient take so many operations a channel.
fn warps(bench: &mut Bench<'_>, channels: usize, interpolation: Interpolation, kind: &str) {
    let (value, slopes, filter) = match interpolation {
        Interpolation::Linear => (14.0, 33.0, 0.0),
        // the coefficients are computed in the same call
        Interpolation::Cubic => (178.0 + 15.0, 258.0 + 15.0, 8.0),
    };
    let (size, map, c) = (bench.size, Affine::identity(), channels as f64);
    let (image, u) = (noise(channels, size, 1.0, 1), displacement(size));
    let (bytes, flops) = (4.0 * (2.0 * c + 3.0) + c * filter, 33.0 + c * value);
    bench.time(&format!("warp, {kind}"), bytes, flops, || {
        warp(&image, &u, &map, interpolation).unwrap();
    });
    let fields = bytes + 4.0 * 3.0;
    bench.time(
        &format!("warp gradient, {kind}"),
        fields,
        48.0 + c * slopes,
        || {
            warp_gradient(&image, &u, &map, interpolation, &image).unwrap();
        },
    );
    bench.time(&format!("warp adjoint, {kind}"), bytes, flops, || {
        warp_adjoint(&image, &u, &map, interpolation, &size).unwrap();
    });
}

fn images(bench: &mut Bench<'_>) {
    let size = bench.size;
    let image = noise(1, size, 1.0, 1);
    warps(bench, 1, Interpolation::Linear, "Linear");
    warps(bench, 1, Interpolation::Cubic, "Cubic");
    if size == SIZES[1] {
        // as networks are trained
        warps(bench, 16, Interpolation::Linear, "16 channels");
    }
    bench.time("spline coefficients", 8.0, 15.0, || {
        spline_coefficients(&image).unwrap();
    });
    bench.time("smooth, sigma 1", 8.0, 3.0 * 14.0, || {
        smooth(&image, &[1.0; 3]).unwrap();
    });
    let other = noise(1, size, 1.0, 2);
    // products that enter and leave, sums along three axes, the formula; in double precision
    bench.time("lncc, window 9", 4.0 * 2.0, 20.0 + 30.0 + 16.0, || {
        lncc(&image, &other, &[9; 3]).unwrap();
    });
    bench.time(
        "lncc gradient, window 9",
        4.0 * 4.0,
        66.0 + 16.0 + 40.0 + 12.0,
        || {
            lncc_gradient(&image, &other, &[9; 3]).unwrap();
        },
    );
    let half = size.map(|n| n / 2);
    bench.time(
        "resize to half",
        4.0 * 1.125,
        2.0 * (2.5 + 1.25 + 0.625),
        || {
            resize(&image, &half).unwrap();
        },
    );
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().without_plots();
    let mut roof = Roof::measure();
    let mut rows = Vec::new();
    for size in SIZES {
        let mut bench = Bench {
            criterion: &mut criterion,
            size,
            rows: Vec::new(),
        };
        data_term(&mut bench);
        for channels in [1, 4, 16] {
            for stored in [DType::F32, DType::F16] {
                iteration(&mut bench, channels, stored);
            }
        }
        linear_system(&mut bench);
        fields(&mut bench);
        images(&mut bench);
        rows.append(&mut bench.rows);
        roof = roof.max(Roof::measure());
    }
    criterion.final_summary();
    println!(
        "\n{} threads, {:?}; bandwidth {:.1} GB/s (triad), arithmetic {:.0} GFLOP/s (multiply-adds); allocator of the program",
        rayon::current_num_threads(),
        Instructions::current(),
        roof.bandwidth / 1e9,
        roof.arithmetic / 1e9
    );
    println!(
        "\n{:<36} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>6}",
        "operator", "Mvoxels", "ms", "ns/voxel", "MB", "GB/s", "GFLOP/s", "roof"
    );
    for row in rows {
        println!(
            "{:<36} {:>9.2} {:>9.3} {:>9.2} {:>9.1} {:>8.1} {:>9.1} {:>5.0}%",
            row.name,
            row.voxels as f64 / 1e6,
            row.seconds * 1e3,
            row.seconds * 1e9 / row.voxels as f64,
            row.bytes / 1e6,
            row.bytes / row.seconds / 1e9,
            row.flops / row.seconds / 1e9,
            100.0 * roof.share(row.bytes, row.flops, row.seconds)
        );
    }
}
