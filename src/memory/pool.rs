//! Free parts of one long stretch of addresses.

use super::system::{self, Moved};

/// Blocks begin at multiples of this and are rounded up to them.
pub(super) const GRAIN: usize = 1 << 16;

/// Addresses asked for; without pages they cost nothing.
const RESERVED: usize = if usize::BITS == 64 { 1 << 36 } else { 1 << 29 };

/// Huge pages begin at multiples of this.
const HUGE: usize = 1 << 21;

/// Free parts at most; what is freed beyond them is given back for good.
const PARTS: usize = 4096;

/// What a request gets.
pub(super) struct Block {
    pub start: *mut u8,
    /// How many of its first bytes may hold what an earlier owner wrote; the others are zero.
    pub used: usize,
}

#[derive(Clone, Copy)]
struct Part {
    start: usize,
    length: usize,
    /// Untouched: zero, and without pages.
    fresh: bool,
}

impl Part {
    fn end(&self) -> usize {
        self.start + self.length
    }
}

/// The free parts, by address; neighbours of one kind are one part.
pub(super) struct Pool {
    /// First address and the one behind the last; none before the first request.
    region: Option<(usize, usize)>,
    parts: [Part; PARTS],
    count: usize,
}

impl Pool {
    pub const fn new() -> Self {
        let none = Part {
            start: 0,
            length: 0,
            fresh: false,
        };
        Self {
            region: None,
            parts: [none; PARTS],
            count: 0,
        }
    }

    /// A block of at least `size` bytes; none where the system has no room.
    pub fn take(&mut self, size: usize) -> Option<Block> {
        let size = size.checked_next_multiple_of(GRAIN)?;
        if self.region.is_none() {
            let (start, length) = system::reserve(RESERVED, HUGE).unwrap_or((0, 0));
            self.region = Some((start, start + length));
            if length > 0 {
                self.insert(Part {
                    start,
                    length,
                    fresh: true,
                });
            }
        }
        let at = self
            .smallest(size, false)
            .or_else(|| self.continued(size))
            .or_else(|| self.smallest(size, true))?;
        let start = self.parts[at].start;
        let mut used = 0;
        let mut missing = size;
        while missing > 0 {
            let part = &mut self.parts[at];
            let length = part.length.min(missing);
            if !part.fresh {
                used += length;
            }
            part.start += length;
            part.length -= length;
            missing -= length;
            if part.length == 0 {
                self.remove(at);
            }
        }
        let moved = self.refill(start + used, start + size);
        self.release(size - used - moved);
        if moved > 0 {
            used = (start + used).next_multiple_of(HUGE) + moved - start;
        }
        Some(Block {
            start: start as *mut u8,
            used,
        })
    }

    /// Puts kept pages behind fresh addresses, from the first huge page on: to move them costs less than to clear others.
    /// Returns the bytes that were moved.
    fn refill(&mut self, start: usize, end: usize) -> usize {
        let first = start.next_multiple_of(HUGE);
        let mut at = first;
        while at + HUGE <= end {
            let Some(from) = self.spare() else { break };
            let part = |fresh| Part {
                start: from,
                length: HUGE,
                fresh,
            };
            // SAFETY: neither place is in use; all such moves are of whole huge pages, so that each lies in one mapping.
            match unsafe { system::carry(from, at, HUGE) } {
                Moved::No => {
                    self.insert(part(false));
                    break;
                }
                Moved::Yes => self.insert(part(true)),
                Moved::ForGood => {}
            }
            at += HUGE;
        }
        at - first
    }

    /// Takes a whole huge page out of the largest of the kept parts that has one.
    fn spare(&mut self) -> Option<usize> {
        let whole = |part: &Part| {
            let first = part.start.next_multiple_of(HUGE);
            let last = part.end() / HUGE * HUGE;
            (!part.fresh && first < last).then(|| last - HUGE)
        };
        // a part may become two, and the page another one
        if self.count + 2 > PARTS {
            return None;
        }
        let at = (0..self.count)
            .filter(|&p| whole(&self.parts[p]).is_some())
            .max_by_key(|&p| self.parts[p].length)?;
        let part = self.parts[at];
        let page = whole(&part)?;
        self.remove(at);
        for (start, end) in [(part.start, page), (page + HUGE, part.end())] {
            if start < end {
                self.insert(Part {
                    start,
                    length: end - start,
                    fresh: false,
                });
            }
        }
        Some(page)
    }

    /// Takes a block of `size` bytes back if it is one of the pool's.
    pub fn put(&mut self, start: *mut u8, size: usize) -> bool {
        let start = start as usize;
        let inside = |(first, last)| (first..last).contains(&start);
        if !self.region.is_some_and(inside) {
            return false;
        }
        let length = size.next_multiple_of(GRAIN);
        if self.count == PARTS {
            // SAFETY: the block is free; its addresses are not used again.
            unsafe { system::give_back(start, length) };
            return true;
        }
        self.insert(Part {
            start,
            length,
            fresh: false,
        });
        true
    }

    /// The smallest part of one kind that holds `size` bytes.
    fn smallest(&self, size: usize, fresh: bool) -> Option<usize> {
        (0..self.count)
            .filter(|&p| self.parts[p].fresh == fresh && self.parts[p].length >= size)
            .min_by_key(|&p| self.parts[p].length)
    }

    /// The largest part that with a fresh one behind it holds `size` bytes.
    fn continued(&self, size: usize) -> Option<usize> {
        (1..self.count)
            .filter(|&p| {
                let (part, next) = (self.parts[p - 1], self.parts[p]);
                !part.fresh
                    && next.fresh
                    && part.end() == next.start
                    && part.length + next.length >= size
            })
            .map(|p| p - 1)
            .max_by_key(|&p| self.parts[p].length)
    }

    /// Gives pages of free parts back, the largest first, as long as there are any.
    fn release(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let largest = (0..self.count)
                .filter(|&p| !self.parts[p].fresh)
                .max_by_key(|&p| self.parts[p].length);
            let Some(at) = largest.filter(|_| self.count < PARTS) else {
                return;
            };
            let length = self.parts[at].length.min(bytes);
            let start = self.parts[at].end() - length;
            // SAFETY: the part is free.
            if !unsafe { system::give_back(start, length) } {
                return;
            }
            self.parts[at].length -= length;
            if self.parts[at].length == 0 {
                self.remove(at);
            }
            self.insert(Part {
                start,
                length,
                fresh: true,
            });
            bytes -= length;
        }
    }

    /// Enters a part, joined with its neighbours.
    fn insert(&mut self, mut part: Part) {
        let mut at = self.parts[..self.count].partition_point(|p| p.start < part.start);
        let joins = |a: &Part, b: &Part| a.fresh == b.fresh && a.end() == b.start;
        if at < self.count && joins(&part, &self.parts[at]) {
            part.length += self.parts[at].length;
            self.remove(at);
        }
        if at > 0 && joins(&self.parts[at - 1], &part) {
            at -= 1;
            part.start = self.parts[at].start;
            part.length += self.parts[at].length;
            self.remove(at);
        }
        self.parts.copy_within(at..self.count, at + 1);
        self.parts[at] = part;
        self.count += 1;
    }

    fn remove(&mut self, at: usize) {
        self.parts.copy_within(at + 1..self.count, at);
        self.count -= 1;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn kept(pool: &Pool) -> usize {
        let parts = &pool.parts[..pool.count];
        parts.iter().filter(|p| !p.fresh).map(|p| p.length).sum()
    }

    #[test]
    fn a_freed_block_is_taken_again_and_neighbours_are_joined() {
        let mut pool = Box::new(Pool::new());
        let blocks: Vec<*mut u8> = (0..4)
            .map(|_| {
                let block = pool.take(10 * GRAIN).unwrap();
                assert_eq!(block.used, 0);
                block.start
            })
            .collect();
        for at in [1, 3, 2] {
            assert!(pool.put(blocks[at], 10 * GRAIN));
        }
        assert_eq!((pool.count, kept(&pool)), (2, 30 * GRAIN));
        let again = pool.take(20 * GRAIN - 5).unwrap();
        assert_eq!((again.start, again.used), (blocks[1], 20 * GRAIN));
        // the rest and fresh pages behind it
        let longer = pool.take(15 * GRAIN).unwrap();
        assert_eq!((longer.start, longer.used), (blocks[3], 10 * GRAIN));
        assert!(!pool.put(&mut 0, GRAIN), "no block of the pool");
    }

    #[test]
    fn fresh_pages_take_the_place_of_kept_ones() {
        let mut pool = Box::new(Pool::new());
        let small = pool.take(4 * GRAIN).unwrap().start;
        let wall = pool.take(GRAIN).unwrap().start;
        // SAFETY: the block's own bytes.
        unsafe { small.write_bytes(7, 4 * GRAIN) };
        assert!(pool.put(small, 4 * GRAIN));
        assert_eq!(kept(&pool), 4 * GRAIN);
        let large = pool.take(7 * GRAIN).unwrap();
        assert_eq!((large.used, kept(&pool)), (0, 0));
        // what was given back reads as zero
        let again = pool.take(4 * GRAIN).unwrap();
        assert_eq!((again.start, again.used), (small, 0));
        // SAFETY: as above.
        assert!((0..4 * GRAIN).all(|at| unsafe { *small.add(at) } == 0));
        assert!(pool.put(wall, GRAIN));
    }

    #[test]
    fn kept_pages_move_to_where_they_are_needed() {
        let mut pool = Box::new(Pool::new());
        let small = pool.take(3 * HUGE).unwrap().start;
        let wall = pool.take(HUGE).unwrap().start;
        // SAFETY: the block's own bytes, here and below.
        unsafe { small.write_bytes(7, 3 * HUGE) };
        assert!(pool.put(small, 3 * HUGE));
        let large = pool.take(5 * HUGE).unwrap();
        assert_eq!((large.used, kept(&pool)), (3 * HUGE, 0));
        assert_eq!(unsafe { *large.start.add(2 * HUGE) }, 7);
        assert_eq!(unsafe { *large.start.add(4 * HUGE) }, 0);
        // where they came from reads as zero
        let again = pool.take(3 * HUGE).unwrap();
        assert_eq!((again.start, again.used), (small, 0));
        assert!((0..3 * HUGE).all(|at| unsafe { *small.add(at) } == 0));
        assert!(pool.put(wall, HUGE));
    }

    #[test]
    fn blocks_never_overlap_and_stale_bytes_are_told() {
        blocks_of_up_to(20 * GRAIN, 4000);
        blocks_of_up_to(4 * HUGE, 1000);
    }

    fn blocks_of_up_to(largest: usize, turns: usize) {
        let mut pool = Box::new(Pool::new());
        let mut state = 9u64;
        // the high bits of a linear congruence, below `n`
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let mut live: Vec<(*mut u8, usize, u8)> = Vec::new();
        for turn in 0..turns {
            if below(2) == 0 && !live.is_empty() {
                let (start, size, mark) = live.swap_remove(below(live.len()));
                for at in (0..size).step_by(GRAIN / 4) {
                    // SAFETY: the block's own bytes, here and below.
                    assert_eq!(unsafe { *start.add(at) }, mark, "in turn {turn}");
                }
                assert!(pool.put(start, size));
            } else {
                let size = 1 + below(largest);
                let Block { start, used } = pool.take(size).unwrap();
                for at in (used..size).step_by(GRAIN / 4) {
                    assert_eq!(unsafe { *start.add(at) }, 0, "in turn {turn}");
                }
                let mark = turn as u8 | 1;
                unsafe { start.write_bytes(mark, size) };
                live.push((start, size, mark));
            }
        }
    }
}
