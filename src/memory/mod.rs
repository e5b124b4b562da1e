//! The allocator of the program: mimalloc, and beside it large blocks that are used again.

mod pool;
mod system;

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, PoisonError};

use mimalloc::MiMalloc;
use pool::{Block, Pool};

/// Blocks of this size and more come from the pool.
const LARGE: usize = 1 << 18;

/// An allocator that keeps freed large blocks for the next request.
///
/// A registration takes tensors of tens of megabytes again and again, and to clear a fresh page costs more than most passes
/// over it. What the process holds stays within the most it used at any time: what is taken afresh because no kept block
/// fits takes the pages of kept ones, by a change of addresses where the system can, or they are given back for it.
#[derive(Debug, Default)]
pub struct Allocator;

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

impl Allocator {
    fn large(layout: Layout) -> Option<Block> {
        if layout.size() < LARGE || layout.align() > pool::GRAIN {
            return None;
        }
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.take(layout.size())
    }

    /// Whether a block was the pool's, which has it back then.
    fn give_back(start: *mut u8, layout: Layout) -> bool {
        layout.size() >= LARGE
            && POOL
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .put(start, layout.size())
    }
}

// SAFETY: blocks of the pool do not overlap, are aligned to its grain and as long as asked for; the others are mimalloc's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Self::large(layout) {
            Some(block) => block.start,
            // SAFETY: as promised by the caller, here and below.
            None => unsafe { MiMalloc.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match Self::large(layout) {
            Some(block) => {
                // SAFETY: within the block; the rest is fresh from the system.
                unsafe { block.start.write_bytes(0, block.used) };
                block.start
            }
            None => unsafe { MiMalloc.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !Self::give_back(block, layout) {
            unsafe { MiMalloc.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() < LARGE && size < LARGE {
            return unsafe { MiMalloc.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises that the size, rounded up to the alignment, does not overflow.
        let to = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let moved = unsafe { self.alloc(to) };
        if !moved.is_null() {
            // SAFETY: both blocks are at least as long, and apart.
            unsafe {
                moved.copy_from_nonoverlapping(block, size.min(layout.size()));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}
