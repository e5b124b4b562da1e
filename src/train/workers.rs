//! Pairs of a step side by side.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// Pools of threads that each take a pair at a time: whole pairs share better than the parts of one do.
///
/// Every operation gives the same bits for any number of threads, so does a step.
#[derive(Debug)]
pub(super) struct Workers(Vec<ThreadPool>);

impl Workers {
    /// As many pools as there are pairs, but not more than threads, with the threads shared out among them.
    pub fn new(pairs: usize) -> Result<Self> {
        let threads = rayon::current_num_threads();
        let count = pairs.clamp(1, threads);
        let pools = (0..count).map(|place| {
            ThreadPoolBuilder::new()
                .num_threads(threads / count + usize::from(place < threads % count))
                .build()
                .map_err(|e| Error::argument("threads", e.to_string()))
        });
        Ok(Self(pools.collect::<Result<_>>()?))
    }

    /// How many of `count` pairs are worked on at a time.
    pub fn side_by_side(&self, count: usize) -> usize {
        self.0.len().min(count)
    }

    /// What `work` makes of `0..count`, in order.
    pub fn map<R: Send>(&self, count: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
        let pools = self.0.len();
        let parts: Vec<Vec<R>> = std::thread::scope(|scope| {
            let handles: Vec<_> = self
                .0
                .iter()
                .enumerate()
                .map(|(place, pool)| {
                    let work = &work;
                    scope.spawn(move || {
                        pool.install(|| (place..count).step_by(pools).map(work).collect())
                    })
                })
                .collect();
            handles
                .into_iter()
                .map(|handle| match handle.join() {
                    Ok(part) => part,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        });
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        (0..count)
            .filter_map(|place| parts[place % pools].next())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn results_stand_in_order() {
        for pairs in [1, 2, 3, 7] {
            let workers = Workers::new(pairs).unwrap();
            for count in [0, 1, 2, 5, 8] {
                let squares = workers.map(count, |i| (0..=i).into_par_iter().sum::<usize>());
                let expected: Vec<usize> = (0..count).map(|i| i * (i + 1) / 2).collect();
                assert_eq!(squares, expected, "{pairs} {count}");
            }
        }
    }
}
