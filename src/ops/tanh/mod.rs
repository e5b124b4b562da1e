//! The hyperbolic tangent of every element.

#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;

use super::device::twin;
use super::lanes::{dispatch, Kernel, Lanes};
use super::real::Real;
use super::recorded::record;
use super::rows::{for_rows, Shared};
use super::storage::{read, with_real, write};
use crate::Result;

/// Elements that one row of the parallel loops takes.
const ROW: usize = 1024;
/// Beyond this the result is one in double precision too.
const END: f64 = 20.0;
/// The argument is halved so often, the result doubled back by `tanh 2y = 2 tanh y / (1 + tanh^2 y)`.
const HALVINGS: i32 = 4;
/// Terms of Lambert's continued fraction, `y / (1 + y^2 / (3 + y^2 / (5 + ...)))`: enough for double precision at `END` halved.
const TERMS: usize = 10;

/// The hyperbolic tangent of every element, with its derivative; NaN for infinite ones.
///
/// # Errors
/// [`Error::Tensor`](crate::Error::Tensor) for other elements than single or double precision.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    let still = x.detach().contiguous()?;
    let value = pass(&still, None)?;
    let of = value.clone();
    record("tanh", x, value, move |g| tanh_pull_back(&of, g))
}

/// The cotangent of what [`tanh`] made `value` of, both contiguous.
pub(crate) fn tanh_pull_back(value: &Tensor, cotangent: &Tensor) -> Result<Tensor> {
    pass(value, Some(cotangent))
}

/// The tangent of `x`, or a cotangent taken back at the tangent `x`.
fn pass(x: &Tensor, cotangent: Option<&Tensor>) -> Result<Tensor> {
    twin!(x, launcher => cuda::pass(&launcher, x, cotangent));
    let out = Tensor::zeros(x.shape(), x.dtype(), x.device())?;
    with_real!(x.dtype(), T => {
        read::<T, _>(x, |x| {
            let with = |cotangent: Option<&[T]>| {
                write::<T, _>(&out, |out| {
                    assert!(cotangent.is_none_or(|g| g.len() == x.len()), "cotangent");
                    let out = Shared::new(out);
                    for_rows(x.len().div_ceil(ROW), ROW, |rows| {
                        let range = rows.start * ROW..(rows.end * ROW).min(x.len());
                        dispatch(Pass { x, cotangent, out, range });
                    });
                })
            };
            match cotangent {
                Some(g) => read::<T, _>(g, |g| with(Some(g)))?,
                None => with(None),
            }
        })?
    })?;
    Ok(out)
}

struct Pass<'a, T> {
    x: &'a [T],
    cotangent: Option<&'a [T]>,
    out: Shared<T>,
    range: std::ops::Range<usize>,
}

impl<T: Real> Kernel<T> for Pass<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: the range lies within all slices, and each task writes its own.
        unsafe {
            let mut at = self.range.start;
            while at < self.range.end {
                let count = (self.range.end - at).min(L::COUNT);
                let x = L::load_some(self.x.as_ptr().add(at), count);
                let value = match self.cotangent {
                    Some(g) => {
                        let g = L::load_some(g.as_ptr().add(at), count);
                        g.mul(L::constant(1.0).sub(x.mul(x)))
                    }
                    None => tangent(x),
                };
                value.store_some(self.out.at(at), count);
                at += count;
            }
        }
    }
}

#[inline(always)]
unsafe fn tangent<L: Lanes>(x: L) -> L {
    // SAFETY: within a kernel.
    unsafe {
        let one = L::constant(1.0);
        let y = x
            .max(L::constant(-END))
            .min(L::constant(END))
            .mul(L::constant(0.5f64.powi(HALVINGS)));
        let square = y.mul(y);
        // numerators and denominators of the fraction cut after one term more each time
        let (mut above, mut top) = (L::constant(0.0), one);
        let (mut below, mut bottom) = (one, one);
        for term in 1..TERMS {
            let odd = L::constant((2 * term + 1) as f64);
            (above, top) = (top, odd.fma(top, square.mul(above)));
            (below, bottom) = (bottom, odd.fma(bottom, square.mul(below)));
        }
        let mut t = y.mul(top.div(bottom));
        for _ in 0..HALVINGS {
            t = t.add(t).div(t.fma(t, one));
        }
        // the bounds would hide what is no number
        t.add(x.sub(x))
    }
}
