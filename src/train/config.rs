//! What a training is made of: the contents of its TOML file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Augmentation, DataSet, LabelSource, LossConfig, OptimiserConfig, PretrainingConfig,
    SynthesisConfig,
};
use crate::adjoint::{Adjoint, Policy};
use crate::features::{named_base, BaseFeatures, NetworkConfig};
use crate::layer::RegistrationLayer;
use crate::registration::Deformation;
use crate::transform::transform_named;
use crate::{Error, Result, Rng};

/// A training: network, registration, data, losses. Entries that a file leaves out have their defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Folder of the results; relative to the configuration file.
    pub out: PathBuf,
    /// Everything random follows from it.
    pub seed: u64,
    /// Updates of the weights through the solver; with none, and no pretraining, the network is only judged on the validation.
    pub steps: usize,
    /// Pairs of one update.
    pub batch: usize,
    /// Share of the steps' pairs that are synthetic, where there are data as well; without data all are.
    pub synthetic: f64,
    /// What the network is made of; entries that are left out are those of [`NetworkConfig::unet`].
    #[serde(deserialize_with = "network")]
    pub network: NetworkConfig,
    /// A weights file to begin with, in place of random weights; of the same network.
    pub weights: Option<PathBuf>,
    /// What comes before the steps through the solver, if anything.
    pub pretraining: Option<PretrainingConfig>,
    /// Whether the network's maps are computed a second time on the way back, an image at a time, rather than kept: one more
    /// forward pass of the network, and less than half of the memory where volumes are large.
    pub recompute: bool,
    /// The solver inside.
    pub registration: SolveConfig,
    /// The training subjects.
    pub data: Option<DataConfig>,
    /// The subjects of the validation, which takes consecutive pairs of them.
    pub validation: Option<DataConfig>,
    /// How synthetic pairs are made.
    pub synthesis: Option<SynthesisConfig>,
    /// How pairs are varied.
    pub augmentation: Augmentation,
    /// What is minimised.
    pub loss: LossConfig,
    /// How.
    pub optimiser: OptimiserConfig,
    /// Steps from one validation to the next; also after the last.
    pub validate_every: usize,
    /// Steps from one checkpoint to the next; also after the last and when it is interrupted.
    pub checkpoint_every: usize,
    /// What the weights file says it was trained on.
    pub training_set: String,
    /// Under which terms the weights may be used.
    pub licence: String,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            out: "out/train".into(),
            seed: 0,
            steps: 1000,
            batch: 2,
            synthetic: 0.0,
            network: NetworkConfig::unet(3, 1),
            weights: None,
            pretraining: None,
            recompute: false,
            registration: SolveConfig::default(),
            data: None,
            validation: None,
            synthesis: None,
            augmentation: Augmentation::default(),
            loss: LossConfig::default(),
            optimiser: OptimiserConfig::default(),
            validate_every: 100,
            checkpoint_every: 50,
            training_set: "unnamed".into(),
            licence: "unstated".into(),
        }
    }
}

/// The solver of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SolveConfig {
    /// Name of the transform.
    pub transform: String,
    /// Weight of the regulariser, relative to the features' gradient energy.
    pub lambda: f64,
    /// Run every solve to a certified minimum.
    pub certify: bool,
    /// Which gradient: `gauss-newton`, `exact`, `truncated-N`, `phantom-N`, `jacobian-free`, `block` or `unrolled-N`; none is
    /// the mode's own.
    pub adjoint: Option<String>,
    /// Most outer iterations on each level, coarse first.
    pub iterations: Option<Vec<usize>>,
    /// A level ends once an iteration lowers its energy by less than this share; certified solves end at their minimum instead.
    pub decrease: f64,
    /// Where the solve of a pair starts.
    pub start: PairStart,
}

impl Default for SolveConfig {
    fn default() -> Self {
        Self {
            transform: "compositive".into(),
            lambda: 0.2,
            certify: false,
            adjoint: None,
            iterations: None,
            decrease: Deformation::DECREASE,
            start: PairStart::Identity,
        }
    }
}

/// Where the solve of a pair starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairStart {
    /// The headers as they are.
    Identity,
    /// Centres of mass of the intensities on each other.
    Centres,
    /// The affine alignment of the intensities that starts at their moments, as `stillpoint register` finds it.
    Affine,
}

/// Subjects in files: a folder of images, and perhaps one of labels, or a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// A CSV table with a column `image` and perhaps `labels` and `landmarks`; paths relative to its folder.
    pub table: Option<PathBuf>,
    /// A folder of images.
    pub images: Option<PathBuf>,
    /// A folder of labels; a label file has the name of its image, but for the ending.
    pub labels: Option<PathBuf>,
    /// What the names of image files end with; the rest of a file's name is the name of the subject.
    pub image_ending: Option<String>,
    /// What the names of label files end with.
    pub label_ending: Option<String>,
    /// Take these subjects alone: their names, or what their names end with.
    pub include: Vec<String>,
    /// Leave these out.
    pub exclude: Vec<String>,
    /// Labels that count; all where it is empty.
    pub label_ids: Vec<u32>,
    /// Resample to this spacing, mm, the same along each axis.
    pub spacing: Option<f64>,
    /// Cut slices out of volumes.
    pub slices: Option<SliceConfig>,
    /// Go on without subjects whose files cannot be read, after a warning.
    pub skip_broken: bool,
}

/// Slices across the body's long axis (world z), at places relative to the middle of the labels (of the foreground where
/// there are none).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliceConfig {
    /// Lowest place, mm.
    pub from: f64,
    /// Highest place, mm.
    pub to: f64,
    /// Distance, mm.
    pub every: f64,
}

/// Lets a table that names a few entries stand for a whole configuration.
fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NetworkConfig, D::Error> {
    use serde::de::Error as _;
    let given = toml::Table::deserialize(deserializer)?;
    let number = |name: &str, otherwise: usize| {
        given
            .get(name)
            .and_then(toml::Value::as_integer)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(otherwise)
    };
    let (rank, inputs) = (number("rank", 3), number("inputs", 1));
    let defaults = NetworkConfig::unet(rank, inputs);
    let mut table = toml::Table::try_from(defaults).map_err(D::Error::custom)?;
    if let Some(base) = given.get("base").and_then(toml::Value::as_str) {
        if let Some(base) = named_base(base) {
            let channels = base.channels(inputs, rank) as i64;
            table.insert("outputs".into(), channels.into());
        }
    }
    table.extend(given);
    table.try_into().map_err(D::Error::custom)
}

impl TrainingConfig {
    /// Reads a TOML file; paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] where it is not TOML or has entries that are not known or make
    /// no sense, with the line.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
        let mut config: Self =
            toml::from_str(&text).map_err(|e| Error::format(path, e.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.out = folder.join(&config.out);
        config.weights = config.weights.map(|file| folder.join(file));
        for data in config.data.iter_mut().chain(&mut config.validation) {
            for file in [&mut data.table, &mut data.images, &mut data.labels] {
                *file = file.take().map(|file| folder.join(file));
            }
        }
        config
            .check()
            .and_then(|()| config.check_source(config.data.is_some()))
            .map_err(|e| Error::format(path, e.to_string()))?;
        Ok(config)
    }

    /// Whether there is something to train on, with subjects or without.
    pub(super) fn check_source(&self, subjects: bool) -> Result<()> {
        if self.all_steps() > 0 && !subjects && self.synthesis.is_none() {
            return Err(Error::argument(
                "data",
                "there is nothing to train on: add a table [data] or [synthesis]",
            ));
        }
        Ok(())
    }

    /// What is wrong with it, if anything.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] that names the entry.
    pub fn check(&self) -> Result<()> {
        let fail = |name: &str, reason: &str| Err(Error::argument(name, reason));
        self.network.check()?;
        self.base()?;
        self.layer()?;
        self.augmentation.check()?;
        self.loss.check()?;
        self.optimiser.check("optimiser")?;
        if let Some(pretraining) = &self.pretraining {
            pretraining.check()?;
            let shapes = |s: &SynthesisConfig| s.source == LabelSource::Shapes;
            if self.synthesis.as_ref().is_some_and(shapes)
                && (self.data.is_none() || self.synthetic > 0.0)
            {
                return fail(
                    "pretraining",
                    "needs labels that mean the same in every image, random shapes have none: take synthesis.source = \"labels\" or \
                     \"phantom\"",
                );
            }
        }
        if let Some(synthesis) = &self.synthesis {
            synthesis.check(self.network.rank)?;
            if self.network.inputs != 1 {
                return fail(
                    "synthesis",
                    "makes images of one channel, the network takes more",
                );
            }
        }
        if self.batch == 0 {
            return fail("batch", "must be at least 1");
        }
        if self.all_steps() == 0 && self.validation.is_none() {
            return fail(
                "steps",
                "there is nothing to do: no steps, and no table [validation] to judge the network on",
            );
        }
        if self.validate_every == 0 || self.checkpoint_every == 0 {
            return fail("validate_every and checkpoint_every", "must be at least 1");
        }
        if !(0.0..=1.0).contains(&self.synthetic) {
            return fail("synthetic", "is a share: must lie between 0 and 1");
        }
        if self.synthetic > 0.0 && self.synthesis.is_none() {
            return fail("synthetic", "needs a table [synthesis] that says how");
        }
        for data in self.data.iter().chain(&self.validation) {
            data.check(self.network.rank)?;
        }
        Ok(())
    }

    /// Steps of the pretraining.
    pub(super) fn pretraining_steps(&self) -> usize {
        self.pretraining.as_ref().map_or(0, |p| p.steps)
    }

    /// Steps with and without the solver.
    pub fn all_steps(&self) -> usize {
        self.pretraining_steps() + self.steps
    }

    /// How the next image or pair is made, where it is drawn to be synthetic.
    pub(super) fn synthetic(
        &self,
        data: Option<&DataSet>,
        rng: &mut Rng,
    ) -> Option<&SynthesisConfig> {
        let synthesis = self.synthesis.as_ref()?;
        let drawn = data.is_none() || rng.uniform() < self.synthetic;
        drawn.then_some(synthesis)
    }

    /// The features that the network builds on.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there are none of that name.
    pub fn base(&self) -> Result<Option<Arc<dyn BaseFeatures>>> {
        let Some(name) = &self.network.base else {
            return Ok(None);
        };
        named_base(name).map(Some).ok_or_else(|| {
            Error::argument(
                "network.base",
                format!("no base features '{name}'; there are intensities, mind and coarse-mind"),
            )
        })
    }

    /// The layer that is trained through.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] that names the entry which makes no sense.
    pub fn layer(&self) -> Result<RegistrationLayer> {
        let solve = &self.registration;
        let mut layer = if solve.certify {
            RegistrationLayer::certified()
        } else {
            RegistrationLayer::default()
        };
        let transform = transform_named(&solve.transform).ok_or_else(|| {
            Error::argument(
                "registration.transform",
                format!("no transform '{}'", solve.transform),
            )
        })?;
        if !(solve.lambda > 0.0 && solve.lambda.is_finite()) {
            return Err(Error::argument(
                "registration.lambda",
                format!("must be positive, got {}", solve.lambda),
            ));
        }
        if !(solve.decrease > 0.0 && solve.decrease < 1.0) {
            return Err(Error::argument(
                "registration.decrease",
                format!("must lie between 0 and 1, got {}", solve.decrease),
            ));
        }
        let levels = self.network.shrinks.len();
        if let Some(iterations) = &solve.iterations {
            if iterations.len() != levels {
                return Err(Error::argument(
                    "registration.iterations",
                    format!("expected one number a level, {levels}, got {iterations:?}"),
                ));
            }
        }
        layer.deformation = Deformation {
            transform,
            lambda: solve.lambda,
            iterations: solve.iterations.clone(),
            decrease: solve.decrease,
            ..layer.deformation
        };
        if let Some(name) = &solve.adjoint {
            let policy = Policy::named(name).ok_or_else(|| {
                Error::argument(
                    "registration.adjoint",
                    format!(
                        "no gradient '{name}'; there are gauss-newton, exact, truncated-N, phantom-N, jacobian-free, block \
                         and unrolled-N"
                    ),
                )
            })?;
            layer.adjoint = match policy {
                // the fast mode's precision and its minima are not fit for the certified tolerance
                Policy::Exact if solve.certify => Adjoint::exact(),
                policy => Adjoint::new(policy),
            };
        }
        Ok(layer)
    }
}

impl DataConfig {
    fn check(&self, rank: usize) -> Result<()> {
        match (&self.table, &self.images) {
            (None, None) => {
                return Err(Error::argument(
                    "data",
                    "give a folder of images (images = \"...\") or a table (table = \"...\")",
                ))
            }
            (Some(_), Some(_)) => {
                return Err(Error::argument(
                    "data",
                    "give either a folder of images or a table, not both",
                ))
            }
            _ => {}
        }
        if self.spacing.is_some_and(|s| s.is_nan() || s <= 0.0) {
            return Err(Error::argument("data.spacing", "must be positive"));
        }
        if let Some(slices) = &self.slices {
            if rank != 2 {
                return Err(Error::argument(
                    "data.slices",
                    format!("slices are for networks of rank 2, this one has {rank}"),
                ));
            }
            if slices.from.is_nan() || slices.to < slices.from || slices.every <= 0.0 {
                return Err(Error::argument(
                    "data.slices",
                    "from must not be above to, and every must be positive",
                ));
            }
        }
        Ok(())
    }
}
