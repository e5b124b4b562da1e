//! A compositive step that folds nowhere.

use rayon::prelude::*;

use super::cpu::compose_rows;
use crate::ops::jacobian::Lines;
use crate::ops::real::Real;
use crate::ops::rows::Shared;

/// Voxels around a folded one where the step is shortened too, along each axis.
const REACH: isize = 3;

/// The share of a step that is taken far from folds, in the unit in which shares are stored.
pub(super) const WHOLE: u8 = u8::MAX;

/// Composes `out = u o (id + t d) + t d`; where a corner determinant comes out at `smallest` or less, shortens `d`
/// around it, until none does or `rounds` are spent. Returns whether none does.
pub(super) fn compose_unfolded<T: Real>(
    u: &[T],
    d: &mut [T],
    size: &[usize],
    t: T,
    smallest: f64,
    rounds: usize,
    out: &mut [T],
) -> bool {
    shortened(
        d,
        size,
        rounds,
        out,
        // half at first, then nothing at all
        |round| if round == 0 { 0.5 } else { 0.0 },
        |d, marked, out| compose_rows(u, d, size, t, marked, out),
        // a NaN counts as folded
        |_, determinant| determinant > smallest,
    )
}

/// `out = u + t d`; where a corner determinant falls below a fifth of what it is at `u` (and of `enough`, where it was
/// more), shortens `d` around it, until none does or `rounds` are spent. Returns whether none does.
pub(super) fn add_unfolded<T: Real>(
    u: &[T],
    d: &mut [T],
    size: &[usize],
    t: T,
    enough: f64,
    rounds: usize,
    out: &mut [T],
) -> bool {
    let before = crate::ops::corner_determinants_minimum(u, size);
    let rows = before.len() / size[0];
    shortened(
        d,
        size,
        rounds,
        out,
        |round| if round + 1 < rounds { 0.5 } else { 0.0 },
        |d, marked, out| {
            out.par_chunks_mut(size[0])
                .enumerate()
                .filter(|(row, _)| marked[row % rows])
                .for_each(|(row, out)| {
                    let range = row * size[0]..(row + 1) * size[0];
                    for ((out, u), d) in out.iter_mut().zip(&u[range.clone()]).zip(&d[range]) {
                        *out = *u + t * *d;
                    }
                });
        },
        |voxel, determinant| determinant > 0.2 * f64::from(before[voxel]).min(enough),
    )
}

/// Places a step by `place`, which fills the marked lines of `out`; where `keeps` does not hold for a voxel's corner
/// determinant, shortens `d` around it, until it holds everywhere or `rounds` are spent. Returns whether it does.
///
/// Only lines that a shortening touches are placed and checked again.
fn shortened<T: Real>(
    d: &mut [T],
    size: &[usize],
    rounds: usize,
    out: &mut [T],
    least: impl Fn(usize) -> f64,
    place: impl Fn(&[T], &[bool], &mut [T]),
    keeps: impl Fn(usize, f64) -> bool + Sync,
) -> bool {
    let [nx, ny, nz] = [size[0], size[1], size.get(2).copied().unwrap_or(1)];
    let n = nx * ny * nz;
    let mut changed = vec![true; ny * nz];
    let mut share: Vec<u8> = Vec::new();
    for round in 0..=rounds {
        place(d, &changed, out);
        let bad = failing(out, size, &around(&changed, ny, nz), &keeps);
        if bad.is_empty() {
            return true;
        }
        if round == rounds {
            break;
        }
        let least = least(round);
        share.clear();
        share.resize(n, WHOLE);
        changed.fill(false);
        for &v in &bad {
            stamp(v, [nx, ny, nz], &mut share, &mut changed);
        }
        let shared = Shared::new(d);
        (0..ny * nz)
            .into_par_iter()
            .filter(|&row| changed[row])
            .for_each(|row| {
                for x in 0..nx {
                    let share = f64::from(share[row * nx + x]) / f64::from(WHOLE);
                    let factor = T::of(least + (1.0 - least) * share);
                    for a in 0..size.len() {
                        // SAFETY: inside the field; each task its own row.
                        unsafe { *shared.at(a * n + row * nx + x) *= factor };
                    }
                }
            });
    }
    false
}

/// All voxels with a corner determinant of `smallest` or less, in order.
pub(super) fn all_folded<T: Real>(u: &[T], size: &[usize], smallest: f64) -> Vec<usize> {
    let lines = size[1..].iter().product();
    failing(u, size, &vec![true; lines], &|_, determinant| {
        determinant > smallest
    })
}

/// A share for every voxel: 0 at the given ones, rising to [`WHOLE`] over four voxels around them.
pub(super) fn stamped(bad: &[usize], size: &[usize]) -> Vec<u8> {
    let [nx, ny, nz] = [size[0], size[1], size.get(2).copied().unwrap_or(1)];
    let mut share = vec![WHOLE; nx * ny * nz];
    let mut changed = vec![false; ny * nz];
    for &v in bad {
        stamp(v, [nx, ny, nz], &mut share, &mut changed);
    }
    share
}

/// The voxels of the marked lines where `keeps` does not hold, in order.
fn failing<T: Real>(
    u: &[T],
    size: &[usize],
    lines: &[bool],
    keeps: &(impl Fn(usize, f64) -> bool + Sync),
) -> Vec<usize> {
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
                            .filter(|&x| !keeps(line * size[0] + x, buffer[x].wide()))
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

/// Lowers the shares around a voxel: nothing there, rising to [`WHOLE`] over four voxels; marks the lines it touches.
fn stamp(v: usize, size: [usize; 3], share: &mut [u8], changed: &mut [bool]) {
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
                let here = (f64::from(WHOLE) * ramp).round() as u8;
                let entry = &mut share[(row * nx + x + dx) as usize];
                *entry = here.min(*entry);
            }
        }
    }
}
