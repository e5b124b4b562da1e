//! Squared differences on a GPU: kernels/diffusion.cu.

use candle_core::Tensor;

use crate::ops::device::{rank, Argument, Launcher, Size, Source, Weights};
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
        Argument::of(Weights::of(weight)),
        Argument::input(u, n * rank)?,
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
        Argument::of(Weights::of(weight)),
        Argument::input(u, n * rank)?,
        Argument::output(out, n * rank)?,
    ];
    let kernel = format!("add_force_{rank}");
    launcher.launch(&Source::DIFFUSION, &kernel, n, &arguments)
}

#[cfg(test)]
mod tests {
    use crate::ops::{noise, Differences, Stage};

    #[test]
    fn value_and_gradient_as_on_the_cpu() {
        let differences = Differences {
            weight: [[1.0, 0.7, 0.3], [0.2, 0.9, 0.4], [0.6, 0.8, 1.1]],
        };
        for stage in Stage::all() {
            for size in [&[17, 12][..], &[1, 9], &[13, 11, 7], &[6, 1, 5]] {
                let rank = size.len();
                let (u, out) = (noise(rank, size, 1), noise(rank, size, 2));
                let (v, there) = (stage.put(&u), stage.put(&out));
                let expected = differences.value(&u).unwrap();
                let got = stage.run(|| differences.value(&v)).unwrap();
                stage.numbers("value", &[expected], &[got], 1e-6);
                differences.add_gradient(&u, &out).unwrap();
                stage.run(|| differences.add_gradient(&v, &there)).unwrap();
                stage.same("gradient", &[&out], &[&there], 1e-6);
            }
        }
    }
}
