//! The energy of a linear map on one level.

use candle_core::Tensor;

use crate::features::Level;
use crate::ops::{CorrelationData, CorrelationDerivative, CorrelationSums};
use crate::transform::Linear;
use crate::{Affine, Grid, Result};

/// Both images on a level.
#[derive(Debug)]
pub(super) struct AlignmentLevel {
    data: CorrelationData,
    pub fixed: Grid,
    pub moving: Grid,
    /// Weights of all fixed and of all moving voxels, in cubic millimetres.
    volumes: [f64; 2],
}

/// How well a map fits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fit {
    /// Mean over the channels of one minus the squared correlation, where it is positive: 0 is a perfect fit, 1 none.
    pub energy: f64,
    /// The volume that both images cover, as a share of the smaller one.
    pub overlap: f64,
}

/// Energy, gradient and Gauss-Newton matrix along the parameters of a map.
pub(super) struct Model {
    pub energy: f64,
    pub gradient: Vec<f64>,
    pub matrix: Vec<f64>,
}

impl AlignmentLevel {
    /// A level from both images on its grids, and the masks on theirs.
    pub fn new(
        fixed: Level,
        moving: Level,
        fixed_mask: Option<Tensor>,
        moving_mask: Option<Tensor>,
    ) -> Result<Self> {
        let volume = |grid: &Grid, mask: &Option<Tensor>| -> Result<f64> {
            let voxel: f64 = grid.spacing().iter().product();
            Ok(voxel
                * match mask {
                    Some(mask) => mask
                        .to_dtype(candle_core::DType::F64)?
                        .sum_all()?
                        .to_scalar::<f64>()?,
                    None => grid.voxels() as f64,
                })
        };
        Ok(Self {
            volumes: [
                volume(&fixed.grid, &fixed_mask)?,
                volume(&moving.grid, &moving_mask)?,
            ],
            data: CorrelationData {
                fixed: fixed.features,
                moving: moving.features,
                fixed_mask,
                moving_mask,
            },
            fixed: fixed.grid,
            moving: moving.grid,
        })
    }

    /// Features and mask of the fixed (0) or moving (1) image.
    pub fn image(&self, which: usize) -> (&Tensor, Option<&Tensor>, &Grid) {
        if which == 0 {
            (&self.data.fixed, self.data.fixed_mask.as_ref(), &self.fixed)
        } else {
            let mask = self.data.moving_mask.as_ref();
            (&self.data.moving, mask, &self.moving)
        }
    }

    fn index_map(&self, affine: &Affine) -> Affine {
        self.moving
            .world_to_index()
            .compose(affine)
            .compose(&self.fixed.index_to_world())
    }

    /// How well `affine` (fixed world to moving world) fits.
    pub fn fit(&self, affine: &Affine) -> Result<Fit> {
        let sums = self.data.sums(&self.index_map(affine))?;
        let voxel: f64 = self.fixed.spacing().iter().product();
        let moving = self.volumes[1] / affine.determinant().abs().max(f64::MIN_POSITIVE);
        let smaller = self.volumes[0].min(moving);
        Ok(Fit {
            energy: mean(sums.iter().map(|s| Channel::of(s).energy)),
            overlap: (sums[0].weight * voxel / smaller).min(1.0),
        })
    }

    /// The model of the energy at `affine` along the parameters of `linear`, whose maps act before `affine`.
    pub fn linearise(&self, affine: &Affine, linear: &Linear) -> Result<Model> {
        let into = self.moving.world_to_index().compose(affine);
        let from = self.fixed.index_to_world();
        let directions: Vec<Affine> = linear
            .derivatives()
            .iter()
            .map(|d| {
                let columns: [[f64; 3]; 3] = std::array::from_fn(|c| {
                    into.apply_vector(d.apply_vector(from.matrix.map(|row| row[c])))
                });
                Affine::new(
                    std::array::from_fn(|r| std::array::from_fn(|c| columns[c][r])),
                    into.apply_vector(d.apply(from.translation)),
                )
            })
            .collect();
        let n = directions.len();
        let channels = self.data.derivative(&self.index_map(affine), &directions)?;
        let mut model = Model {
            energy: mean(channels.iter().map(|c| Channel::of(&c.sums).energy)),
            gradient: vec![0.0; n],
            matrix: vec![0.0; n * n],
        };
        let share = 1.0 / channels.len() as f64;
        for channel in &channels {
            add(channel, share, &mut model);
        }
        Ok(model)
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// The best scale and shift of a channel's warped intensities towards the fixed ones.
struct Channel {
    energy: f64,
    /// Never negative: contrasts do not invert.
    gain: f64,
    offset: f64,
    /// `sum w (f - mean f)^2` and the same of the warped intensities.
    fixed_spread: f64,
    moving_spread: f64,
}

impl Channel {
    fn of(s: &CorrelationSums) -> Self {
        let fixed_spread = s.fixed_fixed - s.fixed * s.fixed / s.weight;
        let moving_spread = s.moving_moving - s.moving * s.moving / s.weight;
        let joint = s.fixed_moving - s.fixed * s.moving / s.weight;
        // what is left of equal numbers after rounding does not count
        let flat = |spread: f64, square: f64| spread.is_nan() || spread <= 1e-6 * square;
        if flat(fixed_spread, s.fixed_fixed) || flat(moving_spread, s.moving_moving) || joint <= 0.0
        {
            return Self {
                energy: 1.0,
                gain: 0.0,
                offset: 0.0,
                fixed_spread: 1.0,
                moving_spread: 1.0,
            };
        }
        let gain = joint / moving_spread;
        Self {
            energy: (1.0 - gain * joint / fixed_spread).max(0.0),
            gain,
            offset: (s.fixed - gain * s.moving) / s.weight,
            fixed_spread,
            moving_spread,
        }
    }
}

/// Adds a channel's share of gradient and matrix: those of `sum w (gain m + offset - f)^2 / fixed_spread` with gain and
/// offset eliminated.
fn add(channel: &CorrelationDerivative, share: f64, model: &mut Model) {
    let fit = Channel::of(&channel.sums);
    if fit.gain == 0.0 {
        return;
    }
    let n = model.gradient.len();
    let scale = 2.0 * share * fit.gain / fit.fixed_spread;
    let (weight, moving) = (channel.sums.weight, channel.sums.moving);
    let along: Vec<f64> = (0..n)
        .map(|k| channel.slope_moving[k] - channel.slope[k] * moving / weight)
        .collect();
    for k in 0..n {
        model.gradient[k] += scale
            * (fit.gain * channel.slope_moving[k] + fit.offset * channel.slope[k]
                - channel.slope_fixed[k]);
        for l in 0..n {
            model.matrix[k * n + l] += scale
                * fit.gain
                * (channel.slope_slope[k * n + l]
                    - channel.slope[k] * channel.slope[l] / weight
                    - along[k] * along[l] / fit.moving_spread);
        }
    }
}
