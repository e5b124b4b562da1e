//! The soft Dice of labels that a displacement carries to others.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::Subject;
use crate::image::label_shares;
use crate::ops::{read, record, sampled, sampled_gradient, size, Interpolation};
use crate::{Affine, Grid, Result};

/// Labels whose shares of the voxels are at hand at a time: all thirty of a brain would take more memory than its network.
const GROUP: usize = 4;

/// Voxels that are added up in one piece.
const PIECE: usize = 1 << 14;

/// Added to the sums of shares, so that labels without any have a quotient.
const ROUND: f64 = 1e-6;

/// The share of each of some labels in each voxel of a grid over the labels' field of view.
pub(super) struct LabelShares {
    labels: Arc<[u32]>,
    from: Grid,
    to: Grid,
    /// All of them, where the grid is coarser than the labels' own: small, and dearer to make than to keep.
    coarse: Option<Tensor>,
}

impl LabelShares {
    pub(super) fn new(subject: &Subject, ids: &[u32], to: &Grid) -> Result<Self> {
        let (labels, from) = (
            subject.labels.as_deref().unwrap_or(&[]),
            &subject.image.grid,
        );
        let coarse = from.size() != to.size();
        let all = || label_shares(labels, from, ids, to);
        Ok(Self {
            labels: labels.into(),
            coarse: coarse.then(all).transpose()?,
            from: from.clone(),
            to: to.clone(),
        })
    }

    /// Those of a run of the labels, `[ids, (nz,) ny, nx]`.
    fn of(&self, ids: &[u32], first: usize, count: usize) -> Result<Tensor> {
        match &self.coarse {
            Some(all) => Ok(all.narrow(0, first, count)?.contiguous()?),
            None => label_shares(
                &self.labels,
                &self.from,
                &ids[first..first + count],
                &self.to,
            ),
        }
    }
}

/// One minus the soft Dice of each label between the fixed shares and the moving ones at `map(x + u(x))`, its mean over the
/// labels.
///
/// `u` is `[rank, (nz,) ny, nx]` in voxels of the fixed shares' grid; `map` carries fixed index to moving index. Gradients
/// flow through the displacement. Shares are made again on the way back, a few labels at a time.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when `u` does not lie on the fixed grid.
pub(super) fn overlap_loss(
    ids: &[u32],
    fixed: LabelShares,
    moving: LabelShares,
    u: &Tensor,
    map: Affine,
) -> Result<Tensor> {
    let u = u.to_dtype(DType::F32)?.contiguous()?;
    let at = u.detach();
    let (mut both, mut all) = (Vec::new(), Vec::new());
    for first in (0..ids.len()).step_by(GROUP) {
        let count = GROUP.min(ids.len() - first);
        let (of_fixed, of_moving) = (fixed.of(ids, first, count)?, moving.of(ids, first, count)?);
        let warped = sampled(
            &of_moving,
            Some(&at),
            &size(&at),
            &map,
            Interpolation::Linear,
        )?;
        let (common, sums) = quotient(&of_fixed, &warped)?;
        both.extend(common);
        all.extend(sums);
    }
    let count = ids.len() as f64;
    let dice = both.iter().zip(&all).map(|(both, all)| 2.0 * both / all);
    let loss = 1.0 - dice.sum::<f64>() / count;
    let loss = Tensor::new(loss as f32, at.device())?;
    let ids = ids.to_vec();
    record("overlap", &u, loss, move |cotangent| {
        let mut gradient = at.zeros_like()?;
        for first in (0..ids.len()).step_by(GROUP) {
            let number = GROUP.min(ids.len() - first);
            let (of_fixed, of_moving) = (
                fixed.of(&ids, first, number)?,
                moving.of(&ids, first, number)?,
            );
            let mut slopes = Vec::with_capacity(number);
            for k in 0..number {
                let (both, all) = (both[first + k], all[first + k]);
                let (common, every) = (2.0 / (all * count), 2.0 * both / (all * all * count));
                slopes.push(of_fixed.narrow(0, k, 1)?.affine(-common, every)?);
            }
            let slopes = Tensor::cat(&slopes, 0)?;
            let part = sampled_gradient(&of_moving, &at, &map, Interpolation::Linear, &slopes)?;
            gradient = (gradient + part)?;
        }
        Ok(gradient.broadcast_mul(cotangent)?)
    })
}

/// Of each label, what two shares have in common, and the sum of both.
fn quotient(a: &Tensor, b: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    let (labels, voxels) = (a.dims()[0], a.elem_count() / a.dims()[0]);
    let of_label = |a: &[f32], b: &[f32]| {
        let pairs = a.par_chunks(PIECE).zip(b.par_chunks(PIECE));
        let pieces = pairs.map(|(a, b)| {
            let pairs = a.iter().zip(b);
            pairs.fold([0.0; 2], |[common, all], (&a, &b)| {
                let (a, b) = (f64::from(a), f64::from(b));
                [common + a * b, all + a + b]
            })
        });
        // in order, whatever the threads
        let pieces: Vec<[f64; 2]> = pieces.collect();
        let sums = pieces
            .iter()
            .fold([0.0; 2], |s, p| [s[0] + p[0], s[1] + p[1]]);
        (sums[0], sums[1] + ROUND)
    };
    read::<f32, _>(&a.contiguous()?, |a| {
        read::<f32, _>(b, |b| {
            let volume = |k: usize| k * voxels..(k + 1) * voxels;
            (0..labels)
                .map(|k| of_label(&a[volume(k)], &b[volume(k)]))
                .unzip()
        })
    })?
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::Image;

    fn subject(size: &[usize], labels: Vec<u32>) -> Subject {
        let grid = Grid::axis_aligned(size, &[1.0, 1.0]).unwrap();
        let values = (0..grid.voxels()).map(|v| (v % 7) as f32).collect();
        let image = Image::new(grid, 1, values).unwrap();
        Subject::new("subject", image, Some(labels), None, &[]).unwrap()
    }

    fn shares(subject: &Subject, ids: &[u32]) -> LabelShares {
        LabelShares::new(subject, ids, &subject.image.grid).unwrap()
    }

    #[test]
    fn at_rest_it_is_that_of_counted_voxels() {
        let (a, b) = (
            subject(&[2, 2], vec![1, 1, 0, 0]),
            subject(&[2, 2], vec![1, 0, 0, 0]),
        );
        let u = Tensor::zeros((2, 2, 2), DType::F32, &Device::Cpu).unwrap();
        let loss = overlap_loss(
            &[1],
            shares(&a, &[1]),
            shares(&b, &[1]),
            &u,
            Affine::identity(),
        );
        let loss = loss.unwrap().to_scalar::<f32>().unwrap();
        assert!((loss - (1.0 - 2.0 / 3.0)).abs() < 1e-5, "{loss}");
    }

    /// More labels than are at hand at a time, some of them in one subject alone.
    #[test]
    fn its_gradient_agrees_with_finite_differences() {
        let size = [9, 8];
        let ids: Vec<u32> = (1..=6).collect();
        let of = |shift: u32| (0..72).map(|v| (v / 5 + shift) * 5 % 7).collect();
        let (a, b) = (subject(&size, of(0)), subject(&size, of(1)));
        let map = Affine {
            translation: [0.31, -0.22, 0.0],
            ..Affine::identity()
        };
        let value =
            |u: &Tensor| overlap_loss(&ids, shares(&a, &ids), shares(&b, &ids), u, map).unwrap();
        let mut rng = crate::Rng::new(3);
        // away from the voxel planes, where the interpolation bends
        let places = (0..144).map(|_| 0.2 * rng.uniform() as f32).collect();
        let u = Tensor::from_vec(places, (2, 8, 9), &Device::Cpu).unwrap();
        let direction: Vec<f32> = (0..144).map(|_| rng.uniform() as f32 - 0.5).collect();
        let direction = Tensor::from_vec(direction, (2, 8, 9), &Device::Cpu).unwrap();
        let var = Var::from_tensor(&u).unwrap();
        let gradient = value(var.as_tensor())
            .backward()
            .unwrap()
            .get(&var)
            .unwrap()
            .clone();
        let slope = (gradient * &direction).unwrap().sum_all().unwrap();
        let slope = slope.to_scalar::<f32>().unwrap();
        let h = 0.02;
        let at = |t: f64| {
            let moved = (&u + (&direction * t).unwrap()).unwrap();
            value(&moved).to_scalar::<f32>().unwrap()
        };
        let difference = (at(h) - at(-h)) / (2.0 * h as f32);
        assert!(
            (slope - difference).abs() < 2e-3 * slope.abs(),
            "{slope} {difference}"
        );
    }
}
