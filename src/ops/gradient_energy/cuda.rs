//! Squared gradients on a GPU: kernels/gradient_energy.cu.

use candle_core::Tensor;

use super::GradientSum;
use crate::ops::device::{rank, Argument, Launcher, Size, Source};
use crate::Result;

pub(super) fn squared_gradient(
    launcher: &Launcher,
    features: &Tensor,
    size: &[usize],
    least: f64,
) -> Result<GradientSum> {
    let n: usize = size.iter().product();
    let channels = features.dims()[0];
    let arguments = vec![
        Argument::of(Size::of(size)?),
        Argument::count(channels)?,
        Argument::of(least),
        launcher.input(features, n * channels)?,
    ];
    let kernel = format!("squared_gradient_{}", rank(size));
    let [sum, count] = launcher.sums(&Source::GRADIENT_ENERGY, &kernel, n, arguments)?;
    Ok(GradientSum { sum, count })
}

#[cfg(test)]
mod tests {
    use crate::ops::{noise_in, squared_gradient, Stage, PRECISIONS};

    #[test]
    fn the_same_sum_over_the_same_voxels() {
        for stage in Stage::all() {
            for size in [&[17, 12][..], &[9, 1, 6], &[13, 11, 7]] {
                for (least, (dtype, _)) in [0.0, 9.0].into_iter().zip(PRECISIONS) {
                    let x = noise_in(dtype, 3, size, 1);
                    let y = stage.put(&x);
                    let here = squared_gradient(&x, least).unwrap();
                    let there = stage.run(|| squared_gradient(&y, least)).unwrap();
                    let expected = [here.sum, here.count];
                    stage.numbers("sums", &expected, &[there.sum, there.count], 1e-12);
                }
            }
        }
    }
}
