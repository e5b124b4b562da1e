//! The operators of the fast solver and of feature networks on a device, beside its bandwidth and the rate of its matrix
//! products: `cargo bench --features cuda --bench device -- cuda`.
//!
//! Devices are named as in `register --device`; without a name it is `auto`. Bytes are what an operator must read and write
//! once, multiplications those of the plain sums, counted by hand; the roofs are a sum of two vectors that no cache holds and
//! the tensor engine's product of two matrices, in the same run. Each time is the best of many and ends when the device is
//! idle, so that small grids measure launches and the way back of sums.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use stillpoint::{
    compose_unfolded, convolve, convolve_adjoint, convolve_weight_gradient, level_grid,
    lncc_gradient, mind, normalise, resize, smallest_determinant, smooth, warp_adjoint, Affine,
    BlockSystem, Curvature, DeviceChoice, Differences, FeatureNetwork, Grid, Interpolation,
    NetworkConfig, Rng, SsdData, Unet,
};

const SIZES: [[usize; 3]; 3] = [[48, 56, 40], [96, 112, 80], [192, 224, 160]];
const ROUNDS: usize = 20;
const ENOUGH: Duration = Duration::from_secs(2);

struct Bench {
    device: Device,
    size: [usize; 3],
    /// Bytes a second.
    roof: f64,
    /// Multiplications with additions a second.
    products: f64,
}

impl Bench {
    /// Seconds of one call, the best of some; of fewer where they take long.
    fn seconds(&self, mut work: impl FnMut()) -> f64 {
        let mut best = f64::INFINITY;
        let begun = Instant::now();
        for round in 0..ROUNDS {
            if round > 0 && begun.elapsed() > ENOUGH {
                break;
            }
            self.device.synchronize().unwrap();
            let start = Instant::now();
            work();
            self.device.synchronize().unwrap();
            best = best.min(start.elapsed().as_secs_f64());
        }
        best
    }

    /// Times an operator that moves so many bytes a voxel.
    fn time(&self, name: &str, bytes: f64, work: impl FnMut()) {
        let seconds = self.seconds(work);
        let [nx, ny, nz] = self.size;
        let rate = bytes * (nx * ny * nz) as f64 / seconds;
        println!(
            "{:<32} {nx:>3}x{ny}x{nz:<4} {:>9.3} ms {:>8.1} GB/s {:>6.1} %",
            name,
            1e3 * seconds,
            1e-9 * rate,
            100.0 * rate / self.roof
        );
    }

    /// Times what has no bytes or products to count.
    fn time_alone(&self, name: &str, work: impl FnMut()) {
        let seconds = self.seconds(work);
        let [nx, ny, nz] = self.size;
        println!("{name:<32} {nx:>3}x{ny}x{nz:<4} {:>9.3} ms", 1e3 * seconds);
    }

    /// Times an operator that multiplies and adds so often a voxel.
    fn time_products(&self, name: &str, products: f64, work: impl FnMut()) {
        let seconds = self.seconds(work);
        let [nx, ny, nz] = self.size;
        let rate = products * (nx * ny * nz) as f64 / seconds;
        println!(
            "{:<32} {nx:>3}x{ny}x{nz:<4} {:>9.3} ms {:>8.1} GFMA/s {:>4.1} %",
            name,
            1e3 * seconds,
            1e-9 * rate,
            100.0 * rate / self.products
        );
    }

    fn noise(&self, planes: usize, seed: u64) -> Tensor {
        let mut rng = Rng::new(seed);
        let [nx, ny, nz] = self.size;
        let values: Vec<f32> = (0..planes * nx * ny * nz)
            .map(|_| rng.uniform() as f32 - 0.5)
            .collect();
        Tensor::from_vec(values, (planes, nz, ny, nx), &self.device).unwrap()
    }
}

fn main() {
    let named = std::env::args().find_map(|word| word.parse::<DeviceChoice>().ok());
    let opened = match named.unwrap_or(DeviceChoice::Auto).open() {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    if let Some(reason) = &opened.instead {
        println!("on the CPU: {reason}");
    }
    let mut bench = Bench {
        device: opened.device,
        size: SIZES[2],
        roof: f64::INFINITY,
        products: f64::INFINITY,
    };
    let (x, y) = (bench.noise(8, 1), bench.noise(8, 2));
    let once = bench.seconds(|| drop((&x + &y).unwrap()));
    bench.roof = 12.0 * x.elem_count() as f64 / once;
    println!("bandwidth {:.1} GB/s", 1e-9 * bench.roof);
    drop((x, y));
    let side = 2048;
    let square = |seed| {
        bench
            .noise(1, seed)
            .flatten_all()
            .unwrap()
            .narrow(0, 0, side * side)
    };
    let [a, b] = [1, 2].map(|seed| square(seed).unwrap().reshape((side, side)).unwrap());
    let once = bench.seconds(|| drop(a.matmul(&b).unwrap()));
    bench.products = (side * side * side) as f64 / once;
    println!("matrix products {:.1} GFMA/s", 1e-9 * bench.products);
    drop((a, b));
    for size in SIZES {
        bench.size = size;
        operators(&bench);
        networks(&bench);
    }
}

/// What feature networks are made of, and a pass of the default one.
fn networks(bench: &Bench) {
    let [nx, ny, nz] = bench.size;
    let batch = |channels: usize, seed| {
        let maps = bench.noise(channels, seed);
        maps.reshape((1, channels, nz, ny, nx)).unwrap()
    };
    let mut rng = Rng::new(9);
    for (inputs, outputs) in [(2, 16), (16, 16), (32, 32)] {
        let weight = (0..27 * inputs * outputs).map(|_| rng.normal() as f32 * 0.1);
        let weight: Vec<f32> = weight.collect();
        let weight = Tensor::from_vec(weight, (outputs, inputs, 3, 3, 3), &bench.device).unwrap();
        let (x, g) = (batch(inputs, 1), batch(outputs, 2));
        let products = (27 * inputs * outputs) as f64;
        let time = |what: &str, work: &mut dyn FnMut()| {
            bench.time_products(&format!("{what}, {inputs} to {outputs}"), products, work);
        };
        time("convolve", &mut || {
            convolve(&x, &weight, None, &[1; 3]).unwrap();
        });
        time("its adjoint to images", &mut || {
            convolve_adjoint(&g, &weight, &[1; 3], &bench.size).unwrap();
        });
        time("its adjoint to weights", &mut || {
            convolve_weight_gradient(&x, &g, &[1; 3], &[3; 3]).unwrap();
        });
    }
    let x = batch(16, 3);
    let gain = Tensor::ones(16, DType::F32, &bench.device).unwrap();
    let offset = gain.zeros_like().unwrap();
    bench.time("normalise, 16 channels", 16.0 * 12.0, || {
        normalise(&x, &gain, &offset, 16, 0.1).unwrap();
    });
    let image = bench.noise(1, 4);
    let neighbours = [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]];
    bench.time("descriptors", 4.0 * (1.0 + 12.0 * 9.0), || {
        mind(&image, &neighbours, &[1.0; 3]).unwrap();
    });
    let grid = Grid::axis_aligned(&bench.size, &[1.0; 3]).unwrap();
    let config = NetworkConfig::unet(3, 1);
    let network = Unet::new(&config, None, 1, DType::F32).unwrap();
    let network = network.to_device(&bench.device).unwrap();
    let targets = config
        .shrinks
        .iter()
        .map(|&s| level_grid(&grid, s).unwrap());
    let targets: Vec<Grid> = targets.collect();
    let image = batch(1, 5);
    bench.time_alone("default network, with gradients", || {
        let maps = network.maps(&image, &grid, &targets).unwrap();
        let sums = maps.iter().map(|map| map.sqr().unwrap().sum_all().unwrap());
        let sums: Vec<Tensor> = sums.collect();
        let loss = Tensor::stack(&sums, 0).unwrap().sum_all().unwrap();
        loss.backward().unwrap();
    });
}

fn operators(bench: &Bench) {
    let u = smooth(&bench.noise(3, 1), &[3.0; 3]).unwrap();
    let u = (u * 40.0).unwrap();
    let out = u.zeros_like().unwrap();
    for channels in [1, 8] {
        let data = SsdData {
            fixed: bench.noise(channels, 2),
            moving: bench.noise(channels, 3),
            mask: None,
            channel_weight: vec![1.0; channels],
            map: Affine::identity(),
            interpolation: Interpolation::Linear,
        };
        let entries = if channels == 1 { 3 } else { 6 };
        let blocks = bench.noise(entries, 4);
        let c = channels as f64;
        let bytes = 4.0 * (2.0 * c + 3.0);
        bench.time(&format!("value, {channels} channels"), bytes, || {
            data.value(Some(&u)).unwrap();
        });
        let bytes = bytes + 4.0 * (3.0 + entries as f64);
        bench.time(&format!("linearise, {channels} channels"), bytes, || {
            data.linearise(Some(&u), Curvature::GaussNewton, &out, &blocks)
                .unwrap();
        });
        let bytes = 4.0 * (2.0 * c + 3.0);
        bench.time(&format!("warp, {channels} channels"), bytes, || {
            data.warped(Some(&u)).unwrap();
        });
        bench.time(&format!("its adjoint, {channels} channels"), bytes, || {
            warp_adjoint(&data.fixed, &u, &data.map, data.interpolation, &bench.size).unwrap();
        });
        let bytes = 4.0 * (4.0 * c + 7.0);
        bench.time(&format!("pullback, {channels} channels"), bytes, || {
            data.pullback(&u, &u).unwrap();
        });
    }
    let images = [bench.noise(1, 7), bench.noise(1, 8)];
    bench.time("local correlation with gradients", 16.0, || {
        lncc_gradient(&images[0], &images[1], &[7; 3]).unwrap();
    });
    let system = BlockSystem {
        blocks: bench.noise(3, 5),
        differences: Differences {
            weight: [[1.0; 3]; 3],
        },
        shift: 1e-3,
        extra_diagonal: [0.0; 3],
    };
    let [p, x, r, q] = [0; 4].map(|_| u.copy().unwrap());
    bench.time("product", 36.0, || {
        system.apply(&p, &q).unwrap();
    });
    bench.time("precondition", 36.0, || {
        system.precondition(&r, &q).unwrap();
    });
    bench.time("update and precondition", 96.0, || {
        system.advance(1e-3, &p, &x, &r, &q).unwrap();
    });
    let step = (smooth(&bench.noise(3, 6), &[3.0; 3]).unwrap() * 4.0).unwrap();
    bench.time("compose", 12.0 * 4.0, || {
        compose_unfolded(&u, &step, 0.1, -1e9, &out).unwrap();
    });
    bench.time("smallest determinant", 12.0, || {
        smallest_determinant(&u).unwrap();
    });
    bench.time("smooth, 1 voxel", 3.0 * 24.0, || {
        smooth(&u, &[1.0; 3]).unwrap();
    });
    let half = bench.size.map(|n| n / 2);
    bench.time("resize to half", 12.0 + 6.0 + 3.0 + 1.5, || {
        resize(&u, &half).unwrap();
    });
}
