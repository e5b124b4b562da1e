//! Coverage on a GPU: kernels/coverage.cu.

use candle_core::Tensor;

use crate::ops::device::{rank, Launcher, Source};
use crate::{Affine, Result};

pub(super) fn coverage(
    launcher: &Launcher,
    u: Option<&Tensor>,
    (fixed, moving, map): (&[usize], &[usize], &Affine),
    out: &Tensor,
) -> Result<f64> {
    let (n, rank) = (out.elem_count(), rank(fixed));
    let arguments = vec![
        launcher.frame(fixed, moving, map)?,
        launcher.optional(u, n * rank)?,
        launcher.output(out, n)?,
    ];
    let kernel = format!("coverage_{rank}");
    let [inside] = launcher.sums(&Source::COVERAGE, &kernel, n, arguments)?;
    Ok(inside / n as f64)
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use crate::ops::{coverage, noise_in, Stage, PRECISIONS};
    use crate::Affine;

    #[test]
    fn the_same_voxels_are_covered() {
        let map = Affine::new(
            [[0.9, 0.1, 0.0], [-0.2, 1.1, 0.05], [0.1, 0.0, 0.8]],
            [1.3, -0.4, 0.2],
        );
        for stage in Stage::all() {
            for ((fixed, moving), (dtype, _)) in [
                (&[13, 9][..], &[11, 12][..]),
                (&[13, 9, 7], &[11, 12, 5]),
                (&[5, 1, 4], &[1, 6, 3]),
            ]
            .into_iter()
            .flat_map(|sizes| PRECISIONS.map(|precision| (sizes, precision)))
            {
                let noise = |planes, seed| noise_in(dtype, planes, fixed, seed);
                let u = noise(fixed.len(), 1);
                let shape: Vec<usize> = fixed.iter().rev().copied().collect();
                let [here, there] = [0, 1].map(|_| {
                    Tensor::zeros_like(&noise(1, 2).reshape(&shape[..]).unwrap()).unwrap()
                });
                let (there, v) = (stage.put(&there), stage.put(&u));
                for with in [true, false] {
                    let expected = coverage(with.then_some(&u), moving, &map, &here).unwrap();
                    let got = stage
                        .run(|| coverage(with.then_some(&v), moving, &map, &there))
                        .unwrap();
                    stage.numbers("share", &[expected], &[got], 1e-12);
                    stage.same("covered", &[&here], &[&there], 0.0);
                }
            }
        }
    }
}
