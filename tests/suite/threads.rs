//! The same bits for any number of threads.

use candle_core::DType;

use crate::operators::{run, run_half, Results};

/// Does `work` with so many threads.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(work)
}

#[test]
fn operators_return_the_same_bits() {
    let all = |threads| {
        with_threads(threads, || {
            [run(DType::F32), run(DType::F64), run_half()]
                .into_iter()
                .flat_map(|r: Results| r.all)
                .collect::<Vec<_>>()
        })
    };
    let one = all(1);
    assert!(one.len() > 100);
    for threads in [2, 3] {
        for ((name, expected), (_, got)) in one.iter().zip(all(threads)) {
            let same = expected
                .iter()
                .zip(&got)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{name} differs with {threads} threads");
        }
    }
}
