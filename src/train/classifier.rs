//! From features to labels.

use candle_core::{Device, Tensor, Var};

use super::{DataSet, Subject, TrainingConfig};
use crate::features::{FeatureLevel, NetworkConfig, Parameters};
use crate::image::distinct;
use crate::ops::{convolve, on_host, read, resize};
use crate::{Error, Result, Rng};

/// A linear map on each level from feature channels to labels, which a pretraining needs and no registration does.
#[derive(Debug)]
pub(super) struct Classifier {
    /// What can be told apart, ascending; the first channel of the logits is none of them.
    ids: Vec<u32>,
    /// Weights and offsets of each level, coarse first.
    levels: Vec<[Tensor; 2]>,
    parameters: Parameters,
}

impl Classifier {
    /// With random weights; `tracked` says whether gradients flow to them.
    pub fn new(ids: &[u32], config: &NetworkConfig, seed: u64, tracked: bool) -> Result<Self> {
        let mut rng = Rng::new(seed ^ 0x94d0_49bb_1331_11eb);
        let (classes, channels) = (ids.len() + 1, config.outputs);
        let deviation = 1.0 / (channels as f64).sqrt();
        let mut shape = vec![classes, channels];
        shape.resize(config.rank + 2, 1);
        let mut values = Vec::new();
        for shrink in &config.shrinks {
            let weights: Vec<f32> = (0..classes * channels)
                .map(|_| (deviation * rng.normal()) as f32)
                .collect();
            let weights = Tensor::from_vec(weights, shape.as_slice(), &Device::Cpu)?;
            let offsets = Tensor::from_vec(vec![0f32; classes], classes, &Device::Cpu)?;
            values.push((format!("classifier{shrink}.weight"), weights));
            values.push((format!("classifier{shrink}.offset"), offsets));
        }
        Self::of(ids, values, tracked)
    }

    /// With these weights and offsets, level after level.
    fn of(ids: &[u32], values: Vec<(String, Tensor)>, tracked: bool) -> Result<Self> {
        let (mut parts, mut entries) = (Vec::new(), Vec::new());
        for (name, value) in values {
            let var = Var::from_tensor(&value)?;
            parts.push(match tracked {
                true => var.as_tensor().clone(),
                false => var.as_tensor().detach(),
            });
            entries.push((name, var));
        }
        let levels = parts.chunks_exact(2);
        Ok(Self {
            ids: ids.to_vec(),
            levels: levels.map(|l| [l[0].clone(), l[1].clone()]).collect(),
            parameters: Parameters::of(entries),
        })
    }

    /// The same on a device.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let tracked = self.levels.iter().any(|[weight, _]| weight.is_variable());
        let carried = |(name, var): (&str, &Var)| {
            Ok((name.to_owned(), var.as_detached_tensor().to_device(device)?))
        };
        let values = self.parameters.iter().map(carried);
        Self::of(&self.ids, values.collect::<Result<_>>()?, tracked)
    }

    /// What can be told apart.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The logits of a level, `[batch, 1 + labels, (nz,) ny, nx]`.
    pub fn logits(&self, number: usize, level: &FeatureLevel) -> Result<Tensor> {
        let [weight, offset] = &self.levels[number];
        let unit = vec![1; level.grid.rank()];
        convolve(&level.features, weight, Some(offset), &unit)
    }

    /// The labels of a subject's voxels as its finest features have them.
    pub fn labels(&self, subject: &Subject, levels: &[FeatureLevel]) -> Result<Vec<u32>> {
        let number = levels.len() - 1;
        let finest = &levels[number];
        let mut logits = self.logits(number, finest)?.squeeze(0)?;
        if finest.grid.size() != subject.image.grid.size() {
            logits = resize(&logits, subject.image.grid.size())?;
        }
        let voxels = subject.image.grid.voxels();
        let logits = logits.contiguous()?.to_device(&Device::Cpu)?;
        let best = |logits: &[f32]| {
            let mut best = vec![(f32::NEG_INFINITY, 0); voxels];
            for (class, values) in logits.chunks_exact(voxels).enumerate() {
                let id = class.checked_sub(1).map_or(0, |place| self.ids[place]);
                for (best, &value) in best.iter_mut().zip(values) {
                    if value > best.0 {
                        *best = (value, id);
                    }
                }
            }
            best.into_iter().map(|(_, id)| id).collect()
        };
        on_host(|| read::<f32, _>(&logits, best))
    }
}

/// What a pretraining sorts voxels by, twice: to be trained, and to hold mean weights; none where there is no pretraining.
pub(super) fn classifiers(
    config: &TrainingConfig,
    data: Option<&DataSet>,
) -> Result<Option<[Classifier; 2]>> {
    if config.pretraining.is_none() {
        return Ok(None);
    }
    let subjects = data.into_iter().flat_map(DataSet::subjects);
    let mut ids: Vec<u32> = subjects.flat_map(Subject::ids).collect();
    if let (Some(synthesis), true) = (&config.synthesis, data.is_none() || config.synthetic > 0.0) {
        ids.extend(synthesis.phantom_labels(config.seed)?);
    }
    let ids = distinct(&ids);
    if ids.is_empty() {
        return Err(Error::data(
            "data",
            "no subject has the labels that the pretraining asks for; name them in [data], or leave [pretraining] out",
        ));
    }
    let make = |tracked| Classifier::new(&ids, &config.network, config.seed, tracked);
    Ok(Some([make(true)?, make(false)?]))
}
