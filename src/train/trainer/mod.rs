//! The training itself.

mod files;
mod footprint;

use std::time::Instant;

use candle_core::{DType, Device};

use super::checkpoint::{self, Progress};
use super::classifier::{classifiers, Classifier};
use super::lesson::{mean_gradients, Lesson};
use super::log::{Log, TrainingStep};
use super::optimiser::AdamW;
use super::pair::learn;
use super::segmentation::learn_labels;
use super::validation::{segmentation, validate};
use super::workers::Workers;
use super::{DataSet, TrainingConfig, Validation};
use crate::features::{FeatureNetwork, Unet, Weights};
use crate::image::write_bytes;
use crate::layer::RegistrationLayer;
use crate::ops::of_device;
use crate::{Error, Result};

/// A training that runs step by step, writes what it has learnt, and can be taken up again.
///
/// Everything random in a step follows from the seed and the step's number, so a training that was stopped and resumed
/// gives the same bits as one that was not, with any number of threads.
#[derive(Debug)]
pub struct Trainer {
    config: TrainingConfig,
    network: Unet,
    /// A network of the same make that holds the mean weights, outside all graphs.
    average: Unet,
    /// What the pretraining sorts voxels by, and a twin that holds the mean weights; none after it.
    classifiers: Option<[Classifier; 2]>,
    layer: RegistrationLayer,
    /// As the configuration says, or because memory is scarce.
    recompute: bool,
    data: Option<DataSet>,
    validation: Option<DataSet>,
    optimiser: AdamW,
    workers: Workers,
    progress: Progress,
    log: Log,
    /// What a user should know of the data, in whole sentences.
    pub warnings: Vec<String>,
}

/// Steps in a row without an update after which a training gives up.
const PATIENCE: usize = 10;

impl Trainer {
    /// A training from its first step.
    ///
    /// # Errors
    /// Those of the configuration and the data; [`Error::Format`] when the folder holds a checkpoint, which would be lost.
    pub fn new(config: &TrainingConfig) -> Result<Self> {
        let checkpoint = checkpoint::path(&config.out);
        if checkpoint.exists() {
            return Err(Error::format(
                checkpoint,
                "is of a training that was begun; resume it, or move its folder away",
            ));
        }
        Self::prepare(config)
    }

    /// A training from its last checkpoint.
    ///
    /// # Errors
    /// Those of [`Trainer::new`]; [`Error::Io`] or [`Error::Format`] when the checkpoint cannot be read or is of another
    /// configuration or network.
    pub fn resume(config: &TrainingConfig) -> Result<Self> {
        let (progress, state) = checkpoint::read(&config.out, config)?;
        let mut trainer = Self::prepare(config)?;
        if config.pretraining.is_some() && progress.step >= config.pretraining_steps() {
            trainer.end_pretraining()?;
        }
        let what = checkpoint::path(&config.out).display().to_string();
        trainer.optimiser.restore(&what, &state, progress.updates)?;
        trainer.log.read(progress.step)?;
        trainer.progress = progress;
        Ok(trainer)
    }

    fn prepare(config: &TrainingConfig) -> Result<Self> {
        config.check()?;
        let (rank, channels) = (config.network.rank, config.network.inputs);
        let read = |data: &Option<super::DataConfig>| {
            data.as_ref()
                .map(|data| DataSet::read(data, rank, channels))
                .transpose()
        };
        let (data, validation) = (read(&config.data)?, read(&config.validation)?);
        Self::with_data(config, data, validation)
    }

    /// A training on subjects made in memory, in place of those that the configuration names.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with_data(
        config: &TrainingConfig,
        data: Option<DataSet>,
        validation: Option<DataSet>,
    ) -> Result<Self> {
        config.check()?;
        config.check_source(data.is_some())?;
        if let Some(data) = &data {
            let labels = data.subjects().any(|s| s.labels.is_some());
            let points = data.subjects().any(|s| s.landmarks.is_some());
            let loss = &config.loss;
            let others = loss.mse > 0.0 || loss.lncc > 0.0;
            let usable = others || (loss.dice > 0.0 && labels) || (loss.landmarks > 0.0 && points);
            if config.steps > 0 && !usable {
                return Err(Error::data(
                    "data",
                    "no subject has the labels or landmarks that the loss asks for; name them in [data], or give loss.lncc a \
                     weight",
                ));
            }
        }
        if let Some(validation) = &validation {
            if !validation
                .subjects()
                .any(|s| s.labels.is_some() || s.landmarks.is_some())
            {
                return Err(Error::data(
                    "validation",
                    "no subject has labels or landmarks to judge by",
                ));
            }
        }
        let network = Unet::new(&config.network, config.base()?, config.seed, DType::F32)?;
        if let Some(file) = &config.weights {
            Weights::read(file)?.assign(&network)?;
        }
        let average = Unet::still(&config.network, config.base()?, config.seed, DType::F32)?;
        let classifiers = classifiers(config, data.as_ref())?;
        let optimiser = match (&config.pretraining, &classifiers) {
            (Some(pretraining), Some([learning, _])) => AdamW::new(
                &pretraining.optimiser,
                network.parameters().joined(learning.parameters()),
            )?,
            _ => AdamW::new(&config.optimiser, network.parameters())?,
        };
        let images = config.pretraining.as_ref().map_or(0, |p| p.images);
        let sets = data.iter().chain(&validation);
        let warnings = sets.flat_map(|set| set.warnings.clone()).collect();
        Ok(Self {
            layer: config.layer()?,
            recompute: config.recompute,
            workers: Workers::new(config.batch.max(images))?,
            log: Log::new(
                &config.out,
                config.network.shrinks.len(),
                config.pretraining_steps(),
            ),
            progress: Progress {
                step: 0,
                updates: 0,
                failed: 0,
                best: None,
                seconds: 0.0,
            },
            config: config.clone(),
            network,
            average,
            classifiers,
            data,
            validation,
            optimiser,
            warnings,
        })
    }

    /// The same training on a device: networks, solves and optimiser lie there, images are read, varied and judged on the CPU.
    ///
    /// A checkpoint goes on wherever it was written; the last bits are those of the device.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the networks find no room.
    pub fn to_device(mut self, device: &Device) -> Result<Self> {
        self.network = self.network.to_device(device)?;
        self.average = self.average.to_device(device)?;
        self.layer.deformation.device = device.clone();
        let mut parameters = self.network.parameters();
        if let Some(both) = &mut self.classifiers {
            for classifier in both.iter_mut() {
                *classifier = classifier.to_device(device)?;
            }
            parameters = parameters.joined(both[0].parameters());
        }
        self.optimiser = self.optimiser.carried_to(parameters)?;
        Ok(self)
    }

    /// Steps that are done, those of the pretraining among them.
    pub fn step(&self) -> usize {
        self.progress.step
    }

    /// The steps so far.
    pub fn history(&self) -> &[TrainingStep] {
        self.log.rows()
    }

    /// The network, with the mean of its weights over the last steps; no gradient flows to them.
    ///
    /// # Errors
    /// Those of the tensor engine.
    pub fn network(&self) -> Result<&Unet> {
        let parameters = self.average.parameters();
        parameters.assign("mean weights", &self.optimiser.means_of(&parameters))?;
        Ok(&self.average)
    }

    /// Runs to the last step. `watch` sees every step with what went wrong in it; an error of its ends the training after a
    /// checkpoint.
    ///
    /// # Errors
    /// [`Error::Data`] when ten steps in a row teach nothing (the last good checkpoint stays), [`Error::Io`] when a file
    /// cannot be written, and what `watch` returns.
    pub fn run(
        &mut self,
        watch: &mut dyn FnMut(&TrainingStep, &[String]) -> Result<()>,
    ) -> Result<()> {
        if self.log.rows().is_empty() {
            self.begin(watch)?;
        }
        let (before, all) = (self.config.pretraining_steps(), self.config.all_steps());
        while self.progress.step < all {
            let clock = Instant::now();
            let (mut row, mut notes) = self.advance()?;
            let step = self.progress.step;
            let last = step == all || step == before;
            let judged = last || step.is_multiple_of(self.config.validate_every);
            let better = judged && self.judge(&mut row)?;
            if judged {
                // features that are not finite cannot be drawn; the steps themselves say so
                match self.draw_features() {
                    Ok(()) | Err(Error::Data { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            self.progress.seconds += clock.elapsed().as_secs_f64();
            row.seconds = self.progress.seconds;
            self.log.push(row.clone());
            if self.progress.failed >= PATIENCE {
                notes.push("the training ends here".into());
                let reasons = notes.join("; ");
                return Err(Error::data(
                    format!("step {step}"),
                    format!(
                        "the last {PATIENCE} steps taught nothing ({reasons}); the last checkpoint is kept: lower \
                         optimiser.rate, raise registration.lambda, or look at the data"
                    ),
                ));
            }
            if step == before {
                self.end_pretraining()?;
            }
            let watched = watch(&row, &notes);
            let due = last || step.is_multiple_of(self.config.checkpoint_every);
            if due || better || watched.is_err() {
                self.save()?;
                if better {
                    self.save_weights("best.safetensors")?;
                }
            }
            watched?;
        }
        Ok(())
    }

    /// Judges the network as it is before the first step, and makes sure that everything can be written.
    fn begin(
        &mut self,
        watch: &mut dyn FnMut(&TrainingStep, &[String]) -> Result<()>,
    ) -> Result<()> {
        let mut row = TrainingStep {
            loss: f64::NAN,
            gradient: f64::NAN,
            converged: f64::NAN,
            ..TrainingStep::default()
        };
        self.make_folder()?;
        self.save()?;
        let better = self.judge(&mut row)?;
        self.log.push(row.clone());
        self.save()?;
        if better {
            self.save_weights("best.safetensors")?;
        }
        watch(&row, &[])
    }

    /// Validates, where there are subjects for it; whether it is the best so far.
    fn judge(&mut self, row: &mut TrainingStep) -> Result<bool> {
        if self.validation.is_none() {
            return Ok(false);
        }
        let validation = self.validate()?;
        let better = validation.dice > self.progress.best.unwrap_or(f64::NEG_INFINITY);
        if better {
            self.progress.best = Some(validation.dice);
        }
        row.validation = Some(validation);
        Ok(better)
    }

    /// One step; what it did, and what went wrong.
    fn advance(&mut self) -> Result<(TrainingStep, Vec<String>)> {
        let (config, step) = (&self.config, self.progress.step);
        let (network, data) = (&self.network, self.data.as_ref());
        let (count, what, rate) = match (&config.pretraining, &self.classifiers) {
            (Some(pretraining), Some(_)) => (
                pretraining.images,
                "no image has labels",
                pretraining.optimiser.rate_at(step, pretraining.steps),
            ),
            _ => (
                config.batch,
                "a pair has none of what the loss asks for",
                config
                    .optimiser
                    .rate_at(step - config.pretraining_steps(), config.steps),
            ),
        };
        let lessons = self.workers.map(count, |number| match &self.classifiers {
            Some([classifier, _]) => {
                let parameters = self.optimiser.parameters();
                learn_labels(config, network, classifier, parameters, data, step, number)
            }
            None => learn(
                config,
                network,
                &self.layer,
                self.recompute,
                data,
                step,
                number,
            ),
        });
        let device = &self.layer.deformation.device;
        let mut notes = Vec::new();
        let mut learnt: Vec<Lesson> = Vec::new();
        for lesson in lessons {
            match lesson {
                Ok(Some(lesson)) => learnt.push(lesson),
                Ok(None) => notes.push(what.into()),
                Err(error) => notes.push(of_device(error, device).to_string()),
            }
        }
        let mean = |value: &dyn Fn(&Lesson) -> f64| {
            learnt.iter().map(value).sum::<f64>() / learnt.len() as f64
        };
        let active = learnt.iter().map(|l| l.levels.len()).max().unwrap_or(0);
        let (done, all) = learnt.iter().fold((0, 0), |(done, all), l| {
            (done + l.converged[0], all + l.converged[1])
        });
        let mut row = TrainingStep {
            step: step + 1,
            loss: mean(&|l| l.loss),
            levels: (0..active).map(|i| mean(&|l| l.levels[i])).collect(),
            rate,
            gradient: f64::NAN,
            converged: done as f64 / all as f64,
            failures: count - learnt.len(),
            ..TrainingStep::default()
        };
        self.progress.step += 1;
        if learnt.is_empty() {
            self.progress.failed += 1;
            return Ok((row, notes));
        }
        row.gradient = self.optimiser.step(&mean_gradients(&learnt)?, rate)?;
        self.progress.updates = self.optimiser.updates();
        self.progress.failed = 0;
        Ok((row, notes))
    }

    /// Judges the mean weights on the validation's pairs, and writes what it finds of each to `validation.csv`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there is no validation set, and those of a registration.
    pub fn validate(&self) -> Result<Validation> {
        let data = self
            .validation
            .as_ref()
            .ok_or_else(|| Error::argument("validation", "there are no subjects for it"))?;
        let network = self.network()?;
        let start = self.config.registration.start;
        let (mut validation, table) = validate(network, &self.layer, start, data, &self.workers)?;
        if let Some([_, mean]) = &self.classifiers {
            let parameters = mean.parameters();
            parameters.assign("mean weights", &self.optimiser.means_of(parameters))?;
            validation.segmentation = segmentation(network, mean, data, &self.workers)?;
        }
        self.make_folder()?;
        write_bytes(&self.config.out.join("validation.csv"), &table)?;
        Ok(validation)
    }

    /// Steps of the pretraining that are done.
    fn pretrained(&self) -> usize {
        self.progress.step.min(self.config.pretraining_steps())
    }

    /// Goes on from the mean weights of the pretraining with an optimiser that knows nothing of it; the classifiers go.
    fn end_pretraining(&mut self) -> Result<()> {
        let parameters = self.network.parameters();
        parameters.assign("mean weights", &self.optimiser.means_of(&parameters))?;
        self.optimiser = AdamW::new(&self.config.optimiser, parameters)?;
        self.progress.updates = 0;
        self.classifiers = None;
        Ok(())
    }
}
