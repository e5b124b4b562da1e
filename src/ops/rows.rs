//! Rows of a volume in parallel, with sums that do not depend on the number of threads.

use rayon::prelude::*;

/// Voxels that one task takes: a fixed share, so that sums are grouped the same way at any number of threads.
const CHUNK: usize = 8192;

/// Calls `work` for consecutive runs of rows and adds up what it returns, in order.
///
/// A row is a line of `width` voxels along the fastest axis, `rows` their number over all slower axes.
pub(crate) fn sum_over_rows<const K: usize>(
    rows: usize,
    width: usize,
    work: impl Fn(std::ops::Range<usize>) -> [f64; K] + Sync,
) -> [f64; K] {
    let run = (CHUNK / width.max(1)).max(1);
    let parts: Vec<[f64; K]> = (0..rows.div_ceil(run))
        .into_par_iter()
        .map(|c| work(c * run..((c + 1) * run).min(rows)))
        .collect();
    parts.iter().fold([0.0; K], |sum, part| {
        std::array::from_fn(|k| sum[k] + part[k])
    })
}

/// Calls `work` for consecutive runs of rows.
pub(crate) fn for_rows(rows: usize, width: usize, work: impl Fn(std::ops::Range<usize>) + Sync) {
    let _: [f64; 0] = sum_over_rows(rows, width, |run| {
        work(run);
        []
    });
}

/// A pointer that tasks may share, each writing rows of its own.
pub(crate) struct Shared<T>(*mut T);

// SAFETY: whoever writes through the pointer promises that tasks write disjoint elements.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}

impl<T> Shared<T> {
    /// Shares a slice between tasks.
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// Shares memory that is yet to be written.
    pub(crate) fn of(pointer: *mut T) -> Self {
        Self(pointer)
    }

    /// Shares what is only read, beside what is written.
    pub(crate) fn of_const(pointer: *const T) -> Self {
        Self(pointer.cast_mut())
    }

    /// The pointer to element `at`.
    ///
    /// # Safety
    /// `at` lies inside the slice.
    #[inline(always)]
    pub(crate) unsafe fn at(self, at: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(at) }
    }

    /// What lies from element `at` on.
    ///
    /// # Safety
    /// `at` lies inside the slice.
    pub(crate) unsafe fn skip(self, at: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.0.add(at) })
    }
}
