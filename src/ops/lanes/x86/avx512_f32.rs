//! Sixteen floats to a register: AVX-512.

use std::arch::x86_64::*;

use half::f16;

use super::{pairs_of_halves, quartets, totals_of_octets};
use crate::ops::lanes::{HalfStorage, Lanes, Places};

/// The pairs of floats at eight places of each row.
#[inline(always)]
unsafe fn eight_pairs<const ROWS: usize>(
    rows: [*const f32; ROWS],
    place: &[u32; 16],
    k: usize,
) -> [__m512; ROWS] {
    // SAFETY: the caller has AVX-512, and pairs at all places.
    unsafe {
        let low = quartets(rows, place, k);
        let high = quartets(rows, place, k + 4);
        let mut pairs = [_mm512_setzero_ps(); ROWS];
        for r in 0..ROWS {
            let wide = _mm512_castpd256_pd512(low[r]);
            pairs[r] = _mm512_castpd_ps(_mm512_insertf64x4::<1>(wide, high[r]));
        }
        pairs
    }
}

/// The four floats at every fourth place from the `k`-th on, side by side.
#[inline(always)]
unsafe fn every_fourth(from: *const f32, place: &[u32; 16], k: usize) -> __m512 {
    // SAFETY: the caller has AVX-512, and four floats at all places.
    unsafe {
        let four = _mm_loadu_ps(from.add(place[k] as usize));
        let eight = _mm512_castps128_ps512(four);
        let four = _mm_loadu_ps(from.add(place[k + 4] as usize));
        let eight = _mm512_insertf32x4::<1>(eight, four);
        let four = _mm_loadu_ps(from.add(place[k + 8] as usize));
        let twelve = _mm512_insertf32x4::<2>(eight, four);
        let four = _mm_loadu_ps(from.add(place[k + 12] as usize));
        _mm512_insertf32x4::<3>(twelve, four)
    }
}

/// 16 `f32` in one register.
#[derive(Clone, Copy)]
pub struct Avx512F32(pub(super) __m512);

impl Lanes for Avx512F32 {
    type Element = f32;
    type Index = __m512i;
    const COUNT: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm512_maskz_loadu_ps(
                ((1u32 << count) - 1) as __mmask16,
                from,
            ))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_mask_storeu_ps(to, ((1u32 << count) - 1) as __mmask16, self.0) }
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the trait's contract; aligned where that is asked for.
        unsafe {
            if to.addr().is_multiple_of(64) {
                _mm512_stream_ps(to, self.0);
            } else {
                self.store(to);
            }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_roundscale_ps::<9>(self.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn equals(self, other: Self) -> bool {
        // SAFETY: the trait's contract.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0) == u16::MAX }
    }
    #[inline(always)]
    unsafe fn where_equal(self, other: Self, then: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm512_maskz_mov_ps(
                _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0),
                then.0,
            ))
        }
    }
    #[inline(always)]
    unsafe fn one_on(self, next: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm512_castsi512_ps(_mm512_alignr_epi32::<1>(
                _mm512_castps_si512(next.0),
                _mm512_castps_si512(self.0),
            )))
        }
    }
    #[inline(always)]
    unsafe fn one_back(self, previous: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm512_castsi512_ps(_mm512_alignr_epi32::<15>(
                _mm512_castps_si512(self.0),
                _mm512_castps_si512(previous.0),
            )))
        }
    }
    #[inline(always)]
    unsafe fn every_second(self, next: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            Self(_mm512_permutex2var_ps(self.0, even, next.0))
        }
    }
    #[inline(always)]
    unsafe fn ramp() -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm512_setr_ps(
                0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0,
                15.0,
            ))
        }
    }
    #[inline(always)]
    unsafe fn index(self) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_cvttps_epi32(self.0) }
    }
    #[inline(always)]
    unsafe fn index_splat(value: i32) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn index_add(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn index_mul(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_mullo_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn gather(from: *const f32, at: __m512i) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm512_i32gather_ps::<4>(at, from)) }
    }
    #[inline(always)]
    unsafe fn gather_pairs<const ROWS: usize>(
        rows: [*const f32; ROWS],
        places: &Places,
    ) -> [(Self, Self); ROWS] {
        // SAFETY: the trait's contract.
        unsafe {
            let place = places.words();
            let low = eight_pairs(rows, place, 0);
            let high = eight_pairs(rows, place, 8);
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
            let mut pairs = [(Self::splat(0.0), Self::splat(0.0)); ROWS];
            for r in 0..ROWS {
                pairs[r] = (
                    Self(_mm512_permutex2var_ps(low[r], even, high[r])),
                    Self(_mm512_permutex2var_ps(low[r], odd, high[r])),
                );
            }
            pairs
        }
    }
    #[inline(always)]
    unsafe fn gather_pairs_of_halves<const ROWS: usize>(
        rows: [*const f16; ROWS],
        places: &Places,
    ) -> [(Self, Self); ROWS] {
        // SAFETY: the trait's contract.
        unsafe {
            let place = places.words();
            let mut pairs = [(Self::splat(0.0), Self::splat(0.0)); ROWS];
            for r in 0..ROWS {
                let low = _mm256_set_m128i(
                    pairs_of_halves(rows[r], place, 4),
                    pairs_of_halves(rows[r], place, 0),
                );
                let high = _mm256_set_m128i(
                    pairs_of_halves(rows[r], place, 12),
                    pairs_of_halves(rows[r], place, 8),
                );
                let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
                let second = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(both));
                pairs[r] = (
                    Self(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(both))),
                    Self(_mm512_cvtph_ps(second)),
                );
            }
            pairs
        }
    }
    #[inline(always)]
    unsafe fn gather_four(from: *const f32, places: &Places) -> [Self; 4] {
        // SAFETY: the trait's contract.
        unsafe {
            let place = places.words();
            let a = every_fourth(from, place, 0);
            let b = every_fourth(from, place, 1);
            let c = every_fourth(from, place, 2);
            let d = every_fourth(from, place, 3);
            let (low, high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (low_on, high_on) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (low, high) = (_mm512_castps_pd(low), _mm512_castps_pd(high));
            let (low_on, high_on) = (_mm512_castps_pd(low_on), _mm512_castps_pd(high_on));
            [
                Self(_mm512_castpd_ps(_mm512_unpacklo_pd(low, low_on))),
                Self(_mm512_castpd_ps(_mm512_unpackhi_pd(low, low_on))),
                Self(_mm512_castpd_ps(_mm512_unpacklo_pd(high, high_on))),
                Self(_mm512_castpd_ps(_mm512_unpackhi_pd(high, high_on))),
            ]
        }
    }
    #[inline(always)]
    unsafe fn totals(v: [Self; 4]) -> [f32; 4] {
        // SAFETY: the trait's contract.
        unsafe {
            let mut halves = [_mm256_setzero_ps(); 4];
            for k in 0..4 {
                halves[k] = _mm256_add_ps(
                    _mm512_castps512_ps256(v[k].0),
                    _mm512_extractf32x8_ps::<1>(v[k].0),
                );
            }
            totals_of_octets(halves)
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        let mut lanes = [0.0; 16];
        // SAFETY: the array has as many elements as the register.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes.iter().map(|&v| f64::from(v)).sum()
    }
    #[inline(always)]
    unsafe fn from_halves(from: *const f16, count: usize) -> Self {
        unsafe {
            if count == Self::COUNT {
                Self::load_half(from)
            } else {
                Self::load_half_part(from, count)
            }
        }
    }
    #[inline(always)]
    unsafe fn stream_halves(self, to: *mut f16) {
        // SAFETY: the trait's contract.
        unsafe { self.stream_half(to) }
    }
    #[inline(always)]
    unsafe fn to_halves(self, to: *mut f16, count: usize) {
        unsafe {
            if count == Self::COUNT {
                self.store_half(to);
            } else {
                self.store_half_part(to, count);
            }
        }
    }
}

impl HalfStorage for Avx512F32 {
    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        // SAFETY: the trait's contract, here and below.
        unsafe { Self(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_half_part(from: *const f16, count: usize) -> Self {
        unsafe {
            let mask = ((1u32 << count) - 1) as __mmask16;
            Self(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from.cast())))
        }
    }
    #[inline(always)]
    unsafe fn store_half(self, to: *mut f16) {
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<0>(self.0)) }
    }
    #[inline(always)]
    unsafe fn stream_half(self, to: *mut f16) {
        unsafe {
            if to.addr().is_multiple_of(32) {
                _mm256_stream_si256(to.cast(), _mm512_cvtps_ph::<0>(self.0));
            } else {
                self.store_half(to);
            }
        }
    }
    #[inline(always)]
    unsafe fn store_half_part(self, to: *mut f16, count: usize) {
        unsafe {
            let mask = ((1u32 << count) - 1) as __mmask16;
            _mm256_mask_storeu_epi16(to.cast(), mask, _mm512_cvtps_ph::<0>(self.0));
        }
    }
    #[inline(always)]
    unsafe fn gather_half(from: *const f16, at: __m512i) -> Self {
        unsafe {
            let mut index = [0i32; 16];
            _mm512_storeu_si512(index.as_mut_ptr().cast(), at);
            let mut lanes = [f16::ZERO; 16];
            for k in 0..16 {
                lanes[k] = *from.offset(index[k] as isize);
            }
            Self::load_half(lanes.as_ptr())
        }
    }
}
