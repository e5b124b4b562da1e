#![allow(dead_code)] // each bench takes what it needs
//! What this machine can do at best, measured: bandwidth of the memory and rate of the arithmetic.

use std::time::Instant;

use rayon::prelude::*;
use stillpoint::Instructions;

/// The roof that no operator can be above.
#[derive(Clone, Copy)]
pub struct Roof {
    /// Bytes a second of a triad `a = b + s c` over arrays that no cache holds (STREAM's count: no write-allocate).
    pub bandwidth: f64,
    /// Operations a second of fused multiply-adds in single precision, all threads.
    pub arithmetic: f64,
}

impl Roof {
    /// The best of a few runs.
    pub fn measure() -> Self {
        Self {
            bandwidth: triad(),
            arithmetic: multiply_adds(),
        }
    }

    /// The better of both in each respect.
    pub fn max(self, other: Self) -> Self {
        Self {
            bandwidth: self.bandwidth.max(other.bandwidth),
            arithmetic: self.arithmetic.max(other.arithmetic),
        }
    }

    /// The share of the roof that moving `bytes` with `flops` operations in `seconds` reaches.
    pub fn share(&self, bytes: f64, flops: f64, seconds: f64) -> f64 {
        (bytes / self.bandwidth).max(flops / self.arithmetic) / seconds
    }
}

/// Seconds that all threads of this process have computed, where the system tells (Linux): what a machine with other
/// work to do does not change.
pub fn computed_seconds() -> Option<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let times = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += times.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds * 1e-9)
}

/// Multiply-adds of a thread in a second of computing, operations.
pub fn operations_a_second() -> Option<f64> {
    let start = computed_seconds()?;
    rayon::broadcast(|_| std::hint::black_box(chains(ROUNDS << 4)));
    let operations = (2 * CHAINS * lanes() * (ROUNDS << 4) * rayon::current_num_threads()) as f64;
    Some(operations / (computed_seconds()? - start))
}

fn best(runs: usize, mut work: impl FnMut()) -> f64 {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn triad() -> f64 {
    const LENGTH: usize = 24 << 20;
    const CHUNK: usize = 1 << 16;
    let (b, c) = (vec![1.0f32; LENGTH], vec![2.0f32; LENGTH]);
    let mut a = vec![0.0f32; LENGTH];
    let seconds = best(6, || {
        a.par_chunks_mut(CHUNK)
            .zip(b.par_chunks(CHUNK).zip(c.par_chunks(CHUNK)))
            .for_each(|(a, (b, c))| {
                for i in 0..a.len() {
                    a[i] = b[i] + 3.0 * c[i];
                }
            });
    });
    assert!(a.iter().all(|v| *v == 7.0));
    (3 * 4 * LENGTH) as f64 / seconds
}

const ROUNDS: usize = 1 << 20;

fn lanes() -> usize {
    match Instructions::current() {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => 16,
        _ => 8,
    }
}

fn multiply_adds() -> f64 {
    let seconds = best(6, || {
        rayon::broadcast(|_| std::hint::black_box(chains(ROUNDS)));
    });
    (2 * CHAINS * lanes() * ROUNDS * rayon::current_num_threads()) as f64 / seconds
}

/// Independent chains of multiply-adds: enough to hide their latency.
const CHAINS: usize = 12;

#[cfg(target_arch = "x86_64")]
fn chains(rounds: usize) -> f32 {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    unsafe fn wide(rounds: usize) -> f32 {
        let (a, b) = (_mm512_set1_ps(0.999), _mm512_set1_ps(1e-3));
        let mut x = [b; CHAINS];
        for _ in 0..rounds {
            for x in &mut x {
                *x = _mm512_fmadd_ps(*x, a, b);
            }
        }
        x.iter().map(|x| _mm512_reduce_add_ps(*x)).sum()
    }
    #[target_feature(enable = "avx2,fma")]
    unsafe fn middle(rounds: usize) -> f32 {
        let (a, b) = (_mm256_set1_ps(0.999), _mm256_set1_ps(1e-3));
        let mut x = [b; CHAINS];
        for _ in 0..rounds {
            for x in &mut x {
                *x = _mm256_fmadd_ps(*x, a, b);
            }
        }
        x.iter().map(|x| _mm256_cvtss_f32(*x)).sum()
    }
    match Instructions::current() {
        // SAFETY: the machine has the set in use.
        Instructions::Avx512 => unsafe { wide(rounds) },
        // SAFETY: as above.
        Instructions::Avx2 => unsafe { middle(rounds) },
        Instructions::Portable => plain(rounds),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn chains(rounds: usize) -> f32 {
    plain(rounds)
}

fn plain(rounds: usize) -> f32 {
    let mut x = [[1e-3f32; 8]; CHAINS];
    for _ in 0..rounds {
        for x in &mut x {
            for v in x {
                *v = *v * 0.999 + 1e-3;
            }
        }
    }
    x.iter().flatten().sum()
}
