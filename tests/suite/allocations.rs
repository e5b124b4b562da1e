//! An allocator that remembers the largest block a thread asked for, and how many large ones.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

struct Watching(mimalloc::MiMalloc);

#[global_allocator]
static ALLOCATOR: Watching = Watching(mimalloc::MiMalloc);

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// A size, and how many blocks of at least this size were asked for.
    static LARGE: Cell<(usize, usize)> = const { Cell::new((usize::MAX, 0)) };
}

fn note(bytes: usize) {
    // A thread that is ending has no counter any more.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
    let _ = LARGE.try_with(|large| {
        let (size, count) = large.get();
        large.set((size, count + usize::from(bytes >= size)));
    });
}

// SAFETY: every call is handed on to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as promised by the caller.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as promised by the caller.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as promised by the caller.
        unsafe { self.0.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { self.0.dealloc(block, layout) }
    }
}

/// What `work` returns, and the largest block that this thread asked for meanwhile.
pub fn largest_during<T>(work: impl FnOnce() -> T) -> (T, usize) {
    LARGEST.with(|largest| largest.set(0));
    let result = work();
    (result, LARGEST.with(Cell::get))
}

/// What `work` returns, and how many blocks of at least `size` bytes this thread asked for meanwhile.
pub fn blocks_during<T>(size: usize, work: impl FnOnce() -> T) -> (T, usize) {
    LARGE.with(|large| large.set((size, 0)));
    let result = work();
    (result, LARGE.with(|large| large.replace((usize::MAX, 0))).1)
}

#[test]
fn a_block_is_noticed() {
    let (block, largest) = largest_during(|| vec![1u8; 12_345]);
    assert_eq!(block.len(), 12_345);
    assert_eq!(largest, 12_345);
    let (blocks, count) = blocks_during(1000, || [vec![1u8; 999], vec![1; 1000], vec![1; 2000]]);
    assert_eq!((blocks.len(), count), (3, 2));
}
