//! Lanes as plain arrays, for machines without the vector instructions.

use half::f16;

use super::{HalfStorage, Lanes};
use crate::ops::real::Real;

/// `N` elements in an array.
#[derive(Clone, Copy)]
pub struct Plain<T, const N: usize>([T; N]);

impl<T: Real, const N: usize> Plain<T, N> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|k| f(self.0[k], other.0[k])))
    }
}

impl<T: Real, const N: usize> Lanes for Plain<T, N> {
    type Element = T;
    type Index = [i32; N];
    const COUNT: usize = N;

    #[inline(always)]
    unsafe fn splat(value: T) -> Self {
        Self([value; N])
    }
    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller's promise.
        Self(std::array::from_fn(|k| unsafe { *from.add(k) }))
    }
    #[inline(always)]
    unsafe fn load_part(from: *const T, count: usize) -> Self {
        Self(std::array::from_fn(|k| {
            if k < count {
                // SAFETY: the caller's promise.
                unsafe { *from.add(k) }
            } else {
                T::of(0.0)
            }
        }))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        for k in 0..N {
            // SAFETY: the caller's promise.
            unsafe { *to.add(k) = self.0[k] };
        }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut T, count: usize) {
        for k in 0..count.min(N) {
            // SAFETY: the caller's promise.
            unsafe { *to.add(k) = self.0[k] };
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|k| self.0[k] * b.0[k] + c.0[k]))
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        Self(self.0.map(|a| {
            // positions are clamped to the grid before, so they fit an i32
            let whole = T::of(f64::from(a.wide() as i32));
            if whole > a {
                whole - T::of(1.0)
            } else {
                whole
            }
        }))
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        Self(self.0.map(|a| T::of(a.wide().sqrt())))
    }
    #[inline(always)]
    unsafe fn where_equal(self, other: Self, then: Self) -> Self {
        Self(std::array::from_fn(|k| {
            if self.0[k] == other.0[k] {
                then.0[k]
            } else {
                T::of(0.0)
            }
        }))
    }
    #[inline(always)]
    unsafe fn ramp() -> Self {
        Self(std::array::from_fn(|k| T::of(k as f64)))
    }
    #[inline(always)]
    unsafe fn index(self) -> [i32; N] {
        self.0.map(|a| a.wide() as i32)
    }
    #[inline(always)]
    unsafe fn index_splat(value: i32) -> [i32; N] {
        [value; N]
    }
    #[inline(always)]
    unsafe fn index_add(a: [i32; N], b: [i32; N]) -> [i32; N] {
        std::array::from_fn(|k| a[k] + b[k])
    }
    #[inline(always)]
    unsafe fn index_mul(a: [i32; N], b: [i32; N]) -> [i32; N] {
        std::array::from_fn(|k| a[k] * b[k])
    }
    #[inline(always)]
    unsafe fn gather(from: *const T, at: [i32; N]) -> Self {
        // SAFETY: the caller's promise.
        Self(at.map(|i| unsafe { *from.offset(i as isize) }))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        self.0.iter().map(|v| v.wide()).sum()
    }
}

impl<const N: usize> HalfStorage for Plain<f32, N> {
    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        // SAFETY: the caller's promise, here and below.
        Self(std::array::from_fn(|k| unsafe { (*from.add(k)).to_f32() }))
    }
    #[inline(always)]
    unsafe fn load_half_part(from: *const f16, count: usize) -> Self {
        Self(std::array::from_fn(|k| {
            if k < count {
                unsafe { (*from.add(k)).to_f32() }
            } else {
                0.0
            }
        }))
    }
    #[inline(always)]
    unsafe fn store_half(self, to: *mut f16) {
        unsafe { self.store_half_part(to, N) }
    }
    #[inline(always)]
    unsafe fn store_half_part(self, to: *mut f16, count: usize) {
        for k in 0..count.min(N) {
            unsafe { *to.add(k) = f16::from_f32(self.0[k]) };
        }
    }
    #[inline(always)]
    unsafe fn gather_half(from: *const f16, at: [i32; N]) -> Self {
        Self(at.map(|i| unsafe { (*from.offset(i as isize)).to_f32() }))
    }
}
