//! The hyperbolic tangent on a GPU: kernels/tanh.cu.

use candle_core::Tensor;

use crate::ops::device::{Argument, Launcher, Source};
use crate::Result;

/// The tangent of `x`, or a cotangent taken back at the tangent `x`.
pub(super) fn pass(launcher: &Launcher, x: &Tensor, cotangent: Option<&Tensor>) -> Result<Tensor> {
    let n = x.elem_count();
    let out = launcher.empty(x.dims(), launcher.precision().dtype())?;
    let mut arguments = vec![Argument::count(n)?, launcher.input(x, n)?];
    arguments.extend(cotangent.map(|g| launcher.input(g, n)).transpose()?);
    arguments.push(launcher.output(&out, n)?);
    let kernel = if cotangent.is_some() { "back" } else { "value" };
    launcher.launch(&Source::TANH, kernel, n, &arguments)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};

    use crate::ops::{noise_in, tanh, Stage, PRECISIONS};

    #[test]
    fn tangents_and_gradients_as_on_the_cpu() {
        for stage in Stage::all() {
            for (dtype, share) in PRECISIONS {
                let x = (noise_in(dtype, 3, &[17, 13], 1) * 4.0).unwrap();
                let g = noise_in(dtype, 3, &[17, 13], 2);
                let all = |put: &dyn Fn(&Tensor) -> Tensor| {
                    let leaf = Var::from_tensor(&put(&x)).unwrap();
                    let out = tanh(leaf.as_tensor()).unwrap();
                    let loss = (&out * put(&g)).unwrap().sum_all().unwrap();
                    [
                        out.detach(),
                        loss.backward().unwrap().get(&leaf).unwrap().clone(),
                    ]
                };
                let expected = all(&Tensor::clone);
                let got = stage.run(|| all(&|t| stage.put(t)));
                for (expected, got) in expected.iter().zip(&got) {
                    stage.same("tangents", &[expected], &[got], 1e-6 * share);
                }
            }
        }
    }
}
