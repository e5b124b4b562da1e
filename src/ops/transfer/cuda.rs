//! The transfers on a GPU: kernels/transfer.cu.

use candle_core::Tensor;

use super::Transfer;
use crate::ops::device::{Argument, Launcher, Size, Source};
use crate::Result;

pub(super) fn restrict(
    launcher: &Launcher,
    transfer: &Transfer,
    fine: &Tensor,
    coarse: &Tensor,
) -> Result<()> {
    let ((mut arguments, n, m), planes) = (grids(transfer)?, coarse.dims()[0]);
    arguments.extend([
        Argument::count(planes)?,
        launcher.input(fine, n * planes)?,
        launcher.output(coarse, m * planes)?,
    ]);
    launcher.launch(&Source::TRANSFER, "restrict_field", m * planes, &arguments)
}

/// Writes or adds what is interpolated.
pub(super) fn prolong(
    launcher: &Launcher,
    transfer: &Transfer,
    added: bool,
    coarse: &Tensor,
    fine: &Tensor,
) -> Result<()> {
    let ((mut arguments, n, m), planes) = (grids(transfer)?, coarse.dims()[0]);
    arguments.extend([
        Argument::count(planes)?,
        Argument::of(i32::from(added)),
        launcher.input(coarse, m * planes)?,
        launcher.output(fine, n * planes)?,
    ]);
    launcher.launch(&Source::TRANSFER, "prolong", n * planes, &arguments)
}

/// Sums of packed blocks, or of the outer products of vectors.
pub(super) fn sums(
    launcher: &Launcher,
    transfer: &Transfer,
    vector: bool,
    fine: &Tensor,
    coarse: &Tensor,
) -> Result<()> {
    let (mut arguments, n, m) = grids(transfer)?;
    let rank = transfer.rank;
    let packed = rank * (rank + 1) / 2;
    arguments.extend([
        Argument::of(rank as i32),
        Argument::of(i32::from(vector)),
        launcher.input(fine, n * if vector { rank } else { packed })?,
        launcher.output(coarse, m * packed)?,
    ]);
    launcher.launch(&Source::TRANSFER, "sums", m, &arguments)
}

/// The first arguments of all kernels, and the voxels of both grids.
fn grids(transfer: &Transfer) -> Result<(Vec<Argument>, usize, usize)> {
    let [fine, coarse] = [&transfer.fine, &transfer.coarse];
    let arguments = vec![
        Argument::of(Size::of(fine)?),
        Argument::of(Size::of(coarse)?),
    ];
    Ok((arguments, fine.iter().product(), coarse.iter().product()))
}

#[cfg(test)]
mod tests {
    use super::Transfer;
    use crate::ops::{noise_in, BlockSystem, Differences, Stage, PRECISIONS};

    #[test]
    fn fields_and_blocks_as_on_the_cpu() {
        let sizes = [
            &[17, 12][..],
            &[1, 9],
            &[13, 11, 7],
            &[6, 1, 5],
            &[10, 8, 9],
        ];
        for stage in Stage::all() {
            for (size, (dtype, share)) in sizes
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                // of thick slices some axes are not halved
                for depth in [1.0, 0.04] {
                    let differences = Differences {
                        weight: [[1.0, 0.9, depth]; 3],
                    };
                    let transfer = Transfer::below(size, &differences).unwrap();
                    let (rank, below) = (size.len(), transfer.size());
                    let what = format!("{size:?}, {dtype:?}, {depth}");
                    let tolerance = 1e-6 * share;
                    let fine = noise_in(dtype, rank, size, 1);
                    let coarse = noise_in(dtype, rank, below, 2);
                    let [f, c] = [&fine, &coarse].map(|t| stage.put(t));
                    transfer.restrict(&fine, &coarse).unwrap();
                    stage.run(|| transfer.restrict(&f, &c)).unwrap();
                    stage.same(&what, &[&coarse], &[&c], tolerance);
                    transfer.add_prolonged(&coarse, &fine).unwrap();
                    stage.run(|| transfer.add_prolonged(&c, &f)).unwrap();
                    stage.same(&what, &[&fine], &[&f], tolerance);
                    transfer.prolong(&coarse, &fine).unwrap();
                    stage.run(|| transfer.prolong(&c, &f)).unwrap();
                    stage.same(&what, &[&fine], &[&f], tolerance);
                    for entries in [rank, rank * (rank + 1) / 2] {
                        let system = BlockSystem {
                            blocks: noise_in(dtype, entries, size, 3),
                            differences,
                            shift: 0.2,
                            extra_diagonal: [0.0; 3],
                        };
                        let there = BlockSystem {
                            blocks: stage.put(&system.blocks),
                            ..system.clone()
                        };
                        let blocks = noise_in(dtype, rank * (rank + 1) / 2, below, 4);
                        let far = stage.put(&blocks);
                        transfer.system(&system, &blocks).unwrap();
                        stage.run(|| transfer.system(&there, &far)).unwrap();
                        stage.same(&what, &[&blocks], &[&far], tolerance);
                    }
                }
            }
        }
    }
}
