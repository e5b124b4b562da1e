//! Divergences on a GPU: kernels/divergence.cu.

use candle_core::Tensor;

use crate::ops::device::{rank, Argument, Launcher, Size, Source};
use crate::ops::diffusion::size;
use crate::ops::dot;
use crate::Result;

/// See [`divergence_value`](super::divergence_value).
pub(super) fn value(launcher: &Launcher, u: &Tensor) -> Result<f64> {
    let divergence = divergence(launcher, u)?;
    Ok(0.5 * dot(&divergence, &divergence)?)
}

/// See [`add_divergence_gradient`](super::add_divergence_gradient).
pub(super) fn add_gradient(
    launcher: &Launcher,
    u: &Tensor,
    weight: f64,
    out: &Tensor,
) -> Result<()> {
    let (size, divergence) = (size(u), divergence(launcher, u)?);
    let n = divergence.elem_count();
    let arguments = [
        Argument::of(Size::of(&size)?),
        launcher.number(weight),
        launcher.input(&divergence, n)?,
        launcher.output(out, n * rank(&size))?,
    ];
    let kernel = format!("spread_{}", rank(&size));
    launcher.launch(&Source::DIVERGENCE, &kernel, n, &arguments)
}

/// Of each cell, at its first voxel.
fn divergence(launcher: &Launcher, u: &Tensor) -> Result<Tensor> {
    let size = size(u);
    let out = launcher.empty(&u.dims()[1..], u.dtype())?;
    let n = out.elem_count();
    let arguments = [
        Argument::of(Size::of(&size)?),
        launcher.input(u, n * rank(&size))?,
        launcher.output(&out, n)?,
    ];
    let kernel = format!("divergence_{}", rank(&size));
    launcher.launch(&Source::DIVERGENCE, &kernel, n, &arguments)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use crate::ops::{add_divergence_gradient, divergence_value, noise_in, Stage, PRECISIONS};

    #[test]
    fn value_and_gradient_as_on_the_cpu() {
        for stage in Stage::all() {
            for (size, (dtype, share)) in [&[17, 12][..], &[1, 9], &[13, 11, 7], &[6, 1, 5]]
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                let [u, out] = [1, 2].map(|seed| noise_in(dtype, size.len(), size, seed));
                let [v, there] = [&u, &out].map(|t| stage.put(t));
                let expected = divergence_value(&u).unwrap();
                let got = stage.run(|| divergence_value(&v)).unwrap();
                stage.numbers("value", &[expected], &[got], 1e-6 * share);
                add_divergence_gradient(&u, 0.7, &out).unwrap();
                stage
                    .run(|| add_divergence_gradient(&v, 0.7, &there))
                    .unwrap();
                stage.same("gradient", &[&out], &[&there], 1e-6 * share);
            }
        }
    }
}
