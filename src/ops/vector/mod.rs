//! Sums and products of whole tensors, in place, with double-precision sums in a fixed order.

#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::{DType, Tensor};
use half::f16;
use rayon::prelude::*;

use super::device::twin;
use super::lanes::{dispatch, Kernel, Lanes};
use super::real::Real;
use super::rows::{for_rows, sum_over_rows, Shared};
use super::storage::{read, with_stored, write};
use super::zeros::zeros;
use crate::{Error, Result};

/// Elements that one row of the parallel loops takes.
const ROW: usize = 1024;

/// `y = a x + b y`, in place.
pub(crate) fn combine(a: f64, x: &Tensor, b: f64, y: &Tensor) -> Result<()> {
    twin!(x, launcher => cuda::combine(&launcher, a, x, b, y));
    with_stored!(x.dtype(), T => {
        read::<T, _>(x, |x| {
            write::<T, _>(y, |y| {
                assert_eq!(x.len(), y.len());
                let out = Shared::new(y);
                for_rows(x.len().div_ceil(ROW), ROW, |rows| {
                    let range = rows.start * ROW..(rows.end * ROW).min(x.len());
                    dispatch(Combine { a, b, x, out, range });
                });
            })
        })?
    })
}

struct Combine<'a, T> {
    a: f64,
    b: f64,
    x: &'a [T],
    out: Shared<T>,
    range: std::ops::Range<usize>,
}

impl<T: Real> Kernel<T> for Combine<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: the range lies within both slices.
        unsafe {
            let (a, b) = (L::constant(self.a), L::constant(self.b));
            let mut at = self.range.start;
            while at < self.range.end {
                let count = (self.range.end - at).min(L::COUNT);
                let (x, y) = (self.x.as_ptr().add(at), self.out.at(at));
                if count == L::COUNT {
                    L::load(x).fma(a, L::load(y).mul(b)).store(y);
                } else {
                    L::load_part(x, count)
                        .fma(a, L::load_part(y, count).mul(b))
                        .store_part(y, count);
                }
                at += count;
            }
        }
    }
}

/// `x' y`.
pub(crate) fn dot(x: &Tensor, y: &Tensor) -> Result<f64> {
    twin!(x, launcher => cuda::dot(&launcher, x, y));
    // two read locks on one tensor are allowed
    with_stored!(x.dtype(), T => {
        read::<T, _>(x, |x| {
            read::<T, _>(y, |y| {
                assert_eq!(x.len(), y.len());
                let [sum] = sum_over_rows(x.len().div_ceil(ROW), ROW, |rows| {
                    let range = rows.start * ROW..(rows.end * ROW).min(x.len());
                    [x[range.clone()].iter().zip(&y[range]).map(|(a, b)| a.wide() * b.wide()).sum()]
                });
                sum
            })
        })?
    })
}

/// `to = factor * from`, converting between the floating types.
pub(crate) fn convert(factor: f64, from: &Tensor, to: &Tensor) -> Result<()> {
    // in the longer of the two types
    twin!(if to.dtype() == DType::F64 { to } else { from }, launcher => {
        cuda::scale(&launcher, factor, from, to)
    });
    match (from.dtype(), to.dtype()) {
        (DType::F32, DType::F16) => {
            return read::<f32, _>(from, |x| {
                write::<f16, _>(to, |y| {
                    assert_eq!(x.len(), y.len());
                    halved(factor, x.len(), Way::Narrow(x, Shared::new(y)));
                })
            })?;
        }
        (DType::F16, DType::F32) => {
            return read::<f16, _>(from, |x| {
                write::<f32, _>(to, |y| {
                    assert_eq!(x.len(), y.len());
                    halved(factor, x.len(), Way::Widen(x, Shared::new(y)));
                })
            })?;
        }
        _ => {}
    }
    with_stored!(from.dtype(), S => with_stored!(to.dtype(), T => {
        read::<S, _>(from, |x| {
            write::<T, _>(to, |y| {
                assert_eq!(x.len(), y.len());
                let out = Shared::new(y);
                for_rows(x.len().div_ceil(ROW), ROW, |rows| {
                    let range = rows.start * ROW..(rows.end * ROW).min(x.len());
                    dispatch(Convert { factor, x, out, range });
                });
            })
        })?
    }))
}

/// Largest magnitudes of tensors that halves hold: below, their steps of 6e-8 are no longer small beside it.
const HELD: std::ops::RangeInclusive<f32> = 1e-4..=65504.0;

/// The elements of a tensor of single precision as halves.
///
/// # Errors
/// [`Error::Data`] for `what` when they are too large or too small for them.
pub(crate) fn halves(what: &str, x: &Tensor) -> Result<Tensor> {
    let largest = read::<f32, _>(x, |x| {
        let chunks = x.par_chunks(ROW);
        let largest = chunks.map(|chunk| chunk.iter().fold(0f32, |most, v| most.max(v.abs())));
        largest.reduce(|| 0.0, f32::max)
    })?;
    if largest > 0.0 && !HELD.contains(&largest) {
        let (low, high) = (HELD.start(), HELD.end());
        return Err(Error::data(
            what,
            format!("has values up to {largest:e}, and half precision needs {low:e} to {high}; keep single precision"),
        ));
    }
    let halves = zeros(x.dims(), DType::F16, x.device())?;
    convert(1.0, x, &halves)?;
    Ok(halves)
}

/// Between single and half precision, by the conversions of the instruction set.
#[derive(Clone, Copy)]
enum Way<'a> {
    Narrow(&'a [f32], Shared<f16>),
    Widen(&'a [f16], Shared<f32>),
}

fn halved(factor: f64, count: usize, way: Way<'_>) {
    for_rows(count.div_ceil(ROW), ROW, |rows| {
        let range = rows.start * ROW..(rows.end * ROW).min(count);
        dispatch(Halved { factor, way, range });
    });
}

struct Halved<'a> {
    factor: f64,
    way: Way<'a>,
    range: std::ops::Range<usize>,
}

impl Kernel<f32> for Halved<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = f32>>(self) {
        // SAFETY: the range lies within both tensors, which are of one length.
        unsafe {
            let factor = L::constant(self.factor);
            let mut at = self.range.start;
            while at < self.range.end {
                let count = (self.range.end - at).min(L::COUNT);
                match self.way {
                    Way::Narrow(x, out) => L::load_some(x.as_ptr().add(at), count)
                        .mul(factor)
                        .to_halves(out.at(at), count),
                    Way::Widen(x, out) => L::from_halves(x.as_ptr().add(at), count)
                        .mul(factor)
                        .store_some(out.at(at), count),
                }
                at += count;
            }
        }
    }
}

/// `to = from`, converting between the floating types.
pub(crate) fn copy(from: &Tensor, to: &Tensor) -> Result<()> {
    convert(1.0, from, to)
}

struct Convert<'a, S, T> {
    factor: f64,
    x: &'a [S],
    out: Shared<T>,
    range: std::ops::Range<usize>,
}

impl<S: Real, T: Real> Kernel<S> for Convert<'_, S, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = S>>(self) {
        // plain code: the compiler vectorises it with the instruction set of the kernel
        for at in self.range.clone() {
            let value = self.x[at].wide() * self.factor;
            // SAFETY: the range lies within the output.
            unsafe { *self.out.at(at) = T::of(value) };
        }
    }
}

/// Sets every element to zero.
pub(crate) fn clear(x: &Tensor) -> Result<()> {
    twin!(x, launcher => cuda::fill(&launcher, 0.0, x));
    with_stored!(x.dtype(), T => write::<T, _>(x, |x| {
        let (zero, count) = (T::of(0.0), x.len());
        let out = Shared::new(x);
        for_rows(count.div_ceil(ROW), ROW, |rows| {
            for at in rows.start * ROW..(rows.end * ROW).min(count) {
                // SAFETY: inside the tensor; each task its own rows.
                unsafe { *out.at(at) = zero };
            }
        });
    }))
}
