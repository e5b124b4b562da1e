//! A compositive step that folds nowhere.

use rayon::prelude::*;

use super::cpu::compose_rows;
use crate::ops::jacobian::Lines;
use crate::ops::real::Real;
use crate::ops::rows::Shared;

/// Voxels around a folded one where the step is shortened too, along each axis.
const REACH: isize = 3;

/// Composes `out = u o (id + t d) + t d`; where a corner determinant comes out at `smallest` or less, shortens `d`
/// around it, until none does or `rounds` are spent. Returns whether none does.
///
/// Only lines that a shortening touches are composed and checked again.
pub(super) fn compose_unfolded<T: Real>(
    u: &[T],
    d: &mut [T],
    size: &[usize],
    t: T,
    smallest: f64,
    rounds: usize,
    out: &mut [T],
) -> bool {
    let [nx, ny, nz] = [size[0], size[1], size.get(2).copied().unwrap_or(1)];
    let n = nx * ny * nz;
    let mut changed = vec![true; ny * nz];
    let mut factor: Vec<f32> = Vec::new();
    for round in 0..=rounds {
        compose_rows(u, d, size, t, &changed, out);
        let bad = folded(out, size, &around(&changed, ny, nz), smallest);
        if bad.is_empty() {
            return true;
        }
        if round == rounds {
            break;
        }
        // half at first, then nothing at all
        let least = if round == 0 { 0.5 } else { 0.0 };
        factor.clear();
        factor.resize(n, 1.0);
        changed.fill(false);
        for &v in &bad {
            stamp(v, [nx, ny, nz], least, &mut factor, &mut changed);
        }
        let shared = Shared::new(d);
        (0..ny * nz)
            .into_par_iter()
            .filter(|&row| changed[row])
            .for_each(|row| {
                for a in 0..size.len() {
                    for x in 0..nx {
                        // SAFETY: inside the field; each task its own row.
                        unsafe {
                            *shared.at(a * n + row * nx + x) *=
                                T::of(f64::from(factor[row * nx + x]))
                        };
                    }
                }
            });
    }
    false
}

/// All voxels with a corner determinant of `smallest` or less, in order.
pub(super) fn all_folded<T: Real>(u: &[T], size: &[usize], smallest: f64) -> Vec<usize> {
    let lines = size[1..].iter().product();
    folded(u, size, &vec![true; lines], smallest)
}

/// A factor for every voxel: 0 at the given ones, rising to one over four voxels around them.
pub(super) fn stamped(bad: &[usize], size: &[usize]) -> Vec<f32> {
    let [nx, ny, nz] = [size[0], size[1], size.get(2).copied().unwrap_or(1)];
    let mut factor = vec![1.0; nx * ny * nz];
    let mut changed = vec![false; ny * nz];
    for &v in bad {
        stamp(v, [nx, ny, nz], 0.0, &mut factor, &mut changed);
    }
    factor
}

/// The voxels of the marked lines with a corner determinant of `smallest` or less, in order.
fn folded<T: Real>(u: &[T], size: &[usize], lines: &[bool], smallest: f64) -> Vec<usize> {
    let field = Lines::new(u, size);
    let runs: Vec<Vec<usize>> = (0..lines.len().div_ceil(16))
        .into_par_iter()
        .map_init(
            || vec![T::of(0.0); size[0]],
            |buffer, run| {
                let mut bad = Vec::new();
                for line in (run * 16..((run + 1) * 16).min(lines.len())).filter(|&l| lines[l]) {
                    field.corners(line, buffer);
                    bad.extend(
                        (0..size[0])
                            // a NaN counts as folded
                            .filter(|&x| buffer[x].wide() <= smallest || buffer[x].wide().is_nan())
                            .map(|x| line * size[0] + x),
                    );
                }
                bad
            },
        )
        .collect();
    runs.concat()
}

/// The marked lines and their neighbours along both slower axes.
fn around(lines: &[bool], ny: usize, nz: usize) -> Vec<bool> {
    (0..lines.len())
        .map(|line| {
            let (y, z) = (line % ny, line / ny);
            (z.saturating_sub(1)..(z + 2).min(nz))
                .any(|k| (y.saturating_sub(1)..(y + 2).min(ny)).any(|j| lines[k * ny + j]))
        })
        .collect()
}

/// Lowers the factors around a voxel: `least` there, rising to one over four voxels; marks the lines it touches.
fn stamp(v: usize, size: [usize; 3], least: f64, factor: &mut [f32], changed: &mut [bool]) {
    let [nx, ny, nz] = size.map(|s| s as isize);
    let v = v as isize;
    let (x, y, z) = (v % nx, v / nx % ny, v / nx / ny);
    for dz in (-REACH).max(-z)..=REACH.min(nz - 1 - z) {
        for dy in (-REACH).max(-y)..=REACH.min(ny - 1 - y) {
            let row = (z + dz) * ny + y + dy;
            changed[row as usize] = true;
            for dx in (-REACH).max(-x)..=REACH.min(nx - 1 - x) {
                let distance = ((dx * dx + dy * dy + dz * dz) as f64).sqrt();
                let ramp = ((distance - 1.0).max(0.0) / REACH as f64).min(1.0);
                let here = (least + (1.0 - least) * ramp) as f32;
                let entry = &mut factor[(row * nx + x + dx) as usize];
                *entry = entry.min(here);
            }
        }
    }
}
