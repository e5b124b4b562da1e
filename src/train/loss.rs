//! What a training minimises.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::overlap::{overlap_loss, LabelShares};
use super::Subject;
use crate::features::FeatureLevel;
use crate::layer::LayerLevel;
use crate::ops::{lncc, on_host, resize};
use crate::{Error, Result, Rng};

/// Weights of the losses. Each level of the registration has its own, on its own grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// One minus the soft Dice of the labels, its mean over the labels that both subjects have.
    pub dice: f64,
    /// Mean squared difference of the intensities.
    pub mse: f64,
    /// One minus the squared local correlation ([`lncc`](fn@crate::lncc)) of the intensities, in a box of seven voxels.
    pub lncc: f64,
    /// Mean distance of the landmarks, in tenths of the field of view's smallest side.
    pub landmarks: f64,
    /// Weight of each level, coarse first; the same for each where it is empty.
    pub levels: Vec<f64>,
    /// Steps after which the next finer level joins the coarser ones; 0 trains all from the first step.
    pub curriculum: usize,
    /// Most labels of one pair, drawn at random where there are more.
    pub labels: usize,
    /// Through which images' features gradients flow.
    pub through: GradientSide,
}

/// Through which images' features gradients flow: a step through one costs half of the network's backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GradientSide {
    /// Both.
    Both,
    /// The fixed or the moving image's, drawn for each pair.
    Either,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            dice: 1.0,
            mse: 0.0,
            lncc: 0.0,
            landmarks: 0.0,
            levels: Vec::new(),
            curriculum: 0,
            labels: 32,
            through: GradientSide::Both,
        }
    }
}

/// Side of the local correlation's window, voxels: its standard deviation is two.
const WINDOW: usize = 7;

impl LossConfig {
    pub(super) fn check(&self) -> Result<()> {
        let weights = [
            ("dice", self.dice),
            ("mse", self.mse),
            ("lncc", self.lncc),
            ("landmarks", self.landmarks),
        ];
        for (name, weight) in weights {
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(Error::argument(
                    format!("loss.{name}"),
                    format!("must not be negative, got {weight}"),
                ));
            }
        }
        if weights.iter().all(|(_, weight)| *weight == 0.0) {
            return Err(Error::argument(
                "loss",
                "every weight is zero: nothing to learn",
            ));
        }
        if self.levels.iter().any(|w| w.is_nan() || *w < 0.0) {
            return Err(Error::argument("loss.levels", "must not be negative"));
        }
        if self.labels == 0 {
            return Err(Error::argument("loss.labels", "must be at least 1"));
        }
        Ok(())
    }

    /// How many levels take part at a step, of `levels`.
    pub(super) fn active(&self, step: usize, levels: usize) -> usize {
        match step.checked_div(self.curriculum) {
            Some(joined) => (joined + 1).min(levels),
            None => levels,
        }
    }

    /// Weight of a level.
    pub(super) fn level(&self, number: usize) -> f64 {
        self.levels.get(number).copied().unwrap_or(1.0)
    }

    /// The labels of a pair that count this time.
    pub(super) fn labels_of(&self, pair: &[Subject; 2], rng: &mut Rng) -> Vec<u32> {
        if self.dice == 0.0 {
            return Vec::new();
        }
        let [fixed, moving] = pair;
        let (mut ids, others) = (fixed.ids(), moving.ids());
        ids.retain(|id| others.binary_search(id).is_ok());
        while ids.len() > self.labels {
            ids.remove(rng.below(ids.len()));
        }
        ids
    }

    /// The loss of one level as part of the graph, its weight included; none where nothing applies to the pair.
    ///
    /// Everything is compared on the grid of the level: labels as shares of its voxels, so that what lies apart at full
    /// resolution can meet.
    pub(super) fn of_level(
        &self,
        pair: &[Subject; 2],
        ids: &[u32],
        number: usize,
        level: &LayerLevel,
        moving_level: &FeatureLevel,
    ) -> Result<Option<Tensor>> {
        let weight = self.level(number);
        if weight == 0.0 {
            return Ok(None);
        }
        let [fixed, moving] = pair;
        let (fixed_grid, moving_grid) = (&level.grid, &moving_level.grid);
        let mut terms: Vec<Tensor> = Vec::new();
        if !ids.is_empty() {
            // labels and points are the CPU's, wherever the features lie
            let u = level.displacement.get(0)?.to_device(&Device::Cpu)?;
            let loss = on_host(|| {
                overlap_loss(
                    ids,
                    LabelShares::new(fixed, ids, fixed_grid)?,
                    LabelShares::new(moving, ids, moving_grid)?,
                    &u,
                    level.map(0, moving_grid, fixed_grid),
                )
            })?;
            terms.push((loss * self.dice)?);
        }
        if self.mse > 0.0 || self.lncc > 0.0 {
            let device = level.displacement.device();
            let image = |subject: &Subject, size: &[usize]| {
                resize(&subject.image.features.to_device(device)?, size)
            };
            let of_fixed = image(fixed, fixed_grid.size())?;
            let of_moving = image(moving, moving_grid.size())?.unsqueeze(0)?;
            let warped = level
                .warp(&of_moving, moving_grid, fixed_grid)?
                .squeeze(0)?;
            if self.mse > 0.0 {
                let error = (&warped - &of_fixed)?.sqr()?.mean_all()?;
                terms.push((error.to_device(&Device::Cpu)? * self.mse)?);
            }
            if self.lncc > 0.0 {
                let window = vec![WINDOW; fixed_grid.rank()];
                let apart = lncc(&of_fixed, &warped, &window)?.to_device(&Device::Cpu)?;
                terms.push((apart * self.lncc)?);
            }
        }
        if let (true, Some(from), Some(to)) =
            (self.landmarks > 0.0, &fixed.landmarks, &moving.landmarks)
        {
            if from.len() != to.len() || from.is_empty() {
                return Err(Error::data(
                    "landmarks",
                    format!(
                        "{} has {}, {} has {}: they correspond by their order, so there must be as many",
                        fixed.name,
                        from.len(),
                        moving.name,
                        to.len()
                    ),
                ));
            }
            terms.push((landmark_loss(level, from, to)? * self.landmarks)?);
        }
        let mut terms = terms.into_iter();
        let Some(mut sum) = terms.next() else {
            return Ok(None);
        };
        for term in terms {
            sum = (sum + term)?;
        }
        Ok(Some((sum * weight)?))
    }
}

/// The mean distance between where the fixed points come to lie and the moving points.
fn landmark_loss(level: &LayerLevel, from: &[[f64; 3]], to: &[[f64; 3]]) -> Result<Tensor> {
    let grid = &level.grid;
    let rank = grid.rank();
    let (to_index, to_world) = (grid.world_to_index(), grid.index_to_world());
    let u = level.displacement.get(0)?.to_device(&Device::Cpu)?;
    let u = u.flatten_from(1)?;
    let side = (0..rank)
        .map(|a| grid.size()[a] as f64 * grid.spacing()[a])
        .fold(f64::INFINITY, f64::min);
    // moving points brought back through the affine map, so that the rest is the displacement's to do
    let back = level.affine[0].inverse()?;
    let mut distances = Vec::with_capacity(from.len());
    for (x, y) in from.iter().zip(to) {
        let at = to_index.apply(*x);
        let around = grid.around(at);
        let (corners, weights): (Vec<u32>, Vec<f64>) =
            around.iter().map(|&(c, w)| (c as u32, w)).unzip();
        let corners = Tensor::from_vec(corners, weights.len(), &Device::Cpu)?;
        let weights = Tensor::from_vec(weights, (1, corners.elem_count()), &Device::Cpu)?
            .to_dtype(u.dtype())?;
        let there = u
            .index_select(&corners, 1)?
            .broadcast_mul(&weights)?
            .sum(1)?;
        let target = to_index.apply(back.apply(*y));
        let missing: Vec<f64> = (0..rank).map(|a| target[a] - at[a]).collect();
        let missing = Tensor::from_vec(missing, rank, &Device::Cpu)?.to_dtype(u.dtype())?;
        let mut scale = Vec::with_capacity(rank * rank);
        for world in 0..rank {
            scale.extend((0..rank).map(|a| to_world.matrix[world][a]));
        }
        let scale = Tensor::from_vec(scale, (rank, rank), &Device::Cpu)?.to_dtype(u.dtype())?;
        let error = scale.matmul(&(there - missing)?.unsqueeze(1)?)?;
        distances.push((error.sqr()?.sum_all()? + 1e-6)?.sqrt()?);
    }
    let mean = Tensor::stack(&distances, 0)?.mean_all()?;
    Ok((mean * (10.0 / side))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Affine, Grid};
    use candle_core::Var;

    /// A displacement that is known leaves no distance, and the gradient of another agrees with finite differences.
    #[test]
    fn landmarks_are_where_the_displacement_takes_them() {
        let turn = [[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]];
        let grid = Grid::new(&[7, 6], &[1.0, 2.0], [3.0, -4.0, 0.0], turn).unwrap();
        let affine = Affine {
            translation: [1.0, -2.0, 0.0],
            ..Affine::identity()
        };
        let u: Vec<f64> = (0..84).map(|v| if v < 42 { 0.5 } else { -0.25 }).collect();
        let level = |u: &Tensor| LayerLevel {
            grid: grid.clone(),
            displacement: u.clone(),
            affine: vec![affine],
            reports: vec![None],
            adjoints: vec![None],
        };
        let u =
            Var::from_tensor(&Tensor::from_vec(u, (1, 2, 6, 7), &Device::Cpu).unwrap()).unwrap();
        let world = grid.index_to_world();
        let from = [world.apply([2.3, 3.6, 0.0]), world.apply([4.0, 1.2, 0.0])];
        let to = [[2.8, 3.35, 0.0], [4.5, 0.95, 0.0]].map(|p| affine.apply(world.apply(p)));
        let loss = landmark_loss(&level(u.as_tensor()), &from, &to).unwrap();
        // the root is rounded off at a thousandth of a millimetre
        let side = 7.0;
        assert!(loss.to_scalar::<f64>().unwrap() < 1.1e-3 * 10.0 / side);

        let away = to.map(|p| [p[0] + 1.0, p[1] - 0.7, p[2]]);
        let value = |u: &Tensor| {
            let loss = landmark_loss(&level(u), &from, &away).unwrap();
            loss.to_scalar::<f64>().unwrap()
        };
        let loss = landmark_loss(&level(u.as_tensor()), &from, &away).unwrap();
        let gradient = loss.backward().unwrap().get(&u).unwrap().clone();
        let direction = Tensor::randn(0.0, 1.0, (1, 2, 6, 7), &Device::Cpu).unwrap();
        let slope = (gradient * &direction).unwrap().sum_all().unwrap();
        let slope = slope.to_scalar::<f64>().unwrap();
        let h = 1e-5;
        let at = |t: f64| value(&(u.as_tensor() + (&direction * t).unwrap()).unwrap());
        let difference = (at(h) - at(-h)) / (2.0 * h);
        assert!((slope - difference).abs() < 1e-7 * slope.abs().max(1.0));
    }
}
