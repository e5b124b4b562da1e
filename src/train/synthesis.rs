//! Training pairs made without images.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::appearance::noise;
use super::{DataSet, Subject};
use crate::image::{distinct, Image};
use crate::ops::{resize, smooth};
use crate::{Error, Grid, Phantom, Result, Rng};

/// Pairs whose images are painted over maps of labels: each label gets a random intensity in each image, so that a network
/// learns what does not depend on contrast (Hoffmann et al. 2022, arXiv:2004.10325). Both images of a pair show one map,
/// bent as the augmentation says; `augmentation.elastic` and `augmentation.apart` must then not be zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthesisConfig {
    /// Where the maps come from: `shapes` (random blobs), `phantom` (brain-like, of another anatomy each time) or `labels`
    /// (those of the training subjects).
    pub source: LabelSource,
    /// Voxels along each axis, for shapes and phantoms.
    pub size: Vec<usize>,
    /// Distance of the voxels, mm.
    pub spacing: f64,
    /// Labels of random shapes.
    pub shapes: usize,
    /// Probability that both images of a pair have the same intensities for their labels.
    pub same_contrast: f64,
    /// For phantoms and their real contrast: the probability that the phantom's own intensities are kept.
    pub own_contrast: f64,
    /// Largest standard deviation of intensities within a label.
    pub texture: f64,
}

/// Where label maps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelSource {
    /// Random blobs.
    Shapes,
    /// Brain-like phantoms.
    Phantom,
    /// Those of subjects.
    Labels,
}

impl Default for SynthesisConfig {
    fn default() -> Self {
        Self {
            source: LabelSource::Shapes,
            size: vec![64, 64, 64],
            spacing: 1.0,
            shapes: 16,
            same_contrast: 0.5,
            own_contrast: 0.0,
            texture: 0.1,
        }
    }
}

impl SynthesisConfig {
    pub(super) fn check(&self, rank: usize) -> Result<()> {
        let fail = |name: &str, reason: String| Err(Error::argument(name, reason));
        if self.source != LabelSource::Labels {
            if self.size.len() != rank {
                return fail(
                    "synthesis.size",
                    format!(
                        "expected {rank} numbers as the network has axes, got {:?}",
                        self.size
                    ),
                );
            }
            if self.size.iter().any(|&n| n < 8) {
                return fail(
                    "synthesis.size",
                    format!("must be at least 8 along each axis, got {:?}", self.size),
                );
            }
        }
        if self.spacing.is_nan() || self.spacing <= 0.0 {
            return fail("synthesis.spacing", "must be positive".into());
        }
        if !(2..=255).contains(&self.shapes) {
            return fail(
                "synthesis.shapes",
                format!("must lie between 2 and 255, got {}", self.shapes),
            );
        }
        for (name, share) in [
            ("same_contrast", self.same_contrast),
            ("own_contrast", self.own_contrast),
            ("texture", self.texture),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return fail(
                    &format!("synthesis.{name}"),
                    format!("must lie between 0 and 1, got {share}"),
                );
            }
        }
        Ok(())
    }

    /// The grid of its pairs; none where it is that of subjects.
    pub(super) fn grid(&self) -> Result<Option<Grid>> {
        if self.source == LabelSource::Labels {
            return Ok(None);
        }
        Grid::axis_aligned(&self.size, &vec![self.spacing; self.size.len()]).map(Some)
    }

    /// A pair of subjects over one map, not yet moved apart; `data` are the subjects whose maps may be taken.
    pub(super) fn pair(&self, data: Option<&DataSet>, rng: &mut Rng) -> Result<[Subject; 2]> {
        if self.source == LabelSource::Phantom && rng.uniform() < self.own_contrast {
            return self.phantom_pair(rng);
        }
        let (grid, labels) = match self.source {
            LabelSource::Shapes => self.blobs(rng)?,
            LabelSource::Phantom => {
                let spacing = vec![self.spacing; self.size.len()];
                let phantom = Phantom::pair(&self.size, &spacing, rng.bits())?;
                (phantom.grid, phantom.fixed_labels)
            }
            LabelSource::Labels => {
                let data = data.ok_or_else(|| {
                    Error::argument(
                        "synthesis.source",
                        "labels need subjects: add a table [data] with labels",
                    )
                })?;
                let [subject, _] = data.pair(rng);
                let labels = subject.labels.clone().ok_or_else(|| {
                    Error::data(&subject.name, "has no labels to make synthetic pairs from")
                })?;
                (subject.image.grid.clone(), labels)
            }
        };
        let most = labels.iter().copied().max().unwrap_or(0) as usize;
        let first = Palette::draw(most, self.texture, rng);
        let second = if rng.uniform() < self.same_contrast {
            first.clone()
        } else {
            Palette::draw(most, self.texture, rng)
        };
        Ok([
            first.paint("synthetic, fixed", &grid, &labels, rng)?,
            second.paint("synthetic, moving", &grid, &labels, rng)?,
        ])
    }

    /// The labels of phantoms, where maps are theirs.
    pub(super) fn phantom_labels(&self, seed: u64) -> Result<Vec<u32>> {
        if self.source != LabelSource::Phantom {
            return Ok(Vec::new());
        }
        let spacing = vec![self.spacing; self.size.len()];
        let phantom = Phantom::pair(&self.size, &spacing, seed)?;
        Ok(distinct(&phantom.fixed_labels))
    }

    /// Two subjects of one phantom anatomy with its own contrast and warp.
    fn phantom_pair(&self, rng: &mut Rng) -> Result<[Subject; 2]> {
        let spacing = vec![self.spacing; self.size.len()];
        let phantom = Phantom::pair(&self.size, &spacing, rng.bits())?;
        let subject = |name: &str, values: Vec<f32>, labels: Vec<u32>| {
            let image = Image::new(phantom.grid.clone(), 1, values)?;
            Subject::new(name, image, Some(labels), None, &[])
        };
        Ok([
            subject("phantom, fixed", phantom.fixed, phantom.fixed_labels)?,
            subject("phantom, moving", phantom.moving, phantom.moving_labels)?,
        ])
    }

    /// Random blobs: at each voxel the label whose smooth noise is largest.
    fn blobs(&self, rng: &mut Rng) -> Result<(Grid, Vec<u32>)> {
        let grid = Grid::axis_aligned(&self.size, &vec![self.spacing; self.size.len()])?;
        let mut best = vec![(f32::NEG_INFINITY, 0u32); grid.voxels()];
        for label in 0..self.shapes as u32 {
            // each of a size of its own, from a third to a tenth of the field of view
            let knots = 3 + rng.below(8);
            let mut shape = vec![1];
            shape.extend(vec![knots; grid.rank()]);
            let noise = noise(1.0, &shape, rng)?;
            let nodes = resize(&noise, &vec![3 * knots; grid.rank()])?;
            let nodes = smooth(&nodes, &vec![1.5; grid.rank()])?;
            let values: Vec<f32> = resize(&nodes, grid.size())?.flatten_all()?.to_vec1()?;
            let deviation =
                (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
            for (best, value) in best.iter_mut().zip(values) {
                let value = value / deviation.max(1e-6);
                if value > best.0 {
                    *best = (value, label);
                }
            }
        }
        Ok((grid, best.into_iter().map(|(_, label)| label).collect()))
    }
}

/// An intensity and a texture for each label.
#[derive(Debug, Clone)]
struct Palette(Vec<(f32, f32)>);

impl Palette {
    /// For labels up to `most`; background is black more often than not.
    fn draw(most: usize, texture: f64, rng: &mut Rng) -> Self {
        let dark = rng.uniform() < 0.7;
        Self(
            (0..=most)
                .map(|label| {
                    let level = rng.uniform() as f32;
                    let texture = (texture * rng.uniform()) as f32;
                    if label == 0 && dark {
                        (0.0, 0.0)
                    } else {
                        (level, texture)
                    }
                })
                .collect(),
        )
    }

    fn paint(&self, name: &str, grid: &Grid, labels: &[u32], rng: &mut Rng) -> Result<Subject> {
        let values: Vec<f32> = labels
            .iter()
            .map(|&label| {
                let (level, texture) = self.0[label as usize];
                level + texture * rng.normal() as f32
            })
            .collect();
        let mut shape = vec![1];
        shape.extend(grid.shape());
        let crisp = Tensor::from_vec(values, shape, &Device::Cpu)?;
        let soft = smooth(&crisp, &vec![rng.range(0.4, 1.0); grid.rank()])?;
        let image = Image::new(grid.clone(), 1, soft.flatten_all()?.to_vec1()?)?;
        Subject::new(name, image, Some(labels.to_vec()), None, &[])
    }
}
