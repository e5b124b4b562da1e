//! The operators of the fast solver on a device, beside its bandwidth: `cargo bench --features cuda --bench device -- cuda`.
//!
//! Devices are named as in `register --device`; without a name it is `auto`. Bytes are what an operator must read and write
//! once, counted by hand; the roof is a sum of two vectors that no cache holds, in the same run. Each time is the best of
//! many and ends when the device is idle, so that small grids measure launches and the way back of sums.

use std::time::Instant;

use candle_core::{Device, Tensor};
use stillpoint::{
    compose_unfolded, lncc_gradient, resize, smallest_determinant, smooth, warp_adjoint, Affine,
    BlockSystem, Curvature, DeviceChoice, Differences, Interpolation, Rng, SsdData,
};

const SIZES: [[usize; 3]; 3] = [[48, 56, 40], [96, 112, 80], [192, 224, 160]];
const ROUNDS: usize = 20;

struct Bench {
    device: Device,
    size: [usize; 3],
    /// Bytes a second.
    roof: f64,
}

impl Bench {
    /// Seconds of one call, the best of some.
    fn seconds(&self, mut work: impl FnMut()) -> f64 {
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
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
    };
    let (x, y) = (bench.noise(8, 1), bench.noise(8, 2));
    let once = bench.seconds(|| drop((&x + &y).unwrap()));
    bench.roof = 12.0 * x.elem_count() as f64 / once;
    println!("bandwidth {:.1} GB/s", 1e-9 * bench.roof);
    drop((x, y));
    for size in SIZES {
        bench.size = size;
        operators(&bench);
    }
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
