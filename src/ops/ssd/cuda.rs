//! The fused pass on a GPU, and the way back to its data: kernels/ssd.cu and kernels/ssd_pullback.cu.

use candle_core::Tensor;

use super::output::Model as Form;
use super::SsdData;
use crate::ops::device::{
    rank, with_precision, Argument, Launcher, Plain, Source, Stored, Weights,
};
use crate::ops::diffusion::Differences;
use crate::ops::real::Real;
use crate::{Error, Result};

/// Most channels of a map: `CHANNELS` of the kernel.
const CHANNELS: usize = 256;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ChannelWeights<T>([T; CHANNELS]);

// SAFETY: `struct ChannelWeights` of the kernel.
unsafe impl<T: Plain> Plain for ChannelWeights<T> {}

impl<T: Real> ChannelWeights<T> {
    fn of(weights: &[f64]) -> Result<Self> {
        if weights.len() > CHANNELS {
            return Err(Error::on_device(format!(
                "a comparison of {} channels, more than {CHANNELS},",
                weights.len()
            )));
        }
        let weight = |c: usize| T::of(weights.get(c).copied().unwrap_or(0.0));
        Ok(Self(std::array::from_fn(weight)))
    }
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Smoothness<T> {
    looks: i32,
    pull: i32,
    weights: Weights<T>,
}

// SAFETY: `struct Smoothness` of the kernel.
unsafe impl<T: Plain> Plain for Smoothness<T> {}

/// Gradient and blocks that a pass leaves.
pub(super) struct Model<'a> {
    pub form: Form,
    pub gradient: &'a Tensor,
    pub blocks: &'a Tensor,
    /// Factors of gradient and blocks where they are stored as halves.
    pub factors: [f64; 2],
}

pub(super) fn pass(
    launcher: &Launcher,
    data: &SsdData,
    u: Option<&Tensor>,
    differences: Option<(&Differences, bool)>,
    model: Option<Model<'_>>,
) -> Result<[f64; 2]> {
    let (fixed, moving) = (data.fixed_size(), data.moving_size());
    let (n, m): (usize, usize) = (fixed.iter().product(), moving.iter().product());
    let (rank, channels) = (rank(&fixed), data.channel_weight.len());
    let weights = differences.map_or([[0.0; 3]; 3], |(form, _)| form.weight);
    let [channel_weights, smoothness] = with_precision!(launcher.precision(), T => [
        Argument::of(ChannelWeights::<T>::of(&data.channel_weight)?),
        Argument::of(Smoothness {
            looks: i32::from(differences.is_some() && u.is_some()),
            pull: i32::from(differences.is_some_and(|(_, pull)| pull)),
            weights: Weights::<T>::of(&weights),
        }),
    ]);
    let (what, stored, written) = match model {
        None => {
            let one = || launcher.number(1.0);
            let nothing = [one(), one(), Argument::none(), Argument::none()];
            ("value", "full", nothing)
        }
        Some(model) => {
            let packed = rank * (rank + 1) / 2;
            let (what, entries) = match model.form {
                Form::Vector => ("vector", rank),
                Form::Blocks => ("blocks", packed),
                Form::Newton => ("newton", packed),
            };
            let of_gradient = launcher.stored(model.gradient)?;
            let of_blocks = launcher.stored(model.blocks)?;
            let stored = match (of_gradient.half, of_blocks.half) {
                (false, false) => "full",
                (true, true) => "half",
                (false, true) => "half_blocks",
                (true, false) => {
                    return Err(Error::on_device("a gradient stored as halves alone"));
                }
            };
            let factor = |stored: Stored, factor: f64| {
                launcher.number(if stored.half { factor } else { 1.0 })
            };
            let written = [
                factor(of_gradient, model.factors[0]),
                factor(of_blocks, model.factors[1]),
                of_gradient.output(model.gradient, n * rank)?,
                of_blocks.output(model.blocks, n * entries)?,
            ];
            (what, stored, written)
        }
    };
    let how = data.interpolation.name();
    let mut arguments = vec![
        launcher.frame(&fixed, &moving, &data.map)?,
        Argument::count(channels)?,
        channel_weights,
        smoothness,
        launcher.input(&data.fixed, n * channels)?,
        launcher.input(&data.moving, m * channels)?,
        launcher.optional(data.mask.as_ref(), n)?,
        launcher.optional(u, n * rank)?,
    ];
    arguments.extend(written);
    let kernel = format!("{what}_{how}_{stored}_{rank}");
    let sums: [f64; 2] = launcher.sums(&Source::SSD, &kernel, n, arguments)?;
    Ok(sums.map(|sum| 0.5 * sum))
}

/// [`SsdData::weigh`].
pub(super) fn weigh(
    launcher: &Launcher,
    data: &SsdData,
    slope: &Tensor,
    values: &Tensor,
    out: &Tensor,
) -> Result<Vec<f64>> {
    let n = out.elem_count();
    let of_channel = |(c, weight): (usize, &f64)| {
        let channel = |tensor: &Tensor| tensor.narrow(0, c, 1);
        let arguments = vec![
            Argument::count(n)?,
            launcher.number(*weight),
            launcher.input(&channel(&data.fixed)?, n)?,
            launcher.optional(data.mask.as_ref(), n)?,
            launcher.output(&channel(slope)?, n)?,
            launcher.output(&channel(values)?, n)?,
            launcher.output(out, n)?,
        ];
        let [sum] = launcher.sums(&Source::SSD_PULLBACK, "weigh", n, arguments)?;
        Ok(-sum)
    };
    data.channel_weight
        .iter()
        .enumerate()
        .map(of_channel)
        .collect()
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::{noise, noise_in, Curvature, Interpolation, Stage, PRECISIONS};
    use crate::Affine;

    const SIZES: [(&[usize], &[usize]); 3] = [
        (&[17, 12], &[11, 13]),
        (&[13, 9, 7], &[11, 12, 5]),
        (&[5, 1, 4], &[1, 6, 3]),
    ];

    fn data(fixed: &[usize], moving: &[usize], channels: usize, masked: bool) -> SsdData {
        let shape: Vec<usize> = fixed.iter().rev().copied().collect();
        let mask = noise(1, fixed, 3).abs().unwrap().reshape(shape).unwrap();
        SsdData {
            fixed: noise(channels, fixed, 1),
            moving: noise(channels, moving, 2),
            mask: masked.then_some(mask),
            channel_weight: (0..channels).map(|c| 0.5 + c as f64).collect(),
            map: Affine::new(
                [[0.9, 0.1, 0.0], [-0.2, 1.1, 0.05], [0.1, 0.0, 0.8]],
                [1.3, -0.4, 0.2],
            ),
            interpolation: Interpolation::Linear,
        }
    }

    fn in_precision(data: &SsdData, dtype: DType) -> SsdData {
        SsdData {
            fixed: data.fixed.to_dtype(dtype).unwrap(),
            moving: data.moving.to_dtype(dtype).unwrap(),
            mask: data.mask.as_ref().map(|mask| mask.to_dtype(dtype).unwrap()),
            ..data.clone()
        }
    }

    fn put(stage: &Stage, data: &SsdData) -> SsdData {
        SsdData {
            fixed: stage.put(&data.fixed),
            moving: stage.put(&data.moving),
            mask: data.mask.as_ref().map(|mask| stage.put(mask)),
            ..data.clone()
        }
    }

    #[test]
    fn values_and_models_as_on_the_cpu() {
        let differences = Differences {
            weight: [[1.0, 0.7, 0.3], [0.2, 0.9, 0.4], [0.6, 0.8, 1.1]],
        };
        for stage in Stage::all() {
            for (fixed, moving) in SIZES {
                for (channels, masked) in [(1, false), (1, true), (5, true)] {
                    for interpolation in [Interpolation::Linear, Interpolation::Cubic] {
                        let mut here = data(fixed, moving, channels, masked);
                        here.interpolation = interpolation;
                        for (dtype, share) in PRECISIONS {
                            let here = in_precision(&here, dtype);
                            let there = put(&stage, &here);
                            compare(&stage, &here, &there, &differences, share);
                        }
                    }
                }
            }
        }
    }

    /// `share` of the tolerances of single precision.
    fn compare(
        stage: &Stage,
        here: &SsdData,
        there: &SsdData,
        differences: &Differences,
        share: f64,
    ) {
        let fixed = here.fixed_size();
        let (rank, dtype) = (fixed.len(), here.fixed.dtype());
        let u = noise_in(dtype, rank, &fixed, 4);
        let v = stage.put(&u);
        let what = format!(
            "{fixed:?}, {} channels, {:?}",
            here.channel_weight.len(),
            here.interpolation
        );
        let expected = [here.value(Some(&u)).unwrap(), here.value(None).unwrap()];
        let got = stage.run(|| [there.value(Some(&v)).unwrap(), there.value(None).unwrap()]);
        stage.numbers(&what, &expected, &got, 1e-6 * share);
        let expected = here.values(Some(&u), Some(differences)).unwrap();
        let got = stage
            .run(|| there.values(Some(&v), Some(differences)))
            .unwrap();
        stage.numbers(&what, &expected, &got, 1e-6 * share);
        let packed = rank * (rank + 1) / 2;
        for (curvature, entries) in [
            (Curvature::GaussNewton, rank),
            (Curvature::GaussNewton, packed),
            (Curvature::Newton, packed),
        ] {
            if entries == rank && !here.is_rank_one() {
                continue;
            }
            for with in [None, Some((differences, false)), Some((differences, true))] {
                let halves = [
                    (DType::F32, DType::F32),
                    (DType::F32, DType::F16),
                    (DType::F16, DType::F16),
                ];
                let kinds: &[_] = match dtype {
                    DType::F32 => &halves,
                    other => &[(other, other)],
                };
                for &(of_gradient, of_blocks) in kinds {
                    let model = |data: &SsdData, u: &Tensor, g: &Tensor, b: &Tensor| {
                        data.model(Some(u), with, curvature, (g, b), 0.1).unwrap()
                    };
                    let g = noise(rank, &fixed, 5).to_dtype(of_gradient).unwrap();
                    let b = noise(entries, &fixed, 6).to_dtype(of_blocks).unwrap();
                    let (h, c) = (stage.put(&g), stage.put(&b));
                    let expected = model(here, &u, &g, &b);
                    let got = stage.run(|| model(there, &v, &h, &c));
                    stage.numbers(&what, &expected, &got, 1e-6 * share);
                    // halves may differ by a unit in the last place
                    let tolerance = |dtype| match dtype {
                        DType::F16 => 1e-3,
                        _ => 1e-5 * share,
                    };
                    stage.same(&what, &[&g], &[&h], tolerance(of_gradient));
                    stage.same(&what, &[&b], &[&c], tolerance(of_blocks));
                }
            }
        }
    }

    #[test]
    fn cotangents_of_the_data_as_on_the_cpu() {
        for stage in Stage::all() {
            for (fixed, moving) in SIZES {
                for ((channels, masked), (dtype, share)) in [(1, false), (3, true)]
                    .into_iter()
                    .flat_map(|kind| PRECISIONS.map(|precision| (kind, precision)))
                {
                    for interpolation in [Interpolation::Linear, Interpolation::Cubic] {
                        let mut here = in_precision(&data(fixed, moving, channels, masked), dtype);
                        here.interpolation = interpolation;
                        let there = put(&stage, &here);
                        let [u, q] = [4, 5].map(|seed| noise_in(dtype, fixed.len(), fixed, seed));
                        let (v, p) = (stage.put(&u), stage.put(&q));
                        let expected = here.pullback(&u, &q).unwrap();
                        let got = stage.run(|| there.pullback(&v, &p)).unwrap();
                        let what = format!("{fixed:?}, {channels} channels, {interpolation:?}");
                        stage.same(&what, &[&expected.fixed], &[&got.fixed], 1e-5 * share);
                        stage.same(&what, &[&expected.moving], &[&got.moving], 1e-5 * share);
                        stage.same(&what, &[&expected.mask], &[&got.mask], 1e-5 * share);
                        let weights = [&expected.channel_weight, &got.channel_weight];
                        stage.numbers(&what, weights[0], weights[1], 1e-5 * share);
                    }
                }
            }
        }
    }

    #[test]
    fn what_has_no_twin_is_refused() {
        for stage in Stage::all() {
            let here = data(&[9, 8], &[9, 8], 2, false);
            let there = put(&stage, &here);
            let double = SsdData {
                fixed: there.fixed.to_dtype(DType::F64).unwrap(),
                ..there
            };
            let refused = stage.run(|| double.value(None));
            assert!(
                matches!(refused, Err(Error::NotOnDevice { .. })),
                "{refused:?}"
            );
        }
    }
}
