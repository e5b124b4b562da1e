//! What lanes are read from.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{Lanes, Places};
use crate::ops::real::Real;

/// An element in memory that lanes of another can be read from: their own, or a half of it.
pub(crate) trait Source<T: Real>: Real {
    /// The first `count` lanes, by the fastest way; the others are zero.
    ///
    /// # Safety
    /// Within a kernel only; the elements are there, here and below.
    unsafe fn load<L: Lanes<Element = T>>(from: *const Self, count: usize) -> L;
    /// The elements at some places.
    unsafe fn at<L: Lanes<Element = T>>(from: *const Self, places: &Places) -> L;
    /// The elements at the same places of several rows, and those after them.
    unsafe fn pairs<L: Lanes<Element = T>, const ROWS: usize>(
        rows: [*const Self; ROWS],
        places: &Places,
    ) -> [(L, L); ROWS];
    /// As what they are where they need no conversion.
    fn own(values: &[Self]) -> Option<&[T]>;
    /// A row as it is computed with, which `room` may hold.
    fn row<'a>(row: &'a [Self], room: &'a mut Vec<T>) -> &'a [T];
}

impl<T: Real> Source<T> for T {
    #[inline(always)]
    unsafe fn load<L: Lanes<Element = T>>(from: *const T, count: usize) -> L {
        // SAFETY: the caller's promise, here and below.
        unsafe { L::load_some(from, count) }
    }
    #[inline(always)]
    unsafe fn at<L: Lanes<Element = T>>(from: *const T, places: &Places) -> L {
        unsafe { L::gather(from, places.index::<L>()) }
    }
    #[inline(always)]
    unsafe fn pairs<L: Lanes<Element = T>, const ROWS: usize>(
        rows: [*const T; ROWS],
        places: &Places,
    ) -> [(L, L); ROWS] {
        unsafe { L::gather_pairs(rows, places) }
    }
    fn own(values: &[T]) -> Option<&[T]> {
        Some(values)
    }
    #[inline(always)]
    fn row<'a>(row: &'a [T], _: &'a mut Vec<T>) -> &'a [T] {
        row
    }
}

impl Source<f32> for f16 {
    #[inline(always)]
    unsafe fn load<L: Lanes<Element = f32>>(from: *const f16, count: usize) -> L {
        // SAFETY: the caller's promise, here and below.
        unsafe { L::from_halves(from, count) }
    }
    #[inline(always)]
    unsafe fn at<L: Lanes<Element = f32>>(from: *const f16, places: &Places) -> L {
        let mut lanes = [0.0; 16];
        unsafe {
            for k in 0..L::COUNT {
                lanes[k] = (*from.add(places.words()[k] as usize)).to_f32();
            }
            L::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn pairs<L: Lanes<Element = f32>, const ROWS: usize>(
        rows: [*const f16; ROWS],
        places: &Places,
    ) -> [(L, L); ROWS] {
        unsafe { L::gather_pairs_of_halves(rows, places) }
    }
    fn own(_: &[f16]) -> Option<&[f32]> {
        None
    }
    #[inline(always)]
    fn row<'a>(row: &'a [f16], room: &'a mut Vec<f32>) -> &'a [f32] {
        room.resize(row.len(), 0.0);
        row.convert_to_f32_slice(room);
        room
    }
}
