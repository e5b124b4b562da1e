//! Vectors that compute in single precision and live in memory as halves.

use half::f16;

use super::Lanes;

/// Single-precision lanes that can be loaded from and stored to halves.
pub trait HalfStorage: Lanes<Element = f32> {
    unsafe fn load_half(from: *const f16) -> Self;
    unsafe fn load_half_part(from: *const f16, count: usize) -> Self;
    unsafe fn store_half(self, to: *mut f16);
    unsafe fn store_half_part(self, to: *mut f16, count: usize);
    #[inline(always)]
    unsafe fn stream_half(self, to: *mut f16) {
        // SAFETY: the caller's promise.
        unsafe { self.store_half(to) }
    }
    unsafe fn gather_half(from: *const f16, at: Self::Index) -> Self;
}

/// Lanes of halves: half the traffic of single precision at its arithmetic.
#[derive(Clone, Copy)]
pub struct Halves<V>(V);

impl<V: HalfStorage> Lanes for Halves<V> {
    type Element = f16;
    type Index = V::Index;
    const COUNT: usize = V::COUNT;

    #[inline(always)]
    unsafe fn splat(value: f16) -> Self {
        // SAFETY: the trait's contract, here and below.
        unsafe { Self(V::splat(value.to_f32())) }
    }
    #[inline(always)]
    unsafe fn constant(value: f64) -> Self {
        unsafe { Self(V::splat(value as f32)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f16) -> Self {
        unsafe { Self(V::load_half(from)) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f16, count: usize) -> Self {
        unsafe { Self(V::load_half_part(from, count)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f16) {
        unsafe { self.0.store_half(to) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f16, count: usize) {
        unsafe { self.0.store_half_part(to, count) }
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f16) {
        unsafe { self.0.stream_half(to) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(self.0.add(other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { Self(self.0.sub(other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Self(self.0.mul(other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Self(self.0.div(other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        unsafe { Self(self.0.fma(b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn one_on(self, next: Self) -> Self {
        unsafe { Self(self.0.one_on(next.0)) }
    }
    #[inline(always)]
    unsafe fn one_back(self, previous: Self) -> Self {
        unsafe { Self(self.0.one_back(previous.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { Self(self.0.min(other.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { Self(self.0.max(other.0)) }
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        unsafe { Self(self.0.floor()) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        unsafe { Self(self.0.sqrt()) }
    }
    #[inline(always)]
    unsafe fn where_equal(self, other: Self, then: Self) -> Self {
        unsafe { Self(self.0.where_equal(other.0, then.0)) }
    }
    #[inline(always)]
    unsafe fn ramp() -> Self {
        unsafe { Self(V::ramp()) }
    }
    #[inline(always)]
    unsafe fn index(self) -> V::Index {
        unsafe { self.0.index() }
    }
    #[inline(always)]
    unsafe fn index_splat(value: i32) -> V::Index {
        unsafe { V::index_splat(value) }
    }
    #[inline(always)]
    unsafe fn index_add(a: V::Index, b: V::Index) -> V::Index {
        unsafe { V::index_add(a, b) }
    }
    #[inline(always)]
    unsafe fn index_mul(a: V::Index, b: V::Index) -> V::Index {
        unsafe { V::index_mul(a, b) }
    }
    #[inline(always)]
    unsafe fn gather(from: *const f16, at: V::Index) -> Self {
        unsafe { Self(V::gather_half(from, at)) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        unsafe { self.0.sum() }
    }
}
