//! Where the lanes of a vector lie in memory.

use super::Lanes;

/// An index a lane, kept in memory: loads fetch them from there one by one faster than out of a register.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Places([u32; 16]);

impl Places {
    /// No place yet.
    pub(crate) const NONE: Self = Self([0; 16]);

    /// Those of so many rows that begin `step` elements after each other; the others are those of the last row.
    pub(crate) fn rows(step: usize, count: usize) -> Self {
        Self(std::array::from_fn(|k| (k.min(count - 1) * step) as u32))
    }

    /// The places of a vector of indices, none of them negative.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn of<L: Lanes>(index: L::Index) -> Self {
        let mut places = Self::NONE;
        // SAFETY: no index vector is larger than 16 words.
        unsafe {
            places
                .0
                .as_mut_ptr()
                .cast::<L::Index>()
                .write_unaligned(index)
        };
        places
    }

    /// The places one by one.
    #[inline(always)]
    pub(crate) fn words(&self) -> &[u32; 16] {
        &self.0
    }

    /// As a vector of indices.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn index<L: Lanes>(&self) -> L::Index {
        // SAFETY: no index vector is larger than 16 words.
        unsafe { self.0.as_ptr().cast::<L::Index>().read_unaligned() }
    }
}
