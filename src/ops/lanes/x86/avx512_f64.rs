//! Eight doubles to a register: AVX-512.

use std::arch::x86_64::*;

use crate::ops::lanes::{Lanes, Places};

/// The four doubles at place `k` and those at place `k + 4`.
#[inline(always)]
unsafe fn couple(from: *const f64, place: &[u32; 16], k: usize) -> __m512d {
    // SAFETY: the caller has AVX-512, and four doubles at both places.
    unsafe {
        let low = _mm256_loadu_pd(from.add(place[k] as usize));
        let high = _mm256_loadu_pd(from.add(place[k + 4] as usize));
        _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high)
    }
}

/// 8 `f64` in one register.
#[derive(Clone, Copy)]
pub struct Avx512F64(__m512d);

impl Lanes for Avx512F64 {
    type Element = f64;
    type Index = __m256i;
    const COUNT: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_set1_pd(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_loadu_pd(from)) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f64, count: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm512_maskz_loadu_pd(
                ((1u32 << count) - 1) as __mmask8,
                from,
            ))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f64, count: usize) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_mask_storeu_pd(to, ((1u32 << count) - 1) as __mmask8, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_add_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_sub_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_mul_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_div_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_min_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_max_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_fmadd_pd(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_roundscale_pd::<9>(self.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_sqrt_pd(self.0)) }
    }
    #[inline(always)]
    unsafe fn equals(self, other: Self) -> bool {
        // SAFETY: the trait's contract.
        unsafe { _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(self.0, other.0) == u8::MAX }
    }
    #[inline(always)]
    unsafe fn where_equal(self, other: Self, then: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm512_maskz_mov_pd(
                _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(self.0, other.0),
                then.0,
            ))
        }
    }
    #[inline(always)]
    unsafe fn every_second(self, next: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
            Self(_mm512_permutex2var_pd(self.0, even, next.0))
        }
    }
    #[inline(always)]
    unsafe fn ramp() -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_setr_pd(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)) }
    }
    #[inline(always)]
    unsafe fn index(self) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_cvttpd_epi32(self.0) }
    }
    #[inline(always)]
    unsafe fn index_splat(value: i32) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn index_add(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn index_mul(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_mullo_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn gather(from: *const f64, at: __m256i) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_i32gather_pd::<8>(at, from)) }
    }
    #[inline(always)]
    unsafe fn gather_four(from: *const f64, places: &Places) -> [Self; 4] {
        // SAFETY: the trait's contract.
        unsafe {
            let place = places.words();
            let first = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
            let second = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
            // places k and k + 4 side by side
            let a = couple(from, place, 0);
            let b = couple(from, place, 1);
            let c = couple(from, place, 2);
            let d = couple(from, place, 3);
            let (even, odd) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
            let (even_on, odd_on) = (_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
            [
                Self(_mm512_permutex2var_pd(even, first, even_on)),
                Self(_mm512_permutex2var_pd(odd, first, odd_on)),
                Self(_mm512_permutex2var_pd(even, second, even_on)),
                Self(_mm512_permutex2var_pd(odd, second, odd_on)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn from_singles(from: *const f32, count: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let narrow = if count == Self::COUNT {
                _mm256_loadu_ps(from)
            } else {
                _mm256_maskz_loadu_ps(((1u32 << count) - 1) as __mmask8, from)
            };
            Self(_mm512_cvtps_pd(narrow))
        }
    }
    #[inline(always)]
    unsafe fn to_singles(self, to: *mut f32, count: usize) {
        // SAFETY: the trait's contract.
        unsafe {
            let narrow = _mm512_cvtpd_ps(self.0);
            if count == Self::COUNT {
                _mm256_storeu_ps(to, narrow);
            } else {
                _mm256_mask_storeu_ps(to, ((1u32 << count) - 1) as __mmask8, narrow);
            }
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        let mut lanes = [0.0; 8];
        // SAFETY: the array has as many elements as the register.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes.iter().sum()
    }
}
