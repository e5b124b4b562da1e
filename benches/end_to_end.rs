//! Whole registrations of phantom pairs over five sizes: the time must grow no faster than the voxels.
//!
//! `cargo bench --bench end_to_end -- --quick`

use std::cell::RefCell;
use std::time::Instant;

use criterion::Criterion;
use stillpoint::{Image, Instructions, Phantom, Registration};

#[global_allocator]
static ALLOCATOR: stillpoint::memory::Allocator = stillpoint::memory::Allocator;

/// One head at five resolutions: shares of 160 x 192 x 160 mm.
const VOXELS: [usize; 5] = [32, 48, 72, 108, 160];

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .without_plots()
        .sample_size(10);
    let mut rows = Vec::new();
    for n in VOXELS {
        let size = [n, n * 6 / 5, n];
        let spacing = 160.0 / n as f64;
        let phantom = Phantom::pair(&size, &[spacing; 3], 1).unwrap();
        let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec()).unwrap();
        let (fixed, moving) = (image(&phantom.fixed), image(&phantom.moving));
        let steps = RefCell::new(0);
        let best = RefCell::new(f64::INFINITY);
        criterion.bench_function(
            &format!("register {}x{}x{}", size[0], size[1], size[2]),
            |b| {
                b.iter_custom(|rounds| {
                    let start = Instant::now();
                    for _ in 0..rounds {
                        steps.replace(0);
                        Registration::default()
                            .run(&fixed, &moving, &mut |_| {
                                *steps.borrow_mut() += 1;
                                Ok(())
                            })
                            .unwrap();
                    }
                    let taken = start.elapsed();
                    best.replace_with(|best| best.min(taken.as_secs_f64() / rounds as f64));
                    taken
                });
            },
        );
        let seconds = best.into_inner();
        if seconds.is_finite() {
            rows.push((size, seconds, steps.into_inner()));
        }
    }
    criterion.final_summary();
    println!(
        "\n{} threads, {:?}; allocator of the program\n\n{:>12} {:>9} {:>9} {:>11} {:>10}",
        rayon::current_num_threads(),
        Instructions::current(),
        "size",
        "Mvoxels",
        "s",
        "us/voxel",
        "iterations"
    );
    for (size, seconds, steps) in &rows {
        let voxels = size.iter().product::<usize>() as f64;
        println!(
            "{:>12} {:>9.3} {:>9.3} {:>11.3} {:>10}",
            format!("{}x{}x{}", size[0], size[1], size[2]),
            voxels / 1e6,
            seconds,
            seconds * 1e6 / voxels,
            steps
        );
    }
    if let [first, .., last] = rows.as_slice() {
        let voxels = |size: &[usize; 3]| size.iter().product::<usize>() as f64;
        println!(
            "time grows as voxels to the power of {:.2} (1 is linear)",
            (last.1 / first.1).ln() / (voxels(&last.0) / voxels(&first.0)).ln()
        );
    }
}
