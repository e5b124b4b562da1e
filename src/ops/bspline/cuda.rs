//! B-spline coefficients on a GPU: kernels/bspline.cu.

use candle_core::Tensor;

use super::cpu::Elimination;
use crate::ops::device::{with_precision, Argument, Launcher, Source};
use crate::Result;

/// Solves along the axis of `length` entries that lie `inner` elements apart, in place.
pub(super) fn along_axis(
    launcher: &Launcher,
    x: &Tensor,
    length: usize,
    inner: usize,
    adjoint: bool,
) -> Result<()> {
    if length == 1 {
        return Ok(());
    }
    let [lower, pivot, upper] = with_precision!(launcher.precision(), T => {
        let system = Elimination::<T>::new(length, adjoint);
        let factors = [system.lower, system.pivot, system.upper];
        factors.map(|f| Tensor::new(f, &launcher.device()))
    });
    let [lower, pivot, upper] = [lower?, pivot?, upper?];
    let (elements, lines) = (x.elem_count(), x.elem_count() / length);
    let arguments = [
        Argument::count(lines)?,
        Argument::count(length)?,
        Argument::count(inner)?,
        launcher.input(&lower, length)?,
        launcher.input(&pivot, length)?,
        launcher.input(&upper, length)?,
        launcher.output(x, elements)?,
    ];
    launcher.launch(&Source::BSPLINE, "eliminate", lines, &arguments)
}

#[cfg(test)]
mod tests {
    use crate::ops::{
        noise_in, spline_coefficients, spline_coefficients_adjoint, Stage, PRECISIONS,
    };

    #[test]
    fn coefficients_as_on_the_cpu() {
        for stage in Stage::all() {
            for (dtype, share) in PRECISIONS {
                for size in [&[17, 12][..], &[9, 1, 6], &[13, 11, 7]] {
                    let x = noise_in(dtype, 2, size, 1);
                    let y = stage.put(&x);
                    let expected = spline_coefficients(&x).unwrap();
                    let got = stage.run(|| spline_coefficients(&y)).unwrap();
                    stage.same("coefficients", &[&expected, &x], &[&got, &y], 1e-6 * share);
                    let expected = spline_coefficients_adjoint(&x).unwrap();
                    let got = stage.run(|| spline_coefficients_adjoint(&y)).unwrap();
                    stage.same("adjoint", &[&expected], &[&got], 1e-6 * share);
                }
            }
        }
    }
}
