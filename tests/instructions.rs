//! All instruction sets give the same results up to rounding.
//!
//! A program of its own, because the set in use is a setting of the whole process.

#[path = "suite/operators.rs"]
mod operators;
#[allow(dead_code)]
#[path = "suite/samples.rs"]
mod samples;

use candle_core::DType;
use stillpoint::Instructions;

#[test]
fn instruction_sets_agree() {
    let all = |instructions: Instructions| {
        assert_eq!(instructions.choose(), instructions);
        assert_eq!(Instructions::current(), instructions);
        [
            operators::run_half(),
            operators::run(DType::F32),
            operators::run(DType::F64),
        ]
    };
    let portable = all(Instructions::Portable);
    for set in [Instructions::Avx2, Instructions::Avx512] {
        if set as u8 > Instructions::best() as u8 {
            eprintln!("skipped: this machine lacks {set:?}");
            continue;
        }
        for ((results, expected), share) in all(set).iter().zip(&portable).zip([3e-3, 2e-4, 1e-10])
        {
            assert_eq!(results.all.len(), expected.all.len());
            for ((name, got), (_, expected)) in results.all.iter().zip(&expected.all) {
                let size = expected.iter().fold(1.0f64, |w, v| w.max(v.abs()));
                let gap = samples::distance(got, expected);
                assert!(gap <= share * size, "{name}, {set:?}: {gap} of {size}");
            }
        }
    }
}
