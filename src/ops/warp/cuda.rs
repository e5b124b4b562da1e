//! Moved images and their derivatives on a GPU: kernels/warp.cu.

use candle_core::Tensor;

use super::Place;
use crate::ops::device::{rank, Argument, Frame, Launcher, Source};
use crate::ops::sample::Interpolation;
use crate::Result;

/// What a pass computes; see the CPU's tasks.
#[derive(Clone, Copy)]
pub(super) enum Task<'a> {
    Values,
    Along(&'a Tensor),
    Gradient(&'a Tensor),
}

pub(super) fn pass(
    launcher: &Launcher,
    place: &Place<'_>,
    image: &Tensor,
    u: Option<&Tensor>,
    task: Task<'_>,
    out: &Tensor,
) -> Result<()> {
    let (n, m): (usize, usize) = (place.fixed.iter().product(), place.moving.iter().product());
    let (rank, channels) = (rank(place.fixed), image.dims()[0]);
    let mut arguments = vec![
        Argument::of(Frame::new(place.fixed, place.moving, place.map)?),
        Argument::count(channels)?,
    ];
    if let Task::Values = task {
        arguments.push(Argument::of(i32::from(place.continued)));
    }
    arguments.push(Argument::input(image, m * channels)?);
    arguments.push(Argument::optional(u, n * rank)?);
    let (what, planes) = match task {
        Task::Values => ("values", channels),
        Task::Along(step) => {
            arguments.push(Argument::input(step, n * rank)?);
            ("along", channels)
        }
        Task::Gradient(cotangent) => {
            arguments.push(Argument::input(cotangent, n * channels)?);
            ("gradient", rank)
        }
    };
    arguments.push(Argument::output(out, n * planes)?);
    let how = match place.interpolation {
        Interpolation::Linear => "linear",
        Interpolation::Cubic => "cubic",
    };
    let kernel = format!("{what}_{how}_{rank}");
    launcher.launch(&Source::WARP, &kernel, n, &arguments)
}

#[cfg(test)]
mod tests {
    use crate::ops::{noise, warp, warp_derivative, warp_gradient, Interpolation, Stage};
    use crate::Affine;

    #[test]
    fn values_and_derivatives_as_on_the_cpu() {
        let map = Affine::new(
            [[0.9, 0.1, 0.0], [-0.2, 1.1, 0.05], [0.1, 0.0, 0.8]],
            [1.3, -0.4, 0.2],
        );
        let sizes = [
            (&[17, 12][..], &[11, 13][..]),
            (&[13, 9, 7], &[11, 12, 5]),
            (&[5, 1, 4], &[1, 6, 3]),
        ];
        for stage in Stage::all() {
            for (fixed, moving) in sizes {
                let (image, u) = (noise(3, moving, 1), noise(fixed.len(), fixed, 2));
                let (step, cotangent) = (noise(fixed.len(), fixed, 3), noise(3, fixed, 4));
                let [i, v, q, g] = [&image, &u, &step, &cotangent].map(|t| stage.put(t));
                for how in [Interpolation::Linear, Interpolation::Cubic] {
                    let expected = warp(&image, &u, &map, how).unwrap();
                    let got = stage.run(|| warp(&i, &v, &map, how)).unwrap();
                    stage.same("values", &[&expected], &[&got], 1e-5);
                    let expected = warp_derivative(&image, &u, &map, how, &step).unwrap();
                    let got = stage
                        .run(|| warp_derivative(&i, &v, &map, how, &q))
                        .unwrap();
                    stage.same("along a step", &[&expected], &[&got], 1e-5);
                    let expected = warp_gradient(&image, &u, &map, how, &cotangent).unwrap();
                    let got = stage.run(|| warp_gradient(&i, &v, &map, how, &g)).unwrap();
                    stage.same("gradient", &[&expected], &[&got], 1e-5);
                }
            }
        }
    }
}
