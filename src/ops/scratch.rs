//! Memory that a thread keeps between tasks: to fault in fresh pages costs more than to fill them.

use std::cell::Cell;

use super::real::Real;

thread_local! {
    static MEMORY: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Calls `work` with `length` elements that hold whatever was left in them.
pub(super) fn with_scratch<T: Real, R>(length: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    const { assert!(size_of::<T>() <= 8 && align_of::<T>() <= 8) };
    // taken out meanwhile: a task that runs within another finds none and makes its own
    let mut memory = MEMORY.take();
    let words = (length * size_of::<T>()).div_ceil(8);
    if memory.len() < words {
        memory.resize(words, 0);
    }
    // SAFETY: the words are initialised and hold so many elements, for which any bits will do.
    let elements = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), length) };
    let result = work(elements);
    MEMORY.set(memory);
    result
}
