//! B-spline coefficients on a GPU: kernels/bspline.cu.

use candle_core::{DType, Tensor};

use super::cpu::Elimination;
use crate::ops::device::{Argument, Launcher, Source};
use crate::{Error, Result};

/// Solves along the axis of `length` entries that lie `inner` elements apart, in place.
pub(super) fn along_axis(
    launcher: &Launcher,
    x: &Tensor,
    length: usize,
    inner: usize,
    adjoint: bool,
) -> Result<()> {
    if x.dtype() != DType::F32 {
        return Err(Error::on_device("double precision"));
    }
    if length == 1 {
        return Ok(());
    }
    let system = Elimination::<f32>::new(length, adjoint);
    let factors = [system.lower, system.pivot, system.upper];
    let [lower, pivot, upper] = factors.map(|f| Tensor::new(f, &launcher.device()));
    let [lower, pivot, upper] = [lower?, pivot?, upper?];
    let (elements, lines) = (x.elem_count(), x.elem_count() / length);
    let arguments = [
        Argument::count(lines)?,
        Argument::count(length)?,
        Argument::count(inner)?,
        Argument::input(&lower, length)?,
        Argument::input(&pivot, length)?,
        Argument::input(&upper, length)?,
        Argument::output(x, elements)?,
    ];
    launcher.launch(&Source::BSPLINE, "eliminate", lines, &arguments)
}

#[cfg(test)]
mod tests {
    use crate::ops::{noise, spline_coefficients, spline_coefficients_adjoint, Stage};

    #[test]
    fn coefficients_as_on_the_cpu() {
        for stage in Stage::all() {
            for size in [&[17, 12][..], &[9, 1, 6], &[13, 11, 7]] {
                let x = noise(2, size, 1);
                let y = stage.put(&x);
                let expected = spline_coefficients(&x).unwrap();
                let got = stage.run(|| spline_coefficients(&y)).unwrap();
                stage.same("coefficients", &[&expected, &x], &[&got, &y], 1e-6);
                let expected = spline_coefficients_adjoint(&x).unwrap();
                let got = stage.run(|| spline_coefficients_adjoint(&y)).unwrap();
                stage.same("adjoint", &[&expected], &[&got], 1e-6);
            }
        }
    }
}
