//! One axis of a separable filter.

use rayon::prelude::*;

use super::Table;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;

/// Elements of a contiguous run that a task filters at once along a slower axis.
const RUN: usize = 2048;

/// Filters along the axis whose neighbours lie `inner` elements apart.
pub(super) fn along_axis<T: Real>(x: &[T], inner: usize, table: &Table, out: &mut [T]) {
    let weights: Vec<T> = table.weights().iter().map(|&w| T::of(w)).collect();
    let (inputs, outputs) = (table.inputs(), table.outputs());
    assert_eq!(x.len() / inputs, out.len() / outputs);
    if inner == 1 {
        out.par_chunks_mut(outputs)
            .with_min_len((8192 / outputs).max(1))
            .zip(x.par_chunks(inputs))
            .for_each(|(out, x)| {
                dispatch(Line {
                    x,
                    table,
                    weights: &weights,
                    out,
                });
            });
    } else {
        // one task a slab of one output index: reads `taps` slabs, writes one
        out.par_chunks_mut(inner).enumerate().for_each(|(at, out)| {
            let (outer, o) = (at / outputs, at % outputs);
            let first = (outer * inputs + table.start()[o] as usize) * inner;
            for (run, out) in out.chunks_mut(RUN).enumerate() {
                dispatch(Slab {
                    x: &x[first + run * RUN..],
                    inner,
                    taps: table.taps(),
                    weights: &weights[o..],
                    stride: outputs,
                    out,
                });
            }
        });
    }
}

/// Whether windows begin one element after the other, as those of filters that keep the grid do within it.
#[inline(always)]
fn follow(starts: &[i32]) -> bool {
    let mut gaps = 0;
    for (k, &start) in starts.iter().enumerate() {
        gaps |= start - starts[0] - k as i32;
    }
    gaps == 0
}

struct Line<'a, T> {
    x: &'a [T],
    table: &'a Table,
    weights: &'a [T],
    out: &'a mut [T],
}

impl<T: Real> Kernel<T> for Line<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let outputs = self.out.len();
        let start = self.table.start();
        let mut o = 0;
        // SAFETY: starts plus taps stay within the line; partial loads and stores stay within the tables.
        unsafe {
            while o + L::COUNT <= outputs {
                let mut sum = L::splat(T::of(0.0));
                if follow(&start[o..o + L::COUNT]) {
                    let from = self.x.as_ptr().add(start[o] as usize);
                    for k in 0..self.table.taps() {
                        let w = L::load(self.weights.as_ptr().add(k * outputs + o));
                        sum = L::load(from.add(k)).fma(w, sum);
                    }
                } else {
                    let mut lanes = [T::of(0.0); 16];
                    for (lane, s) in lanes.iter_mut().zip(&start[o..o + L::COUNT]) {
                        *lane = T::of(f64::from(*s));
                    }
                    let at = L::load(lanes.as_ptr()).index();
                    for k in 0..self.table.taps() {
                        let w = L::load(self.weights.as_ptr().add(k * outputs + o));
                        sum = L::gather(self.x.as_ptr().add(k), at).fma(w, sum);
                    }
                }
                sum.store(self.out.as_mut_ptr().add(o));
                o += L::COUNT;
            }
        }
        for o in o..outputs {
            let mut sum = T::of(0.0);
            for k in 0..self.table.taps() {
                sum += self.weights[k * outputs + o] * self.x[start[o] as usize + k];
            }
            self.out[o] = sum;
        }
    }
}

struct Slab<'a, T> {
    x: &'a [T],
    inner: usize,
    taps: usize,
    weights: &'a [T],
    stride: usize,
    out: &'a mut [T],
}

impl<T: Real> Kernel<T> for Slab<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let length = self.out.len();
        assert!((self.taps - 1) * self.inner + length <= self.x.len());
        let mut at = 0;
        // SAFETY: just asserted.
        unsafe {
            while at < length {
                let count = (length - at).min(L::COUNT);
                let mut sum = L::splat(T::of(0.0));
                for k in 0..self.taps {
                    let from = self.x.as_ptr().add(k * self.inner + at);
                    let v = if count == L::COUNT {
                        L::load(from)
                    } else {
                        L::load_part(from, count)
                    };
                    sum = v.fma(L::splat(self.weights[k * self.stride]), sum);
                }
                let to = self.out.as_mut_ptr().add(at);
                if count == L::COUNT {
                    sum.store(to);
                } else {
                    sum.store_part(to, count);
                }
                at += count;
            }
        }
    }
}
