//! The adjoint of the warp: every fixed voxel hands its cotangent to the moving voxels it was made of.
//!
//! Tasks own slabs of the moving grid and walk over the fixed rows that reach them, in order: whatever the slabs, a
//! moving voxel adds up its shares in the order of the fixed rows, and in one order within a row.

mod channels;
mod reach;
mod runs;
mod slab;
mod taps;

use rayon::prelude::*;

use reach::Reach;
use slab::Slab;

use super::Place;
use crate::ops::lanes::dispatch;
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};
use crate::ops::scratch::with_scratch;

/// Planes of a slab at least: rows on the border of two slabs are walked twice.
const PLANES: usize = 8;
/// Planes of a slab at most where its channels are interleaved in memory of its own.
const INTERLEAVED: usize = 12;
/// From so many channels on they are interleaved.
const MANY: usize = 4;
/// Lanes of the widest vector.
const WIDEST: usize = 16;

/// What a fixed voxel hands on: `cotangent` by the weights of the interpolation and, where `along` gives a step of the
/// displacement and a second cotangent, that one by the derivative of the weights along the step.
#[derive(Clone, Copy)]
pub(super) struct Shares<'a, T> {
    /// What all shares are multiplied by.
    pub factor: T,
    pub cotangent: &'a [T],
    pub along: Option<(&'a [T], &'a [T])>,
}

/// `out` holds zeros before.
pub(super) fn scatter<T: Real>(place: &Place<'_>, u: &[T], shares: Shares<'_, T>, out: &mut [T]) {
    if place.fixed.len() == 2 {
        ranked::<T, 2>(place, u, shares, out);
    } else {
        ranked::<T, 3>(place, u, shares, out);
    }
}

fn ranked<T: Real, const D: usize>(
    place: &Place<'_>,
    u: &[T],
    shares: Shares<'_, T>,
    out: &mut [T],
) {
    let cotangent = shares.cotangent;
    let frame = place.frame::<T, D>();
    let (n, m) = (frame.voxels(), frame.moving.iter().product::<usize>());
    let channels = out.len() / m;
    assert_eq!(u.len(), n * D, "displacement");
    assert!(
        cotangent.len() == channels * n && out.len() == channels * m,
        "cotangent"
    );
    if let Some((step, second)) = shares.along {
        assert_eq!(step.len(), n * D, "step");
        assert_eq!(second.len(), cotangent.len(), "second cotangent");
    }
    let mut reach = vec![[0; 2]; frame.rows()];
    let shared = Shared::new(&mut reach);
    for_rows(frame.rows(), frame.fixed[0], |rows| {
        dispatch(Reach {
            frame: &frame,
            interpolation: place.interpolation,
            u,
            rows,
            out: shared,
        });
    });
    let planes = frame.moving[D - 1];
    let slab = planes.div_ceil(4 * rayon::current_num_threads()).clamp(
        PLANES,
        if channels < MANY { planes } else { INTERLEAVED }.max(PLANES),
    );
    let plane: usize = frame.moving[..D - 1].iter().product();
    let out = Shared::new(out);
    (0..planes.div_ceil(slab)).into_par_iter().for_each(|s| {
        let (first, end) = (s * slab, ((s + 1) * slab).min(planes));
        let interleaved = if channels < MANY {
            0
        } else {
            (end - first) * plane * WIDEST
        };
        with_scratch::<T, _>(interleaved, |memory| {
            dispatch(Slab {
                frame: &frame,
                interpolation: place.interpolation,
                u,
                shares,
                channels,
                reach: &reach,
                first,
                end,
                memory,
                out,
            });
        });
    });
}
