//! Self-similarity descriptors on a GPU: kernels/mind.cu.

use candle_core::Tensor;

use crate::ops::device::{rank, Argument, Launcher, Precision, Source};
use crate::{Affine, Result};

/// The squared difference of each pair of neighbours, pair by pair, for each channel of the image.
pub(super) fn differences(
    launcher: &Launcher,
    image: &Tensor,
    size: &[usize],
    offsets: &[[f64; 3]],
    shape: &[usize],
) -> Result<Tensor> {
    let n: usize = size.iter().product();
    let channels = image.elem_count() / n;
    let out = launcher.empty(shape, launcher.precision().dtype())?;
    let pairs = shape[0] / channels;
    let mut each = [[0.0; 3]; 3];
    each[..offsets.len()].copy_from_slice(offsets);
    for c in 0..channels {
        let arguments = [
            launcher.frame(size, size, &Affine::identity())?,
            launcher.weights(&each),
            launcher.input(&image.narrow(0, c, 1)?, n)?,
            launcher.output(&out.narrow(0, c * pairs, pairs)?, pairs * n)?,
        ];
        let kernel = format!("differences_{}", rank(size));
        launcher.launch(&Source::MIND, &kernel, n, &arguments)?;
    }
    Ok(out)
}

/// Descriptors of so many channels from smoothed squared differences, in place; `floor` as a share of the typical noise.
pub(super) fn describe(
    launcher: &Launcher,
    values: &Tensor,
    channels: usize,
    floor: f64,
) -> Result<()> {
    let least = match launcher.precision() {
        Precision::Single => f64::from(f32::MIN_POSITIVE),
        Precision::Double => f64::MIN_POSITIVE,
    };
    let pairs = values.dims()[0] / channels;
    let n = values.elem_count() / values.dims()[0];
    for c in 0..channels {
        let of_channel = values.narrow(0, c * pairs, pairs)?;
        let arguments = vec![
            Argument::count(n)?,
            Argument::count(pairs)?,
            launcher.input(&of_channel, pairs * n)?,
        ];
        let [first, second] = launcher.sums(&Source::MIND, "noise", n, arguments)?;
        let typical = if first > 0.0 { second / first } else { 0.0 };
        let arguments = [
            Argument::count(n)?,
            Argument::count(pairs)?,
            launcher.number(floor * typical),
            launcher.number(least),
            launcher.output(&of_channel, pairs * n)?,
        ];
        launcher.launch(&Source::MIND, "describe", n, &arguments)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::ops::{mind, noise_in, Stage, PRECISIONS};

    #[test]
    fn descriptors_as_on_the_cpu() {
        for stage in Stage::all() {
            for (size, channels) in [(&[17, 12][..], 2), (&[9, 1, 6], 1), (&[13, 11, 7], 2)] {
                for (dtype, share) in PRECISIONS {
                    let image = noise_in(dtype, channels, size, 1);
                    let offsets = [[2.0, 0.3, 0.0], [-0.4, 1.7, 0.2], [0.0, 0.5, 1.0]];
                    let sigma = &[1.0, 0.6, 0.0][..size.len()];
                    let of = |image| mind(image, &offsets[..size.len()], sigma).unwrap();
                    let expected = of(&image);
                    let image = stage.put(&image);
                    let got = stage.run(|| of(&image));
                    stage.same(
                        &format!("{size:?}"),
                        &[&expected],
                        &[&got],
                        (1e-5 * share).max(1e-10),
                    );
                    // without any structure
                    let flat = image.zeros_like().unwrap();
                    let ones = stage.run(|| of(&flat)).ones_like().unwrap();
                    stage.same("flat", &[&ones], &[&stage.run(|| of(&flat))], 0.0);
                }
            }
        }
    }
}
