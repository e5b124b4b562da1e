//! Normalisation on a GPU: kernels/normalise.cu.

use candle_core::{DType, Tensor};

use super::{Normalised, EPSILON};
use crate::ops::device::{Argument, Doubles, Launcher, Pieces, Plain, Source};
use crate::Result;

/// Channels of an item, and how many of them are a group.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Groups {
    channels: i32,
    together: i32,
}

// SAFETY: `struct Groups` of the kernel.
unsafe impl Plain for Groups {}

/// Mean and reciprocal deviation of each run of `length` elements, doubles `[runs, 2]`.
pub(super) fn statistics(launcher: &Launcher, maps: &Tensor, length: usize) -> Result<Tensor> {
    let n = maps.elem_count();
    let pieces = Pieces::of(n / length, length);
    let parts = Doubles::new(launcher, 2 * pieces.tasks())?;
    let arguments = [
        pieces.argument()?,
        launcher.input(maps, n)?,
        parts.output()?,
    ];
    launcher.blocks(
        &Source::NORMALISE,
        "moments_of_groups",
        pieces.tasks(),
        &arguments,
    )?;
    let found = launcher.empty(&[n / length, 2], DType::F64)?;
    let arguments = [
        pieces.argument()?,
        Argument::of(EPSILON),
        launcher.input(maps, n)?,
        parts.input()?,
        Argument::output_of(&found, DType::F64, 2 * (n / length))?,
    ];
    launcher.launch(
        &Source::NORMALISE,
        "statistics_of_groups",
        n / length,
        &arguments,
    )?;
    Ok(found)
}

/// The normalised maps.
pub(super) fn value(launcher: &Launcher, of: &Normalised) -> Result<Tensor> {
    let n = of.maps.elem_count();
    let out = launcher.empty(of.maps.dims(), launcher.precision().dtype())?;
    let mut arguments = vec![Argument::count(n)?, Argument::count(of.voxels)?];
    arguments.extend(of.arguments(launcher)?);
    arguments.extend([launcher.input(&of.maps, n)?, launcher.output(&out, n)?]);
    launcher.launch(&Source::NORMALISE, "value", n, &arguments)?;
    Ok(out)
}

/// The cotangents of maps, gain and offset.
pub(super) fn pull_back(
    launcher: &Launcher,
    of: &Normalised,
    cotangent: &Tensor,
) -> Result<[Tensor; 3]> {
    let (n, channels) = (of.maps.elem_count(), of.gain.elem_count());
    let (runs, groups) = (n / of.voxels, n / of.voxels / of.together);
    let dtype = launcher.precision().dtype();
    let pieces = Pieces::of(runs, of.voxels);
    let parts = Doubles::new(launcher, 2 * pieces.tasks())?;
    let run = |kernel: &str, n: usize, arguments: &[Argument]| {
        launcher.launch(&Source::NORMALISE, kernel, n, arguments)
    };

    let mut arguments = vec![pieces.argument()?];
    arguments.extend(of.arguments(launcher)?);
    arguments.extend([
        launcher.input(&of.maps, n)?,
        launcher.input(cotangent, n)?,
        parts.output()?,
    ]);
    launcher.blocks(
        &Source::NORMALISE,
        "sums_of_runs",
        pieces.tasks(),
        &arguments,
    )?;

    let sums = Doubles::new(launcher, 2 * runs)?;
    let arguments = [
        pieces.argument()?,
        of.groups(),
        of.statistics()?,
        parts.input()?,
        sums.output()?,
    ];
    run("totals_of_runs", runs, &arguments)?;

    let [of_gain, of_offset] = [
        launcher.empty(&[channels], dtype)?,
        launcher.empty(&[channels], dtype)?,
    ];
    let arguments = [
        Argument::count(runs)?,
        of.groups(),
        sums.input()?,
        launcher.output(&of_gain, channels)?,
        launcher.output(&of_offset, channels)?,
    ];
    run("back_to_parameters", channels, &arguments)?;

    let taken = launcher.empty(&[groups, 2], dtype)?;
    let arguments = [
        Argument::count(groups)?,
        Argument::count(of.voxels)?,
        of.groups(),
        of.statistics()?,
        launcher.input(&of.gain, channels)?,
        sums.input()?,
        launcher.output(&taken, 2 * groups)?,
    ];
    run("means_of_groups", groups, &arguments)?;

    let of_maps = launcher.empty(of.maps.dims(), dtype)?;
    let mut arguments = vec![Argument::count(n)?, Argument::count(of.voxels)?];
    arguments.extend(of.arguments(launcher)?);
    arguments.extend([
        launcher.input(&taken, 2 * groups)?,
        launcher.input(&of.maps, n)?,
        launcher.input(cotangent, n)?,
        launcher.output(&of_maps, n)?,
    ]);
    run("back_to_maps", n, &arguments)?;
    Ok([of_maps, of_gain, of_offset])
}

impl Normalised {
    /// What every pass is told.
    fn arguments(&self, launcher: &Launcher) -> Result<[Argument; 5]> {
        let channels = self.gain.elem_count();
        Ok([
            self.groups(),
            launcher.number(self.slope),
            self.statistics()?,
            launcher.input(&self.gain, channels)?,
            launcher.input(&self.offset, channels)?,
        ])
    }

    fn groups(&self) -> Argument {
        Argument::of(Groups {
            channels: self.gain.elem_count() as i32,
            together: self.together as i32,
        })
    }

    fn statistics(&self) -> Result<Argument> {
        let count = self.statistics.elem_count();
        Argument::input_of(&self.statistics, DType::F64, count)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};

    use crate::ops::{noise_in, normalise, Stage, PRECISIONS};

    #[test]
    fn values_and_gradients_as_on_the_cpu() {
        for stage in Stage::all() {
            for (size, channels, groups, slope) in [
                (&[17, 13][..], 6, 6, 0.01),
                (&[9, 8, 7], 6, 2, 0.2),
                (&[70, 61], 2, 1, 0.0),
                (&[5, 1, 6], 3, 3, 1.0),
            ] {
                for (dtype, share) in PRECISIONS {
                    // seen along other axes than they lie
                    let shape: Vec<usize> = [channels, 2]
                        .into_iter()
                        .chain(size.iter().rev().copied())
                        .collect();
                    let maps = |seed: u64, far: f64| {
                        let maps = noise_in(dtype, 2 * channels, size, seed)
                            .reshape(shape.clone())
                            .unwrap();
                        maps.affine(0.7, far).unwrap()
                    };
                    let of_channels = |seed: u64| {
                        noise_in(dtype, channels, &[1, 1], seed)
                            .flatten_all()
                            .unwrap()
                    };
                    // far from zero, where sums of squares alone would not do
                    let (x, g) = (maps(1, 50.0), maps(2, 0.0));
                    let (a, b) = (of_channels(3), of_channels(4));
                    let all = |put: &dyn Fn(&Tensor) -> Tensor| -> Vec<Tensor> {
                        let leaves = [&x, &a, &b].map(|t| Var::from_tensor(&put(t)).unwrap());
                        let [x, a, b] = leaves.each_ref().map(Var::as_tensor);
                        let x = x.transpose(0, 1).unwrap();
                        let out = normalise(&x, a, b, groups, slope).unwrap();
                        let g = put(&g.transpose(0, 1).unwrap().contiguous().unwrap());
                        let loss = (&out * g).unwrap().sum_all().unwrap();
                        let store = loss.backward().unwrap();
                        let gradients = leaves.iter().map(|leaf| store.get(leaf).unwrap().clone());
                        std::iter::once(out.detach()).chain(gradients).collect()
                    };
                    let expected = all(&Tensor::clone);
                    let got = stage.run(|| all(&|t| stage.put(t)));
                    for (k, (expected, got)) in expected.iter().zip(&got).enumerate() {
                        let what = format!("{size:?} {groups} {k}");
                        stage.same(&what, &[expected], &[got], 1e-5 * share);
                    }
                }
            }
        }
    }
}
