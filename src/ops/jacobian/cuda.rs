//! Corner determinants on a GPU: kernels/jacobian.cu.

use candle_core::{DType, Tensor};

use crate::ops::device::{rank, Argument, Launcher, Size, Source};
use crate::Result;

/// The smallest corner determinant of a displacement.
pub(in crate::ops) fn smallest(launcher: &Launcher, u: &Tensor, size: &[usize]) -> Result<f64> {
    let (n, rank) = (size.iter().product(), rank(size));
    let arguments = vec![Argument::of(Size::of(size)?), launcher.input(u, n * rank)?];
    launcher.smallest(&Source::JACOBIAN, &format!("smallest_{rank}"), n, arguments)
}

/// Marks the voxels where the smallest corner determinant is not above `least`, one byte a voxel; none where there is none.
pub(in crate::ops) fn folded(
    launcher: &Launcher,
    u: &Tensor,
    size: &[usize],
    least: f64,
) -> Result<Option<Tensor>> {
    let (n, rank) = (size.iter().product(), rank(size));
    let marks = launcher.empty(&[n], DType::U8)?;
    let arguments = vec![
        Argument::of(Size::of(size)?),
        Argument::of(least),
        launcher.input(u, n * rank)?,
        Argument::output_of(&marks, DType::U8, n)?,
    ];
    let kernel = format!("folded_{rank}");
    let [count] = launcher.sums(&Source::JACOBIAN, &kernel, n, arguments)?;
    Ok((count > 0.0).then_some(marks))
}
