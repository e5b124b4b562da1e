//! Squared differences on a GPU: kernels/diffusion.cu.

use candle_core::Tensor;

use crate::ops::device::{rank, Argument, Launcher, Size, Source};
use crate::Result;

pub(super) fn value(
    launcher: &Launcher,
    u: &Tensor,
    size: &[usize],
    weight: &[[f64; 3]; 3],
) -> Result<f64> {
    let (n, rank) = (size.iter().product(), rank(size));
    let arguments = vec![
        Argument::of(Size::of(size)?),
        launcher.weights(weight),
        launcher.input(u, n * rank)?,
    ];
    let kernel = format!("differences_{rank}");
    let [sum] = launcher.sums(&Source::DIFFUSION, &kernel, n, arguments)?;
    Ok(0.5 * sum)
}

pub(super) fn add_gradient(
    launcher: &Launcher,
    u: &Tensor,
    size: &[usize],
    weight: &[[f64; 3]; 3],
    out: &Tensor,
) -> Result<()> {
    let (n, rank) = (size.iter().product(), rank(size));
    let arguments = [
        Argument::of(Size::of(size)?),
        launcher.weights(weight),
        launcher.input(u, n * rank)?,
        launcher.output(out, n * rank)?,
    ];
    let kernel = format!("add_force_{rank}");
    launcher.launch(&Source::DIFFUSION, &kernel, n, &arguments)
}

#[cfg(test)]
mod tests {
    use crate::ops::{noise_in, Differences, Stage, PRECISIONS};

    #[test]
    fn value_and_gradient_as_on_the_cpu() {
        let differences = Differences {
            weight: [[1.0, 0.7, 0.3], [0.2, 0.9, 0.4], [0.6, 0.8, 1.1]],
        };
        for stage in Stage::all() {
            for (size, (dtype, share)) in [&[17, 12][..], &[1, 9], &[13, 11, 7], &[6, 1, 5]]
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                let [u, out] = [1, 2].map(|seed| noise_in(dtype, size.len(), size, seed));
                let (v, there) = (stage.put(&u), stage.put(&out));
                let expected = differences.value(&u).unwrap();
                let got = stage.run(|| differences.value(&v)).unwrap();
                stage.numbers("value", &[expected], &[got], 1e-6 * share);
                differences.add_gradient(&u, &out).unwrap();
                stage.run(|| differences.add_gradient(&v, &there)).unwrap();
                stage.same("gradient", &[&out], &[&there], 1e-6 * share);
            }
        }
    }
}
