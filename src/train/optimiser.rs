//! The optimiser of a training.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::features::Parameters;
use crate::{Error, Result};

/// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) with a schedule of its rate and clipped gradients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimiserConfig {
    /// Learning rate at its highest.
    pub rate: f64,
    /// How the rate falls.
    pub schedule: RateSchedule,
    /// Steps over which it rises from zero at the start.
    pub warmup: usize,
    /// How fast weights decay, relative to the rate.
    pub decay: f64,
    /// Largest norm of the gradient of all weights together; a longer one is shortened. 0 leaves it as it is.
    pub clip: f64,
    /// Share by which the mean of the weights over steps follows the weights: validation and the weights file take the mean.
    /// 0 takes the weights themselves.
    pub averaging: f64,
}

/// How the learning rate falls from its highest to zero at the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateSchedule {
    /// It does not.
    Constant,
    /// Half a cosine.
    Cosine,
    /// The square of the share of the steps that are left.
    Quadratic,
}

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

impl Default for OptimiserConfig {
    fn default() -> Self {
        Self {
            rate: 1e-3,
            schedule: RateSchedule::Cosine,
            warmup: 10,
            decay: 0.01,
            clip: 1.0,
            averaging: 0.02,
        }
    }
}

impl OptimiserConfig {
    /// What is wrong with it, if anything; `table` is where it stands, for messages.
    pub(super) fn check(&self, table: &str) -> Result<()> {
        let numbers = [
            ("rate", self.rate, f64::INFINITY),
            ("decay", self.decay, f64::INFINITY),
            ("clip", self.clip, f64::INFINITY),
            ("averaging", self.averaging, 1.0),
        ];
        for (name, value, most) in numbers {
            if !(value >= 0.0 && value <= most) {
                return Err(Error::argument(
                    format!("{table}.{name}"),
                    format!("must lie between 0 and {most}, got {value}"),
                ));
            }
        }
        Ok(())
    }

    /// The rate of a step, counted from 0, of so many.
    pub(super) fn rate_at(&self, step: usize, steps: usize) -> f64 {
        let warm = ((step + 1) as f64 / (self.warmup + 1) as f64).min(1.0);
        let done = step as f64 / steps as f64;
        let fall = match self.schedule {
            RateSchedule::Constant => 1.0,
            RateSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            RateSchedule::Quadratic => (1.0 - done).powi(2),
        };
        self.rate * warm * fall
    }
}

/// Moments of the gradients and the mean of the weights, one tensor a parameter each.
#[derive(Debug)]
pub(super) struct AdamW {
    config: OptimiserConfig,
    parameters: Parameters,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    mean: Vec<Tensor>,
    updates: usize,
}

/// What the moments and means are called in a checkpoint.
const PARTS: [&str; 3] = ["first", "second", "mean"];

impl AdamW {
    pub fn new(config: &OptimiserConfig, parameters: Parameters) -> Result<Self> {
        let mut zeros = Vec::new();
        let mut mean = Vec::new();
        for (_, var) in parameters.iter() {
            zeros.push(var.as_detached_tensor().zeros_like()?);
            mean.push(var.as_detached_tensor().copy()?);
        }
        Ok(Self {
            config: config.clone(),
            parameters,
            first: zeros.clone(),
            second: zeros,
            mean,
            updates: 0,
        })
    }

    /// Updates the weights by a gradient a parameter; returns the gradient's norm before it was shortened. A gradient that is
    /// not finite changes nothing.
    pub fn step(&mut self, gradients: &[Option<Tensor>], rate: f64) -> Result<f64> {
        let mut square = 0.0;
        for gradient in gradients.iter().flatten() {
            let sum = gradient.sqr()?.sum_all()?.to_dtype(DType::F64)?;
            square += sum.to_scalar::<f64>()?;
        }
        let norm = square.sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        let clip = self.config.clip;
        let shorten = if clip > 0.0 && norm > clip {
            clip / norm
        } else {
            1.0
        };
        self.updates += 1;
        let [b1, b2] = BETAS;
        let correct = |beta: f64| 1.0 / (1.0 - beta.powi(self.updates as i32));
        let (c1, c2) = (correct(b1), correct(b2));
        for (place, (_, var)) in self.parameters.iter().enumerate() {
            let value = var.as_detached_tensor();
            if let Some(gradient) = &gradients[place] {
                let gradient = (gradient * shorten)?;
                let first = ((&self.first[place] * b1)? + (&gradient * (1.0 - b1))?)?;
                let second = ((&self.second[place] * b2)? + (gradient.sqr()? * (1.0 - b2))?)?;
                let scale = ((&second * c2)?.sqrt()? + EPSILON)?;
                let step = ((&first * c1)? / scale)?;
                let decayed = (&value * (1.0 - rate * self.config.decay))?;
                var.set(&(decayed - (step * rate)?)?)?;
                self.first[place] = first;
                self.second[place] = second;
            }
            let follow = self.follow();
            let value = var.as_detached_tensor();
            self.mean[place] = ((&self.mean[place] * (1.0 - follow))? + (value * follow)?)?;
        }
        Ok(norm)
    }

    /// The same for parameters of the same names on another device.
    pub fn carried_to(&self, parameters: Parameters) -> Result<Self> {
        let mut there = Self::new(&self.config, parameters)?;
        there.restore("optimiser", &self.state()?, self.updates)?;
        Ok(there)
    }

    /// Updates so far; a gradient that is not finite makes none.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// How far the mean follows at this update; closely at first.
    fn follow(&self) -> f64 {
        if self.config.averaging == 0.0 {
            return 1.0;
        }
        self.config
            .averaging
            .max(1.0 / (1.0 + self.updates as f64))
            .min(1.0)
    }

    /// What is trained.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The mean weights by name, those of parameters of the same names.
    pub fn means_of(&self, parameters: &Parameters) -> Vec<(String, Tensor)> {
        let names = self.parameters.iter().map(|(name, _)| name.to_owned());
        names
            .zip(self.mean.iter().cloned())
            .filter(|(name, _)| parameters.get(name).is_some())
            .collect()
    }

    /// Everything that a later step depends on, by name.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for (place, (name, var)) in self.parameters.iter().enumerate() {
            state.push((format!("weight.{name}"), var.as_detached_tensor().copy()?));
            let parts = [&self.first, &self.second, &self.mean];
            for (part, tensors) in PARTS.iter().zip(parts) {
                state.push((format!("{part}.{name}"), tensors[place].clone()));
            }
        }
        Ok(state)
    }

    /// Takes up a state after so many updates; `what` is for messages.
    pub fn restore(
        &mut self,
        what: &str,
        state: &[(String, Tensor)],
        updates: usize,
    ) -> Result<()> {
        let part = |part: &str| -> Vec<(String, Tensor)> {
            let prefix = format!("{part}.");
            state
                .iter()
                .filter_map(|(name, tensor)| {
                    let name = name.strip_prefix(&prefix)?;
                    Some((name.to_owned(), tensor.clone()))
                })
                .collect()
        };
        // all that is missing or misshapen is found before anything is changed
        let mut parts = Vec::new();
        for name in PARTS {
            let tensors = part(name);
            let mut ordered = Vec::new();
            for (parameter, var) in self.parameters.iter() {
                let found = tensors
                    .iter()
                    .find(|(n, t)| n == parameter && t.dims() == var.dims())
                    .ok_or_else(|| {
                        Error::data(
                            what,
                            format!(
                                "has no tensor '{name}.{parameter}' of shape {:?}: a checkpoint of another network",
                                var.dims()
                            ),
                        )
                    })?;
                ordered.push(found.1.to_device(var.device())?);
            }
            parts.push(ordered);
        }
        self.parameters.assign(what, &part("weight"))?;
        let mut parts = parts.into_iter();
        for slot in [&mut self.first, &mut self.second, &mut self.mean] {
            *slot = parts.next().unwrap_or_default();
        }
        self.updates = updates;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_rise_and_fall() {
        let config = |schedule| OptimiserConfig {
            rate: 2.0,
            warmup: 3,
            schedule,
            ..OptimiserConfig::default()
        };
        let constant = config(RateSchedule::Constant);
        assert_eq!(constant.rate_at(0, 100), 0.5);
        assert_eq!(constant.rate_at(3, 100), 2.0);
        assert_eq!(constant.rate_at(99, 100), 2.0);
        for schedule in [RateSchedule::Cosine, RateSchedule::Quadratic] {
            let config = config(schedule);
            assert!(config.rate_at(99, 100) < 2e-3);
            assert!((4..99).all(|s| config.rate_at(s, 100) > config.rate_at(s + 1, 100)));
        }
    }
}
