//! The soft Dice of labels that a displacement carries to others.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::Subject;
use crate::image::label_shares;
use crate::ops::{
    on_host, read, record, sampled, sampled_gradient, size, CarriedLabels, Interpolation, Shares,
};
use crate::{Affine, Grid, Result};

/// Labels whose shares of the voxels are at hand at a time: all thirty of a brain would take more memory than its network.
const GROUP: usize = 4;

/// Voxels that are added up in one piece.
const PIECE: usize = 1 << 14;

/// Added to the sums of shares, so that labels without any have a quotient.
const ROUND: f64 = 1e-6;

/// Some labels of a subject on a grid over their field of view.
pub(super) struct LabelShares {
    labels: Arc<[u32]>,
    from: Grid,
    to: Grid,
    /// The share of each label in each voxel, `[ids, (nz,) ny, nx]`, where the grid is coarser than the labels' own: small, and
    /// dearer to make than to keep.
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

    /// The place of each voxel's label among the ids, and their number where it is none of them.
    fn places(&self, ids: &[u32]) -> Vec<u16> {
        let place = |label: u32| ids.binary_search(&label).unwrap_or(ids.len()) as u16;
        // neighbours are mostly alike
        let mut last = (0, place(0));
        let labels = self.labels.iter();
        labels
            .map(|&label| {
                if label != last.0 {
                    last = (label, place(label));
                }
                last.1
            })
            .collect()
    }
}

/// One minus the soft Dice of each label between the fixed shares and the moving ones at `map(x + u(x))`, its mean over the
/// labels.
///
/// `ids` ascend, fewer than 65535. `u` is `[rank, (nz,) ny, nx]` in voxels of the fixed shares' grid; `map` carries fixed index
/// to moving index. Gradients flow through the displacement.
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
    let pair = Pair {
        ids: ids.to_vec(),
        fixed,
        moving,
        map,
    };
    // on the labels' own voxels all of them are carried in one pass
    let whole = pair.fixed.coarse.is_none() && pair.moving.coarse.is_none();
    let whole = whole.then(|| [&pair.fixed, &pair.moving].map(|shares| shares.places(ids)));
    let shares = match &whole {
        Some(places) => pair.carried(places).shares(&at)?,
        None => pair.shares(&at)?,
    };
    let count = ids.len() as f64;
    let dice = shares.iter().map(|s| 2.0 * s.common / (s.all + ROUND));
    let loss = 1.0 - dice.sum::<f64>() / count;
    let loss = Tensor::new(loss as f32, at.device())?;
    let common = shares.iter().map(|s| -2.0 / ((s.all + ROUND) * count));
    let common: Vec<f64> = common.collect();
    let all = shares
        .iter()
        .map(|s| 2.0 * s.common / ((s.all + ROUND) * (s.all + ROUND) * count));
    let all: Vec<f64> = all.collect();
    record("overlap", &u, loss, move |cotangent| {
        let gradient = on_host(|| match &whole {
            Some(places) => pair.carried(places).gradient(&at, &common, &all),
            None => pair.gradient(&at, &common, &all),
        })?;
        Ok(gradient.broadcast_mul(cotangent)?)
    })
}

/// The labels of a pair and how they lie on each other.
struct Pair {
    ids: Vec<u32>,
    fixed: LabelShares,
    moving: LabelShares,
    map: Affine,
}

impl Pair {
    fn carried<'a>(&'a self, [fixed, moving]: &'a [Vec<u16>; 2]) -> CarriedLabels<'a> {
        CarriedLabels {
            fixed,
            moving,
            moving_size: self.moving.to.size(),
            map: &self.map,
            count: self.ids.len(),
        }
    }

    /// Calls `work` with the fixed and the moving shares of a few labels at a time, and the place of the first.
    fn groups(&self, mut work: impl FnMut(usize, [Tensor; 2]) -> Result<()>) -> Result<()> {
        for first in (0..self.ids.len()).step_by(GROUP) {
            let count = GROUP.min(self.ids.len() - first);
            let of = |shares: &LabelShares| shares.of(&self.ids, first, count);
            work(first, [of(&self.fixed)?, of(&self.moving)?])?;
        }
        Ok(())
    }

    fn shares(&self, u: &Tensor) -> Result<Vec<Shares>> {
        let mut shares = Vec::with_capacity(self.ids.len());
        self.groups(|_, [fixed, moving]| {
            let warped = sampled(&moving, Some(u), &size(u), &self.map, Interpolation::Linear)?;
            shares.extend(quotients(&fixed, &warped)?);
            Ok(())
        })?;
        Ok(shares)
    }

    fn gradient(&self, u: &Tensor, common: &[f64], all: &[f64]) -> Result<Tensor> {
        let mut gradient = u.zeros_like()?;
        self.groups(|first, [fixed, moving]| {
            let labels = first..first + fixed.dims()[0];
            let slope = |k: usize| Ok(fixed.narrow(0, k - first, 1)?.affine(common[k], all[k])?);
            let slopes = labels.map(slope).collect::<Result<Vec<Tensor>>>()?;
            let slopes = Tensor::cat(&slopes, 0)?;
            let part = sampled_gradient(&moving, u, &self.map, Interpolation::Linear, &slopes)?;
            gradient = (&gradient + part)?;
            Ok(())
        })?;
        Ok(gradient)
    }
}

/// The shares of each label in two maps of them.
fn quotients(a: &Tensor, b: &Tensor) -> Result<Vec<Shares>> {
    let (labels, voxels) = (a.dims()[0], a.elem_count() / a.dims()[0]);
    let of_label = |a: &[f32], b: &[f32]| {
        let pairs = a.par_chunks(PIECE).zip(b.par_chunks(PIECE));
        let pieces = pairs.map(|(a, b)| {
            let pairs = a.iter().zip(b);
            pairs.fold(Shares::default(), |sum, (&a, &b)| {
                let (a, b) = (f64::from(a), f64::from(b));
                Shares {
                    common: sum.common + a * b,
                    all: sum.all + a + b,
                }
            })
        });
        // in order, whatever the threads
        let pieces: Vec<Shares> = pieces.collect();
        pieces.iter().fold(Shares::default(), |sum, part| Shares {
            common: sum.common + part.common,
            all: sum.all + part.all,
        })
    };
    read::<f32, _>(&a.contiguous()?, |a| {
        read::<f32, _>(b, |b| {
            let volume = |k: usize| k * voxels..(k + 1) * voxels;
            (0..labels)
                .map(|k| of_label(&a[volume(k)], &b[volume(k)]))
                .collect()
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

    /// Labels that are carried in one pass are as their shares, with positions outside among them.
    #[test]
    fn one_pass_is_as_all_shares() {
        let mut rng = crate::Rng::new(5);
        for size in [&[9usize, 8][..], &[9, 7, 6], &[5, 1, 4]] {
            let spacing = vec![1.0; size.len()];
            let grid = Grid::axis_aligned(size, &spacing).unwrap();
            let voxels = grid.voxels();
            let mut labels = || -> Vec<u32> { (0..voxels).map(|_| rng.below(5) as u32).collect() };
            let (fixed, moving) = (labels(), labels());
            let mut map = Affine {
                translation: [0.3, -0.2, 0.4],
                ..Affine::identity()
            };
            map.matrix[0][1] = 0.2;
            map.matrix[1][0] = -0.1;
            let shape = [&[size.len()], grid.shape().as_slice()].concat();
            let u: Vec<f32> = (0..size.len() * voxels)
                .map(|_| 4.0 * rng.uniform() as f32 - 2.0)
                .collect();
            let u = Tensor::from_vec(u, shape, &Device::Cpu).unwrap();
            let ids = [1, 2, 4];
            let shares = |labels: &[u32]| LabelShares {
                labels: labels.into(),
                from: grid.clone(),
                to: grid.clone(),
                coarse: None,
            };
            let pair = Pair {
                ids: ids.to_vec(),
                fixed: shares(&fixed),
                moving: shares(&moving),
                map,
            };
            let places = [&pair.fixed, &pair.moving].map(|s| s.places(&ids));
            let carried = pair.carried(&places);
            let expected = pair.shares(&u).unwrap();
            for (got, expected) in carried.shares(&u).unwrap().iter().zip(expected) {
                approx::assert_relative_eq!(got.common, expected.common, max_relative = 1e-5);
                approx::assert_relative_eq!(got.all, expected.all, max_relative = 1e-5);
            }
            let factors = [[0.3, -0.2, 0.5], [0.1, 0.4, -0.3]];
            let got = carried.gradient(&u, &factors[0], &factors[1]).unwrap();
            let expected = pair.gradient(&u, &factors[0], &factors[1]).unwrap();
            let gap = (got - expected).unwrap().abs().unwrap().max_all().unwrap();
            assert!(gap.to_scalar::<f32>().unwrap() < 1e-5, "{size:?}: {gap}");
        }
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
