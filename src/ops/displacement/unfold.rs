//! A compositive step that folds nowhere.

use rayon::prelude::*;

use super::cpu::compose_rows;
use super::marks::Marks;
use crate::ops::jacobian::{Lines, Measure};
use crate::ops::real::Real;
use crate::ops::rows::Shared;

/// Voxels around a folded one where the step is shortened too, along each axis.
const REACH: isize = 3;

/// Voxels along an edge of the cube where it is shortened.
const EDGE: usize = 2 * REACH as usize + 1;

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
        |d, marks, out| compose_rows(u, d, size, t, marks, out),
        // a NaN counts as folded
        (smallest, |_, determinant| determinant > smallest),
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
        |d, marks, out| {
            out.par_chunks_mut(size[0])
                .enumerate()
                .for_each(|(row, out)| {
                    let start = row * size[0];
                    for run in marks.runs(row % rows) {
                        for x in run {
                            out[x] = u[start + x] + t * d[start + x];
                        }
                    }
                });
        },
        (enough, |voxel, determinant| {
            determinant > 0.2 * f64::from(before[voxel]).min(enough)
        }),
    )
}

/// Places a step by `place`, which fills the marked voxels of `out`; where `keeps` does not hold for a voxel's corner
/// determinant, shortens `d` around it, until it holds everywhere or `rounds` are spent. Returns whether it does.
///
/// `keeps` comes with a bound above which it always holds. Only what a shortening touches is placed and checked again.
fn shortened<T: Real>(
    d: &mut [T],
    size: &[usize],
    rounds: usize,
    out: &mut [T],
    least: impl Fn(usize) -> f64,
    place: impl Fn(&[T], &Marks, &mut [T]),
    keeps: (f64, impl Fn(usize, f64) -> bool + Sync),
) -> bool {
    let n: usize = size.iter().product();
    let (mut changed, mut judged) = (Marks::all(size), Marks::all(size));
    let mut share: Vec<u8> = Vec::new();
    for round in 0..=rounds {
        place(d, &changed, out);
        let bad = failing(out, size, &judged, &keeps);
        if bad.is_empty() {
            return true;
        }
        if round == rounds {
            break;
        }
        share.clear();
        share.resize(n, WHOLE);
        lower(&bad, size, &mut share);
        changed.around(&bad, REACH as usize);
        judged.around(&bad, REACH as usize + 1);
        let least = least(round);
        let factors: Vec<T> = (0..=WHOLE)
            .map(|share| f64::from(share) / f64::from(WHOLE))
            .map(|share| T::of(least + (1.0 - least) * share))
            .collect();
        let shared = Shared::new(d);
        (0..n / size[0]).into_par_iter().for_each(|row| {
            for run in changed.runs(row) {
                for at in row * size[0] + run.start..row * size[0] + run.end {
                    let factor = factors[usize::from(share[at])];
                    for a in 0..size.len() {
                        // SAFETY: inside the field; each task its own row.
                        unsafe { *shared.at(a * n + at) *= factor };
                    }
                }
            }
        });
    }
    false
}

/// All voxels with a corner determinant of `smallest` or less, in order.
pub(super) fn all_folded<T: Real>(u: &[T], size: &[usize], smallest: f64) -> Vec<usize> {
    failing(
        u,
        size,
        &Marks::all(size),
        &(smallest, |_, determinant| determinant > smallest),
    )
}

/// A share for every voxel: 0 at the given ones, rising to [`WHOLE`] over four voxels around them.
pub(super) fn stamped(bad: &[usize], size: &[usize]) -> Vec<u8> {
    let mut share = vec![WHOLE; size.iter().product()];
    lower(bad, size, &mut share);
    share
}

/// The marked voxels where `keeps` does not hold, in order.
fn failing<T: Real>(
    u: &[T],
    size: &[usize],
    marks: &Marks,
    (sure, keeps): &(f64, impl Fn(usize, f64) -> bool + Sync),
) -> Vec<usize> {
    let field = Lines::new(u, size);
    let lines: usize = size[1..].iter().product();
    let runs: Vec<Vec<usize>> = (0..lines.div_ceil(16))
        .into_par_iter()
        .map_init(
            || vec![T::of(0.0); size[0]],
            |buffer, run| {
                let mut bad = Vec::new();
                for line in run * 16..((run + 1) * 16).min(lines) {
                    for run in marks.runs(line) {
                        let out = &mut buffer[..run.len()];
                        field.measure(Measure::Corners, line, run.clone(), out);
                        if out.iter().fold(true, |all, v| all & (v.wide() > *sure)) {
                            continue;
                        }
                        let first = line * size[0] + run.start;
                        let fails = |(x, v): (usize, &T)| {
                            (!keeps(first + x, v.wide())).then_some(first + x)
                        };
                        bad.extend(out.iter().enumerate().filter_map(fails));
                    }
                }
                bad
            },
        )
        .collect();
    runs.concat()
}

/// Lowers the shares around voxels: nothing there, rising to [`WHOLE`] over four voxels.
fn lower(voxels: &[usize], size: &[usize], share: &mut [u8]) {
    let mut cube = [[[WHOLE; EDGE]; EDGE]; EDGE];
    for (dz, plane) in (-REACH..).zip(&mut cube) {
        for (dy, row) in (-REACH..).zip(plane) {
            for (dx, here) in (-REACH..).zip(row) {
                let distance = ((dx * dx + dy * dy + dz * dz) as f64).sqrt();
                let ramp = ((distance - 1.0).max(0.0) / REACH as f64).min(1.0);
                *here = (f64::from(WHOLE) * ramp).round() as u8;
            }
        }
    }
    let [nx, ny, nz] =
        [size[0], size[1], size.get(2).copied().unwrap_or(1)].map(|size| size as isize);
    for &v in voxels {
        let v = v as isize;
        let (x, y, z) = (v % nx, v / nx % ny, v / nx / ny);
        let (first, last) = ((x - REACH).max(0), (x + REACH).min(nx - 1));
        for k in (z - REACH).max(0)..=(z + REACH).min(nz - 1) {
            for j in (y - REACH).max(0)..=(y + REACH).min(ny - 1) {
                let row = (k * ny + j) * nx;
                let shares = &mut share[(row + first) as usize..=(row + last) as usize];
                let from = &cube[(k - z + REACH) as usize][(j - y + REACH) as usize];
                let from = &from[(first - x + REACH) as usize..];
                for (share, here) in shares.iter_mut().zip(from) {
                    *share = (*share).min(*here);
                }
            }
        }
    }
}
