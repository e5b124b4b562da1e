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

/// Determinants by central differences, `[(nz,) ny, nx]`.
pub(super) fn central(launcher: &Launcher, u: &Tensor, size: &[usize]) -> Result<Tensor> {
    let (n, rank) = (size.iter().product(), rank(size));
    let out = launcher.empty(&u.dims()[1..], u.dtype())?;
    let arguments = [
        Argument::of(Size::of(size)?),
        launcher.input(u, n * rank)?,
        launcher.output(&out, n)?,
    ];
    launcher.launch(&Source::JACOBIAN, &format!("central_{rank}"), n, &arguments)?;
    Ok(out)
}

/// Marks the voxels where the smallest corner determinant is not above `least`, one byte a voxel; none where there is none. Beside
/// a displacement from `before`, those where it is not above a fifth of what it was there, or of `least` where it was more.
pub(in crate::ops) fn folded(
    launcher: &Launcher,
    u: &Tensor,
    size: &[usize],
    (least, before): (f64, Option<&Tensor>),
) -> Result<Option<Tensor>> {
    let (n, rank) = (size.iter().product(), rank(size));
    let marks = launcher.empty(&[n], DType::U8)?;
    let arguments = vec![
        Argument::of(Size::of(size)?),
        Argument::of(least),
        launcher.optional(before, n * rank)?,
        launcher.input(u, n * rank)?,
        Argument::output_of(&marks, DType::U8, n)?,
    ];
    let kernel = format!("folded_{rank}");
    let [count] = launcher.sums(&Source::JACOBIAN, &kernel, n, arguments)?;
    Ok((count > 0.0).then_some(marks))
}

#[cfg(test)]
mod tests {
    use crate::ops::{determinant_map, noise_in, Stage, PRECISIONS};

    #[test]
    fn central_determinants_as_on_the_cpu() {
        for stage in Stage::all() {
            for (size, (dtype, _)) in [&[17, 12][..], &[1, 9], &[13, 11, 7], &[6, 1, 5]]
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                let u = (noise_in(dtype, size.len(), size, 1) * 0.3).unwrap();
                let v = stage.put(&u);
                let expected = determinant_map(&u).unwrap();
                let got = stage.run(|| determinant_map(&v)).unwrap();
                assert_eq!(expected.dtype(), got.dtype());
                // the result is of single precision
                stage.same("determinants", &[&expected], &[&got], 1e-6);
            }
        }
    }
}
