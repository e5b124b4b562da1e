//! Moments of channels and what is made of them, chunk by chunk.

use rayon::prelude::*;

use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::Shared;

/// Elements of a chunk: read twice, the second time from the cache.
const CHUNK: usize = 4096;

/// Mean and sum of squared deviations of so many elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    pub count: f64,
    pub mean: f64,
    pub squares: f64,
}

impl Moments {
    /// Of both sets together (Chan, Golub and LeVeque 1983).
    fn joined(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let gap = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + gap * other.count / count,
            squares: self.squares + other.squares + gap * gap * self.count * other.count / count,
        }
    }
}

/// The moments of each run of `length` elements.
pub(super) fn moments<T: Real>(x: &[T], length: usize) -> Vec<Moments> {
    per_chunk(x.len() / length, length, |_, chunk| {
        dispatch(Moment { x: &x[chunk] })
    })
    .into_iter()
    .map(|parts| {
        let none = Moments {
            count: 0.0,
            mean: 0.0,
            squares: 0.0,
        };
        parts.into_iter().fold(none, Moments::joined)
    })
    .collect()
}

/// Calls `work` with the number of each run of `length` elements and the range of each of its chunks.
fn per_chunk<R: Send>(
    runs: usize,
    length: usize,
    work: impl Fn(usize, std::ops::Range<usize>) -> R + Sync,
) -> Vec<Vec<R>> {
    let chunks = length.div_ceil(CHUNK);
    let mut parts: Vec<R> = (0..runs * chunks)
        .into_par_iter()
        .with_min_len(4)
        .map(|at| {
            let (run, chunk) = (at / chunks, at % chunks);
            let start = run * length + chunk * CHUNK;
            work(run, start..(start + CHUNK).min((run + 1) * length))
        })
        .collect();
    let mut grouped = Vec::with_capacity(runs);
    for _ in 0..runs {
        let rest = parts.split_off(chunks);
        grouped.push(std::mem::replace(&mut parts, rest));
    }
    grouped
}

struct Moment<'a, T> {
    x: &'a [T],
}

impl<T: Real> Kernel<T> for Moment<'_, T> {
    type Output = Moments;

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> Moments {
        let n = self.x.len();
        // SAFETY: partial vectors stay within the slice.
        unsafe {
            let mut sum = L::splat(T::of(0.0));
            let mut at = 0;
            while at < n {
                let count = (n - at).min(L::COUNT);
                sum = sum.add(L::load_some(self.x.as_ptr().add(at), count));
                at += count;
            }
            let mean = T::of(sum.sum() / n as f64);
            let centre = L::splat(mean);
            let (mut rest, mut squares) = (L::splat(T::of(0.0)), L::splat(T::of(0.0)));
            at = 0;
            while at + L::COUNT <= n {
                let v = L::load(self.x.as_ptr().add(at)).sub(centre);
                rest = rest.add(v);
                squares = v.fma(v, squares);
                at += L::COUNT;
            }
            let (mut rest, mut squares) = (rest.sum(), squares.sum());
            for &v in &self.x[at..] {
                let v = (v - mean).wide();
                rest += v;
                squares += v * v;
            }
            // the mean was rounded: move to the true one
            let shift = rest / n as f64;
            Moments {
                count: n as f64,
                mean: mean.wide() + shift,
                squares: squares - shift * rest,
            }
        }
    }
}

/// What a run of elements is multiplied with once `centre` is taken off, and what is added then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaling {
    pub centre: f64,
    pub factor: f64,
    pub offset: f64,
}

/// `max(z, slope z)` with `z = factor (x - centre) + offset`, a scaling for each run of `length` elements.
pub(super) fn activate<T: Real>(
    x: &[T],
    length: usize,
    scale: &[Scaling],
    slope: f64,
    out: Shared<T>,
) {
    per_chunk(scale.len(), length, |run, range| {
        dispatch(Activate {
            x: &x[range.clone()],
            scale: scale[run],
            slope,
            // SAFETY: the range lies inside the output, which is as long as the input.
            out: unsafe { out.at(range.start) },
        });
    });
}

struct Activate<'a, T> {
    x: &'a [T],
    scale: Scaling,
    slope: f64,
    out: *mut T,
}

impl<T: Real> Kernel<T> for Activate<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let n = self.x.len();
        // SAFETY: partial vectors stay within the chunk.
        unsafe {
            let Scaling {
                centre,
                factor,
                offset,
            } = self.scale;
            let (centre, a, b) = (
                L::constant(centre),
                L::constant(factor),
                L::constant(offset),
            );
            let slope = L::constant(self.slope);
            let mut at = 0;
            while at < n {
                let count = (n - at).min(L::COUNT);
                let x = L::load_some(self.x.as_ptr().add(at), count);
                let z = x.sub(centre).fma(a, b);
                z.max(z.mul(slope)).store_some(self.out.add(at), count);
                at += count;
            }
        }
    }
}

/// The sums over each run of `d` and `d (x - centre)`, where `d` is the cotangent of `z` (see [`activate`]).
pub(super) fn cotangent_sums<T: Real>(
    x: &[T],
    g: &[T],
    length: usize,
    scale: &[Scaling],
    slope: f64,
) -> Vec<[f64; 2]> {
    per_chunk(scale.len(), length, |run, range| {
        dispatch(Back {
            x: &x[range.clone()],
            g: &g[range],
            scale: scale[run],
            slope,
            result: None,
        })
    })
    .into_iter()
    .map(|parts| {
        parts
            .iter()
            .fold([0.0; 2], |sum, part| [sum[0] + part[0], sum[1] + part[1]])
    })
    .collect()
}

/// `p d + q (x - centre) + r` with three factors for each run.
pub(super) fn cotangent<T: Real>(
    x: &[T],
    g: &[T],
    length: usize,
    scale: &[Scaling],
    slope: f64,
    factors: &[[f64; 3]],
    out: Shared<T>,
) {
    per_chunk(scale.len(), length, |run, range| {
        dispatch(Back {
            x: &x[range.clone()],
            g: &g[range.clone()],
            scale: scale[run],
            slope,
            // SAFETY: the range lies inside the output, which is as long as the input.
            result: Some((factors[run], unsafe { out.at(range.start) })),
        });
    });
}

struct Back<'a, T> {
    x: &'a [T],
    g: &'a [T],
    scale: Scaling,
    slope: f64,
    /// Factors and where the results go; sums alone where there is none.
    result: Option<([f64; 3], *mut T)>,
}

impl<T: Real> Kernel<T> for Back<'_, T> {
    type Output = [f64; 2];

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> [f64; 2] {
        let n = self.x.len();
        // SAFETY: partial vectors stay within the chunk; what lies beyond counts as a cotangent of zero.
        unsafe {
            let Scaling {
                centre,
                factor,
                offset,
            } = self.scale;
            let (centre, a, b) = (
                L::constant(centre),
                L::constant(factor),
                L::constant(offset),
            );
            let slope = L::constant(self.slope);
            let rest = L::constant(1.0 - self.slope);
            let mut sums = [L::splat(T::of(0.0)); 2];
            let mut at = 0;
            while at < n {
                let count = (n - at).min(L::COUNT);
                let x = L::load_some(self.x.as_ptr().add(at), count).sub(centre);
                let g = L::load_some(self.g.as_ptr().add(at), count);
                let z = x.fma(a, b);
                let above = z.where_equal(z.max(z.mul(slope)), g.mul(rest));
                let d = g.fma(slope, above);
                match self.result {
                    Some((f, out)) => d
                        .fma(
                            L::constant(f[0]),
                            x.fma(L::constant(f[1]), L::constant(f[2])),
                        )
                        .store_some(out.add(at), count),
                    None => {
                        sums[0] = sums[0].add(d);
                        sums[1] = d.fma(x, sums[1]);
                    }
                }
                at += count;
            }
            [sums[0].sum(), sums[1].sum()]
        }
    }
}
