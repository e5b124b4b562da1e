//! Pages of the system.

/// Addresses that pages can be put behind as they are touched, `(start, length)`: as many as the system grants of those
/// asked for, at least a sixteenth; aligned to `align`.
#[cfg(unix)]
pub(super) fn reserve(length: usize, align: usize) -> Option<(usize, usize)> {
    for part in 0..5 {
        let length = length >> part;
        // SAFETY: a new mapping, which nothing else knows.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length + align,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            continue;
        }
        let start = (start as usize).next_multiple_of(align);
        #[cfg(target_os = "linux")]
        // SAFETY: within the mapping; a hint, which may fail.
        unsafe {
            libc::madvise(start as *mut _, length, libc::MADV_HUGEPAGE);
        }
        return Some((start, length));
    }
    None
}

#[cfg(not(unix))]
pub(super) fn reserve(_length: usize, _align: usize) -> Option<(usize, usize)> {
    None
}

/// What came of pages that were to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// They stay where they are.
    No,
    /// They are behind the other addresses; their own are without pages and can be used again.
    Yes,
    /// They are behind the other addresses; their own are lost.
    ForGood,
}

/// Moves pages behind other addresses with what they hold, without a byte being copied; what was there is given back.
///
/// # Safety
/// Both stretches are multiples of the page size in a mapping of [`reserve`], apart, and nobody needs what either holds.
#[cfg(target_os = "linux")]
pub(super) unsafe fn carry(from: usize, to: usize, length: usize) -> Moved {
    // SAFETY: the caller's promise; the hole that is left is mapped again before anybody else learns of it.
    unsafe {
        let moved = libc::mremap(
            from as *mut _,
            length,
            length,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            to as *mut libc::c_void,
        );
        if moved == libc::MAP_FAILED {
            return Moved::No;
        }
        let hole = libc::mmap(
            from as *mut _,
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        );
        if hole as usize != from {
            return Moved::ForGood;
        }
        libc::madvise(from as *mut _, length, libc::MADV_HUGEPAGE);
        Moved::Yes
    }
}

/// Elsewhere pages stay.
///
/// # Safety
/// None is needed.
#[cfg(not(target_os = "linux"))]
pub(super) unsafe fn carry(_from: usize, _to: usize, _length: usize) -> Moved {
    Moved::No
}

/// Gives pages back; they read as zero when they are touched again. Returns whether that is so.
///
/// # Safety
/// The pages lie in a mapping of [`reserve`], and nobody needs what they hold.
#[cfg(target_os = "linux")]
pub(super) unsafe fn give_back(start: usize, length: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { libc::madvise(start as *mut _, length, libc::MADV_DONTNEED) == 0 }
}

/// Elsewhere the pages stay as they are.
///
/// # Safety
/// None is needed.
#[cfg(not(target_os = "linux"))]
pub(super) unsafe fn give_back(_start: usize, _length: usize) -> bool {
    false
}
