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
