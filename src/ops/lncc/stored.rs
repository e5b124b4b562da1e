//! Elements that are computed with as doubles.

use crate::ops::lanes::Lanes;
use crate::ops::real::Real;

/// An element type whose values fill lanes of doubles.
pub(super) trait Stored: Real {
    /// The first `count` lanes; the others are zero.
    ///
    /// # Safety
    /// As [`Lanes::load_some`].
    unsafe fn get<L: Lanes<Element = f64>>(from: *const Self, count: usize) -> L;
    /// Stores the first `count` lanes.
    ///
    /// # Safety
    /// As [`Lanes::store_some`].
    unsafe fn put<L: Lanes<Element = f64>>(lanes: L, to: *mut Self, count: usize);
}

impl Stored for f32 {
    #[inline(always)]
    unsafe fn get<L: Lanes<Element = f64>>(from: *const f32, count: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::from_singles(from, count) }
    }
    #[inline(always)]
    unsafe fn put<L: Lanes<Element = f64>>(lanes: L, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { lanes.to_singles(to, count) }
    }
}

impl Stored for f64 {
    #[inline(always)]
    unsafe fn get<L: Lanes<Element = f64>>(from: *const f64, count: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_some(from, count) }
    }
    #[inline(always)]
    unsafe fn put<L: Lanes<Element = f64>>(lanes: L, to: *mut f64, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { lanes.store_some(to, count) }
    }
}
