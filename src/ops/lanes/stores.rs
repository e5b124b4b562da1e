//! How results are stored.

use half::f16;

use super::Lanes;

/// Bytes of a result from which on it is stored past the caches: they would not hold it until it is read, and would first
/// read what is overwritten. Measured.
const LARGE: usize = 24 << 20;

/// Whether results go past the caches, where the machine can do so.
#[derive(Clone, Copy)]
pub(crate) struct Stores {
    past: bool,
}

impl Stores {
    /// For a result of so many bytes, which is not read before all of it is there.
    pub(crate) fn of(bytes: usize) -> Self {
        Self {
            past: bytes >= LARGE,
        }
    }

    /// Whether the caches are to hold what is stored.
    #[inline(always)]
    pub(crate) fn cached(self) -> bool {
        !self.past
    }

    /// Stores the first `count` lanes.
    ///
    /// # Safety
    /// Within a kernel, to valid elements; the task calls [`Stores::settle`] at its end.
    #[inline(always)]
    pub(crate) unsafe fn put<L: Lanes>(self, lanes: L, to: *mut L::Element, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.past && count == L::COUNT {
                lanes.stream(to);
            } else {
                lanes.store_some(to, count);
            }
        }
    }

    /// Stores the first `count` lanes as halves.
    ///
    /// # Safety
    /// As [`Stores::put`].
    #[inline(always)]
    pub(crate) unsafe fn put_halves<L: Lanes>(self, lanes: L, to: *mut f16, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.past && count == L::COUNT {
                lanes.stream_halves(to);
            } else {
                lanes.to_halves(to, count);
            }
        }
    }

    /// Makes what was stored visible to other threads.
    #[inline(always)]
    pub(crate) fn settle(self) {
        #[cfg(target_arch = "x86_64")]
        if self.past {
            // SAFETY: an instruction of every x86-64.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
    }
}
