//! Lanes of the x86-64 vector extensions.

use std::arch::x86_64::*;

use half::f16;

use super::{HalfStorage, Lanes, Places};

mod octets;

/// The pairs of floats at four places of each row, each fetched as one double. Single loads are three times as fast as the
/// gather instructions of the machines this was measured on; all rows at once need each place once.
#[inline(always)]
unsafe fn quartets<const ROWS: usize>(
    rows: [*const f32; ROWS],
    place: &[u32; 16],
    k: usize,
) -> [__m256d; ROWS] {
    // SAFETY: the caller has AVX2, and pairs at all places.
    unsafe {
        let (a, b) = (place[k] as usize, place[k + 1] as usize);
        let (c, d) = (place[k + 2] as usize, place[k + 3] as usize);
        let mut quartets = [_mm256_setzero_pd(); ROWS];
        for r in 0..ROWS {
            let low = _mm_load_sd(rows[r].add(a).cast());
            let low = _mm_loadh_pd(low, rows[r].add(b).cast());
            let high = _mm_load_sd(rows[r].add(c).cast());
            let high = _mm_loadh_pd(high, rows[r].add(d).cast());
            quartets[r] = _mm256_insertf128_pd::<1>(_mm256_castpd128_pd256(low), high);
        }
        quartets
    }
}

/// The pairs of floats at eight places of each row.
#[inline(always)]
unsafe fn octets<const ROWS: usize>(
    rows: [*const f32; ROWS],
    place: &[u32; 16],
    k: usize,
) -> [__m512; ROWS] {
    // SAFETY: the caller has AVX-512, and pairs at all places.
    unsafe {
        let low = quartets(rows, place, k);
        let high = quartets(rows, place, k + 4);
        let mut octets = [_mm512_setzero_ps(); ROWS];
        for r in 0..ROWS {
            let wide = _mm512_castpd256_pd512(low[r]);
            octets[r] = _mm512_castpd_ps(_mm512_insertf64x4::<1>(wide, high[r]));
        }
        octets
    }
}

/// The four doubles at place `k` and those at place `k + 4`.
#[inline(always)]
unsafe fn couple(from: *const f64, place: &[i32; 8], k: usize) -> __m512d {
    // SAFETY: the caller has AVX-512, and four doubles at both places.
    unsafe {
        let low = _mm256_loadu_pd(from.offset(place[k] as isize));
        let high = _mm256_loadu_pd(from.offset(place[k + 4] as isize));
        _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high)
    }
}

/// The sums of the lanes of four vectors.
#[inline(always)]
unsafe fn totals_of_octets(v: [__m256; 4]) -> [f32; 4] {
    // SAFETY: the caller has AVX2.
    unsafe {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
        let low = _mm256_castps256_ps128(pairs);
        let mut totals = [0.0; 4];
        _mm_storeu_ps(
            totals.as_mut_ptr(),
            _mm_add_ps(low, _mm256_extractf128_ps::<1>(pairs)),
        );
        totals
    }
}

/// 16 `f32` in one register.
#[derive(Clone, Copy)]
pub struct Avx512F32(__m512);

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
            let place = places.settled();
            let low = octets(rows, place, 0);
            let high = octets(rows, place, 8);
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
    unsafe fn octet_part(from: *const f32, places: &Places, k: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(octets::pair(from, places.words(), k)) }
    }
    #[inline(always)]
    unsafe fn of_octet_part(self, k: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(octets::of_pair(self.0, k)) }
    }
    #[inline(always)]
    unsafe fn by_element(parts: [Self; 8]) -> [Self; 8] {
        // SAFETY: the trait's contract.
        unsafe { octets::pairs_by_element(parts) }
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
    unsafe fn gather_four(from: *const f64, at: __m256i) -> [Self; 4] {
        // SAFETY: the trait's contract.
        unsafe {
            let mut place = [0i32; 8];
            _mm256_storeu_si256(place.as_mut_ptr().cast(), at);
            // places k and k + 4 side by side
            let a = couple(from, &place, 0);
            let b = couple(from, &place, 1);
            let c = couple(from, &place, 2);
            let d = couple(from, &place, 3);
            let (even, odd) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
            let (even_on, odd_on) = (_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
            let first = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
            let second = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
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

/// The mask of the first `count` of eight lanes.
#[inline(always)]
unsafe fn part_f32(count: usize) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        _mm256_cmpgt_epi32(
            _mm256_set1_epi32(count as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        )
    }
}

/// The mask of the first `count` of four lanes.
#[inline(always)]
unsafe fn part_f64(count: usize) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        _mm256_cmpgt_epi64(
            _mm256_set1_epi64x(count as i64),
            _mm256_setr_epi64x(0, 1, 2, 3),
        )
    }
}

/// The mask of the first `count` of four single lanes.
#[inline(always)]
unsafe fn part_of_four(count: usize) -> __m128i {
    // SAFETY: the caller has AVX2.
    unsafe { _mm_cmpgt_epi32(_mm_set1_epi32(count as i32), _mm_setr_epi32(0, 1, 2, 3)) }
}

/// 8 `f32` in one register.
#[derive(Clone, Copy)]
pub struct Avx2F32(__m256);

impl Lanes for Avx2F32 {
    type Element = f32;
    type Index = __m256i;
    const COUNT: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_maskload_ps(from, part_f32(count))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_maskstore_ps(to, part_f32(count), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_floor_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn where_equal(self, other: Self, then: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm256_and_ps(
                _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0),
                then.0,
            ))
        }
    }
    #[inline(always)]
    unsafe fn one_on(self, next: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let (here, next) = (_mm256_castps_si256(self.0), _mm256_castps_si256(next.0));
            let between = _mm256_permute2x128_si256::<0x21>(here, next);
            Self(_mm256_castsi256_ps(_mm256_alignr_epi8::<4>(between, here)))
        }
    }
    #[inline(always)]
    unsafe fn one_back(self, previous: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let (here, back) = (_mm256_castps_si256(self.0), _mm256_castps_si256(previous.0));
            let between = _mm256_permute2x128_si256::<0x21>(back, here);
            Self(_mm256_castsi256_ps(_mm256_alignr_epi8::<12>(here, between)))
        }
    }
    #[inline(always)]
    unsafe fn ramp() -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_setr_ps(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)) }
    }
    #[inline(always)]
    unsafe fn index(self) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_cvttps_epi32(self.0) }
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
    unsafe fn gather(from: *const f32, at: __m256i) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_i32gather_ps::<4>(from, at)) }
    }
    #[inline(always)]
    unsafe fn gather_pairs<const ROWS: usize>(
        rows: [*const f32; ROWS],
        places: &Places,
    ) -> [(Self, Self); ROWS] {
        // SAFETY: the trait's contract.
        unsafe {
            let place = places.settled();
            let (first, second) = (quartets(rows, place, 0), quartets(rows, place, 4));
            let mut pairs = [(Self::splat(0.0), Self::splat(0.0)); ROWS];
            for r in 0..ROWS {
                let (low, high) = (_mm256_castpd_ps(first[r]), _mm256_castpd_ps(second[r]));
                // even and odd floats of each half, then the halves in order
                let even = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(low, high));
                let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0b11_01_11_01>(low, high));
                let even = _mm256_permute4x64_pd::<0b11_01_10_00>(even);
                let odd = _mm256_permute4x64_pd::<0b11_01_10_00>(odd);
                pairs[r] = (Self(_mm256_castpd_ps(even)), Self(_mm256_castpd_ps(odd)));
            }
            pairs
        }
    }
    #[inline(always)]
    unsafe fn octet_part(from: *const f32, places: &Places, k: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(octets::one(from, places.words(), k)) }
    }
    #[inline(always)]
    unsafe fn of_octet_part(self, k: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(octets::of_one(self.0, k)) }
    }
    #[inline(always)]
    unsafe fn by_element(parts: [Self; 8]) -> [Self; 8] {
        // SAFETY: the trait's contract.
        unsafe { octets::ones_by_element(parts) }
    }
    #[inline(always)]
    unsafe fn totals(v: [Self; 4]) -> [f32; 4] {
        // SAFETY: the trait's contract.
        unsafe { totals_of_octets([v[0].0, v[1].0, v[2].0, v[3].0]) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        let mut lanes = [0.0; 8];
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

/// 4 `f64` in one register.
#[derive(Clone, Copy)]
pub struct Avx2F64(__m256d);

impl Lanes for Avx2F64 {
    type Element = f64;
    type Index = __m128i;
    const COUNT: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_set1_pd(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_loadu_pd(from)) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f64, count: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_maskload_pd(from, part_f64(count))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f64, count: usize) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_maskstore_pd(to, part_f64(count), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_add_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_sub_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_mul_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_div_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_min_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_max_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_fmadd_pd(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_floor_pd(self.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_sqrt_pd(self.0)) }
    }
    #[inline(always)]
    unsafe fn where_equal(self, other: Self, then: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm256_and_pd(
                _mm256_cmp_pd::<_CMP_EQ_OQ>(self.0, other.0),
                then.0,
            ))
        }
    }
    #[inline(always)]
    unsafe fn ramp() -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_setr_pd(0.0, 1.0, 2.0, 3.0)) }
    }
    #[inline(always)]
    unsafe fn index(self) -> __m128i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_cvttpd_epi32(self.0) }
    }
    #[inline(always)]
    unsafe fn index_splat(value: i32) -> __m128i {
        // SAFETY: the trait's contract.
        unsafe { _mm_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn index_add(a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: the trait's contract.
        unsafe { _mm_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn index_mul(a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: the trait's contract.
        unsafe { _mm_mullo_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn gather(from: *const f64, at: __m128i) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_i32gather_pd::<8>(from, at)) }
    }
    #[inline(always)]
    unsafe fn gather_four(from: *const f64, at: __m128i) -> [Self; 4] {
        // SAFETY: the trait's contract.
        unsafe {
            let mut place = [0i32; 4];
            _mm_storeu_si128(place.as_mut_ptr().cast(), at);
            let a = _mm256_loadu_pd(from.offset(place[0] as isize));
            let b = _mm256_loadu_pd(from.offset(place[1] as isize));
            let c = _mm256_loadu_pd(from.offset(place[2] as isize));
            let d = _mm256_loadu_pd(from.offset(place[3] as isize));
            let (even, odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let (even_on, odd_on) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
            [
                Self(_mm256_permute2f128_pd::<0x20>(even, even_on)),
                Self(_mm256_permute2f128_pd::<0x20>(odd, odd_on)),
                Self(_mm256_permute2f128_pd::<0x31>(even, even_on)),
                Self(_mm256_permute2f128_pd::<0x31>(odd, odd_on)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn from_singles(from: *const f32, count: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            if count == Self::COUNT {
                Self(_mm256_cvtps_pd(_mm_loadu_ps(from)))
            } else {
                Self(_mm256_cvtps_pd(_mm_maskload_ps(from, part_of_four(count))))
            }
        }
    }
    #[inline(always)]
    unsafe fn to_singles(self, to: *mut f32, count: usize) {
        // SAFETY: the trait's contract.
        unsafe {
            let narrow = _mm256_cvtpd_ps(self.0);
            if count == Self::COUNT {
                _mm_storeu_ps(to, narrow);
            } else {
                _mm_maskstore_ps(to, part_of_four(count), narrow);
            }
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        let mut lanes = [0.0; 4];
        // SAFETY: the array has as many elements as the register.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes.iter().sum()
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

impl HalfStorage for Avx2F32 {
    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        unsafe { Self(_mm256_cvtph_ps(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_half_part(from: *const f16, count: usize) -> Self {
        unsafe {
            let mut lanes = [f16::ZERO; 8];
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load_half(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_half(self, to: *mut f16) {
        unsafe { _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<0>(self.0)) }
    }
    #[inline(always)]
    unsafe fn store_half_part(self, to: *mut f16, count: usize) {
        unsafe {
            let mut lanes = [f16::ZERO; 8];
            self.store_half(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
    #[inline(always)]
    unsafe fn gather_half(from: *const f16, at: __m256i) -> Self {
        unsafe {
            let mut index = [0i32; 8];
            _mm256_storeu_si256(index.as_mut_ptr().cast(), at);
            let mut lanes = [f16::ZERO; 8];
            for k in 0..8 {
                lanes[k] = *from.offset(index[k] as isize);
            }
            Self::load_half(lanes.as_ptr())
        }
    }
}
