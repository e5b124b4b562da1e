//! Products with voxel blocks and their inverses on a GPU: kernels/blocks.cu.

use candle_core::Tensor;

use super::{inverse, BlockSystem};
use crate::ops::device::{rank, Argument, Launcher, Size, Source, Stored};
use crate::ops::diffusion::size;
use crate::Result;

/// What names the kernels of a system and lets them reach its blocks.
struct Form<'a> {
    launcher: &'a Launcher,
    size: Vec<usize>,
    voxels: usize,
    rank: usize,
    name: String,
    stored: Stored,
    blocks: Argument,
}

impl<'a> Form<'a> {
    fn of(launcher: &'a Launcher, system: &BlockSystem) -> Result<Self> {
        let size = size(&system.blocks);
        let (voxels, rank) = (size.iter().product::<usize>(), rank(&size));
        let (entries, stored) = (system.blocks.dims()[0], launcher.stored(&system.blocks)?);
        assert!(
            entries == rank || entries == rank * (rank + 1) / 2,
            "blocks"
        );
        let form = if entries == rank { "vector" } else { "packed" };
        Ok(Self {
            launcher,
            voxels,
            rank,
            name: format!("{form}_{}_{rank}", stored.name()),
            blocks: stored.input(&system.blocks, voxels * entries)?,
            stored,
            size,
        })
    }

    fn diagonal(&self, system: &BlockSystem) -> Argument {
        let weight = &system.differences.weight;
        let diagonal = inverse::diagonal(&self.size, weight, system.diagonal());
        self.launcher.vector(diagonal)
    }
}

pub(super) fn apply(
    launcher: &Launcher,
    system: &BlockSystem,
    p: &Tensor,
    out: &Tensor,
) -> Result<f64> {
    let form = Form::of(launcher, system)?;
    let length = form.voxels * form.rank;
    let arguments = vec![
        Argument::of(Size::of(&form.size)?),
        launcher.weights(&system.differences.weight),
        launcher.number(system.shift),
        form.blocks,
        form.stored.input(p, length)?,
        form.stored.output(out, length)?,
    ];
    let kernel = format!("product_{}", form.name);
    let [sum] = launcher.sums(&Source::BLOCKS, &kernel, form.voxels, arguments)?;
    Ok(sum)
}

pub(super) fn precondition(
    launcher: &Launcher,
    system: &BlockSystem,
    r: &Tensor,
    z: &Tensor,
) -> Result<[f64; 2]> {
    let form = Form::of(launcher, system)?;
    let length = form.voxels * form.rank;
    let arguments = vec![
        Argument::count(form.voxels)?,
        form.diagonal(system),
        form.blocks,
        form.stored.input(r, length)?,
        form.stored.output(z, length)?,
    ];
    let kernel = format!("precondition_{}", form.name);
    launcher.sums(&Source::BLOCKS, &kernel, form.voxels, arguments)
}

pub(super) fn advance(
    launcher: &Launcher,
    system: &BlockSystem,
    alpha: f64,
    p: &Tensor,
    [x, r, q]: [&Tensor; 3],
) -> Result<[f64; 2]> {
    let form = Form::of(launcher, system)?;
    let length = form.voxels * form.rank;
    let arguments = vec![
        Argument::count(form.voxels)?,
        form.diagonal(system),
        launcher.number(alpha),
        form.blocks,
        form.stored.input(p, length)?,
        form.stored.output(x, length)?,
        form.stored.output(r, length)?,
        form.stored.output(q, length)?,
    ];
    let kernel = format!("advance_{}", form.name);
    launcher.sums(&Source::BLOCKS, &kernel, form.voxels, arguments)
}

/// Packed blocks `B`, in place, so that every `B + diag(c)` has eigenvalues of at least `floor`.
pub(super) fn bound_below(
    launcher: &Launcher,
    blocks: &Tensor,
    c: &[f64],
    floor: f64,
) -> Result<()> {
    let size = size(blocks);
    let (n, rank, stored) = (size.iter().product(), rank(&size), launcher.stored(blocks)?);
    let added = std::array::from_fn(|a| c.get(a).copied().unwrap_or(0.0));
    let arguments = [
        Argument::count(n)?,
        launcher.vector(added),
        launcher.number(floor),
        stored.output(blocks, n * rank * (rank + 1) / 2)?,
    ];
    let kernel = format!("bound_{}_{rank}", stored.name());
    launcher.launch(&Source::BLOCKS, &kernel, n, &arguments)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use crate::ops::{noise, BlockSystem, Differences, Stage, PRECISIONS};

    fn system(blocks: candle_core::Tensor) -> BlockSystem {
        BlockSystem {
            blocks,
            differences: Differences {
                weight: [[1.0, 0.7, 0.3], [0.2, 0.9, 0.4], [0.6, 0.8, 1.1]],
            },
            shift: 0.1,
            extra_diagonal: [0.0, 0.3, 0.2],
        }
    }

    #[test]
    fn products_and_inverses_as_on_the_cpu() {
        for stage in Stage::all() {
            for size in [&[17, 12][..], &[1, 9], &[13, 11, 7], &[6, 1, 5]] {
                let rank = size.len();
                // noise makes some packed blocks indefinite, so that their stand-in is taken too
                for entries in [rank, rank * (rank + 1) / 2] {
                    for (dtype, share) in PRECISIONS {
                        compare(&stage, size, entries, dtype, 1e-5 * share);
                    }
                    // halves differ by a unit in the last place where single precision rounds the other way
                    compare(&stage, size, entries, DType::F16, 2e-3);
                }
            }
        }
    }

    fn compare(stage: &Stage, size: &[usize], entries: usize, dtype: DType, tolerance: f64) {
        let noise = |planes, seed| noise(planes, size, seed).to_dtype(dtype).unwrap();
        let here = system(noise(entries, 1));
        let there = system(stage.put(&here.blocks));
        let all = [2, 3, 4, 5].map(|seed| noise(size.len(), seed));
        let [p, x, r, q] = &all;
        let far = all.each_ref().map(|t| stage.put(t));
        let [fp, fx, fr, fq] = &far;
        let expected = here.apply(p, q).unwrap();
        let got = stage.run(|| there.apply(fp, fq)).unwrap();
        let scale = crate::ops::dot(q, q).unwrap();
        stage.numbers("form", &[expected, scale], &[got, scale], 0.1 * tolerance);
        stage.same("product", &[q], &[fq], tolerance);
        let expected = here.advance(0.1, p, x, r, q).unwrap();
        let got = stage.run(|| there.advance(0.1, fp, fx, fr, fq)).unwrap();
        stage.numbers("sums of an update", &expected, &got, tolerance);
        stage.same("update", &[x, r, q], &[fx, fr, fq], tolerance);
        let expected = here.precondition(r, q).unwrap();
        let got = stage.run(|| there.precondition(fr, fq)).unwrap();
        stage.numbers("sums of an inverse", &expected, &got, tolerance);
        stage.same("inverse", &[q], &[fq], tolerance);
    }

    #[test]
    fn blocks_are_bounded_as_on_the_cpu() {
        for stage in Stage::all() {
            for size in [&[17, 12][..], &[1, 9], &[13, 11, 7], &[6, 1, 5]] {
                let entries = size.len() * (size.len() + 1) / 2;
                for (dtype, tolerance) in
                    [(DType::F32, 1e-5), (DType::F64, 1e-13), (DType::F16, 2e-3)]
                {
                    for semidefinite in [false, true] {
                        let bound = |system: &BlockSystem| match semidefinite {
                            true => system.make_semidefinite().unwrap(),
                            false => system.make_definite().unwrap(),
                        };
                        let before = noise(entries, size, 1).to_dtype(dtype).unwrap();
                        let here = system(before.copy().unwrap());
                        let there = system(stage.put(&before));
                        bound(&here);
                        stage.run(|| bound(&there));
                        stage.same("bounded", &[&here.blocks], &[&there.blocks], tolerance);
                    }
                }
            }
        }
    }
}
