//! Moved images and their derivatives on a GPU: kernels/warp.cu and kernels/warp_adjoint.cu.

use candle_core::{DType, Tensor};

use super::Place;
use crate::ops::device::{rank, Argument, Launcher, Source};
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
        launcher.frame(place.fixed, place.moving, place.map)?,
        Argument::count(channels)?,
    ];
    if let Task::Values = task {
        arguments.push(Argument::of(i32::from(place.continued)));
    }
    arguments.push(launcher.input(image, m * channels)?);
    arguments.push(launcher.optional(u, n * rank)?);
    let (what, planes) = match task {
        Task::Values => ("values", channels),
        Task::Along(step) => {
            arguments.push(launcher.input(step, n * rank)?);
            ("along", channels)
        }
        Task::Gradient(cotangent) => {
            arguments.push(launcher.input(cotangent, n * channels)?);
            ("gradient", rank)
        }
    };
    arguments.push(launcher.output(out, n * planes)?);
    let kernel = format!("{what}_{}_{rank}", place.interpolation.name());
    launcher.launch(&Source::WARP, &kernel, n, &arguments)
}

/// What a fixed voxel hands on; see the CPU's shares.
#[derive(Clone, Copy)]
pub(super) struct Shares<'a> {
    pub factor: f64,
    pub cotangent: &'a Tensor,
    pub along: Option<(&'a Tensor, &'a Tensor)>,
}

/// `out` holds zeros before.
pub(super) fn adjoint(
    launcher: &Launcher,
    place: &Place<'_>,
    u: &Tensor,
    shares: Shares<'_>,
    out: &Tensor,
) -> Result<()> {
    // the largest sum of a moving voxel in whole units: room for the rounding of its shares is left in 64 bits
    const UNITS: f64 = (1u64 << 62) as f64;
    let (n, m): (usize, usize) = (place.fixed.iter().product(), place.moving.iter().product());
    let rank = rank(place.fixed);
    let frame = launcher.frame(place.fixed, place.moving, place.map)?;
    let mass = format!("mass_{rank}");
    let scatter = format!("scatter_{}_{rank}", place.interpolation.name());
    let sums = Tensor::zeros(m, DType::I64, &launcher.device())?;
    for c in 0..out.dims()[0] {
        let channel = |tensor: &Tensor| tensor.narrow(0, c, 1);
        let cotangent = channel(shares.cotangent)?;
        let second = shares.along.map(|(_, r)| channel(r)).transpose()?;
        let handed = [
            launcher.input(&cotangent, n)?,
            launcher.optional(shares.along.map(|(q, _)| q), n * rank)?,
            launcher.optional(second.as_ref(), n)?,
        ];
        let mut arguments = vec![frame.clone()];
        arguments.extend_from_slice(&handed);
        let [total] = launcher.sums(&Source::WARP_ADJOINT, &mass, n, arguments)?;
        if total == 0.0 {
            continue;
        }
        let units = if total.is_finite() {
            UNITS / total
        } else {
            f64::NAN
        };
        let mut arguments = vec![frame.clone(), launcher.input(u, n * rank)?];
        arguments.extend(handed);
        arguments.push(Argument::of(units));
        arguments.push(Argument::output_of(&sums, DType::I64, m)?);
        launcher.launch(&Source::WARP_ADJOINT, &scatter, n, &arguments)?;
        let arguments = [
            Argument::count(m)?,
            Argument::of(shares.factor / units),
            Argument::output_of(&sums, DType::I64, m)?,
            launcher.output(&channel(out)?, m)?,
        ];
        launcher.launch(&Source::WARP_ADJOINT, "settle", m, &arguments)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{IndexOp, Tensor};

    use crate::ops::{
        adjoint_of_both, noise, noise_in, warp, warp_adjoint, warp_derivative, warp_gradient,
        Interpolation, Stage, PRECISIONS,
    };
    use crate::Affine;

    const SIZES: [(&[usize], &[usize]); 3] = [
        (&[17, 12], &[11, 13]),
        (&[13, 9, 7], &[11, 12, 5]),
        (&[5, 1, 4], &[1, 6, 3]),
    ];

    const HOW: [Interpolation; 2] = [Interpolation::Linear, Interpolation::Cubic];

    fn map() -> Affine {
        Affine::new(
            [[0.9, 0.1, 0.0], [-0.2, 1.1, 0.05], [0.1, 0.0, 0.8]],
            [1.3, -0.4, 0.2],
        )
    }

    #[test]
    fn values_and_derivatives_as_on_the_cpu() {
        let map = map();
        for stage in Stage::all() {
            for ((fixed, moving), (dtype, share)) in SIZES
                .into_iter()
                .flat_map(|sizes| PRECISIONS.map(|precision| (sizes, precision)))
            {
                let noise = |planes, size: &[usize], seed| noise_in(dtype, planes, size, seed);
                let (image, u) = (noise(3, moving, 1), noise(fixed.len(), fixed, 2));
                let (step, cotangent) = (noise(fixed.len(), fixed, 3), noise(3, fixed, 4));
                let [i, v, q, g] = [&image, &u, &step, &cotangent].map(|t| stage.put(t));
                for how in HOW {
                    let expected = warp(&image, &u, &map, how).unwrap();
                    let got = stage.run(|| warp(&i, &v, &map, how)).unwrap();
                    stage.same("values", &[&expected], &[&got], 1e-5 * share);
                    let expected = warp_derivative(&image, &u, &map, how, &step).unwrap();
                    let got = stage
                        .run(|| warp_derivative(&i, &v, &map, how, &q))
                        .unwrap();
                    stage.same("along a step", &[&expected], &[&got], 1e-5 * share);
                    let expected = warp_gradient(&image, &u, &map, how, &cotangent).unwrap();
                    let got = stage.run(|| warp_gradient(&i, &v, &map, how, &g)).unwrap();
                    stage.same("gradient", &[&expected], &[&got], 1e-5 * share);
                }
            }
        }
    }

    #[test]
    fn adjoints_as_on_the_cpu() {
        let map = map();
        for stage in Stage::all() {
            for ((fixed, moving), (dtype, share)) in SIZES
                .into_iter()
                .flat_map(|sizes| PRECISIONS.map(|precision| (sizes, precision)))
            {
                let noise = |planes, size: &[usize], seed| noise_in(dtype, planes, size, seed);
                let (u, step) = (noise(fixed.len(), fixed, 1), noise(fixed.len(), fixed, 2));
                // channels of very different sizes, one of them zero
                let size = Tensor::new(&[1.0, 0.0, 1e-12], u.device()).unwrap();
                let size = size.to_dtype(dtype).unwrap();
                let mut shape = vec![1; fixed.len() + 1];
                shape[0] = 3;
                let size = size.reshape(shape).unwrap();
                let [first, second] =
                    [3, 4].map(|seed| noise(3, fixed, seed).broadcast_mul(&size).unwrap());
                let [v, q, g, r] = [&u, &step, &first, &second].map(|t| stage.put(t));
                for how in HOW {
                    let of = |g, along, u| {
                        let out = adjoint_of_both(-0.7, g, along, u, &map, how, moving).unwrap();
                        [0, 1, 2].map(|c| out.i(c).unwrap())
                    };
                    for along in [false, true] {
                        let expected = of(&first, along.then_some((&step, &second)), &u);
                        let got = stage.run(|| of(&g, along.then_some((&q, &r)), &v));
                        for (expected, got) in expected.iter().zip(&got) {
                            stage.same("adjoint", &[expected], &[got], 1e-5 * share);
                        }
                        let again = stage.run(|| of(&g, along.then_some((&q, &r)), &v));
                        stage.same("again", &got.each_ref(), &again.each_ref(), 0.0);
                    }
                }
            }
        }
    }

    /// With positions and shares that are the same numbers from either end, only the order of the shares differs.
    #[test]
    fn shares_may_come_in_any_order() {
        for stage in Stage::all() {
            let size = [61, 5];
            // numbers of few binary places
            let short = |t: Tensor| (t.round().unwrap() / 64.0).unwrap();
            let u = short((noise(2, &size, 1) * 256.0).unwrap());
            let g = short((noise(1, &size, 2) * 64.0).unwrap());
            let turned = Affine::new(
                [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
                [60.0, 0.0, 0.0],
            );
            let flip = |t: &Tensor| t.flip(&[2]).unwrap();
            let sign = Tensor::new(&[-1.0f32, 1.0], u.device()).unwrap();
            let back = flip(&u)
                .broadcast_mul(&sign.reshape((2, 1, 1)).unwrap())
                .unwrap();
            let [v, back, g, h] = [&u, &back, &g, &flip(&g)].map(|t| stage.put(t));
            let to = [7, 5];
            let adjoint = |g, u, map: &Affine| {
                stage.run(|| warp_adjoint(g, u, map, Interpolation::Linear, &to).unwrap())
            };
            let expected = adjoint(&g, &v, &Affine::identity());
            let got = adjoint(&h, &back, &turned);
            stage.same("from the other end", &[&expected], &[&got], 0.0);
        }
    }

    #[test]
    fn a_cotangent_that_is_not_finite_spoils_its_channel() {
        for stage in Stage::all() {
            let (u, g) = (noise(2, &[6, 5], 1), noise(2, &[6, 5], 2));
            let broken = (g.i(0..1).unwrap() / 0.0).unwrap();
            let g = Tensor::cat(&[&broken, &g.i(1..2).unwrap()], 0).unwrap();
            let [v, g] = [&u, &g].map(|t| stage.put(t));
            let adjoint =
                || warp_adjoint(&g, &v, &Affine::identity(), Interpolation::Linear, &[6, 5]);
            let got = stage.run(|| adjoint().unwrap());
            let sums = got.flatten_from(1).unwrap().abs().unwrap().sum(1).unwrap();
            let sums: Vec<f32> = sums.to_vec1().unwrap();
            assert!(sums[0].is_nan() && sums[1] > 0.0, "{sums:?}");
        }
    }
}
