//! What a training writes.

use super::Trainer;
use crate::features::Provenance;
use crate::image::write_bytes;
use crate::picture::coloured_to_png;
use crate::registration::{coloured, LevelMap};
use crate::train::checkpoint;
use crate::train::maps::pyramids;
use crate::train::pair::draw;
use crate::train::DataSet;
use crate::{Error, Result};

impl Trainer {
    pub(super) fn make_folder(&self) -> Result<()> {
        let out = &self.config.out;
        std::fs::create_dir_all(out).map_err(|e| Error::io(out, "create the folder", e))
    }

    /// Draws the features of a pair: the first of the validation, or what the first step is trained on.
    pub(super) fn draw_features(&self) -> Result<()> {
        let pair = match self.validation.as_ref().map(DataSet::consecutive) {
            Some(pairs) => pairs[0].map(Clone::clone),
            None => draw(&self.config, self.data.as_ref(), 0, 0)?.0,
        };
        let mut maps = Vec::with_capacity(2);
        for levels in pyramids(self.network()?, &pair)? {
            let levels = levels.into_iter().map(LevelMap::of);
            maps.push(levels.collect::<Result<Vec<_>>>()?);
        }
        let names = pair.map(|subject| subject.name);
        let (rows, _) = coloured(&maps, &names);
        write_bytes(
            &self.config.out.join("features.png"),
            &coloured_to_png(&rows)?,
        )
    }

    /// Writes checkpoint, weights, table and curves.
    pub(super) fn save(&self) -> Result<()> {
        self.log.write()?;
        self.save_weights("weights.safetensors")?;
        checkpoint::write(
            &self.config.out,
            &self.config,
            &self.progress,
            &self.optimiser.state()?,
        )
    }

    pub(super) fn save_weights(&self, name: &str) -> Result<()> {
        let config = &self.config;
        let mut provenance = Provenance::of(config.seed, &config.training_set, &config.licence);
        provenance.lambda = Some(config.registration.lambda);
        let before = match &config.pretraining {
            Some(pretraining) => format!(
                " after {} of {} steps of {} images by their labels",
                self.pretrained(),
                pretraining.steps,
                pretraining.images
            ),
            None => String::new(),
        };
        provenance.notes = format!(
            "{} of {} steps of {} pairs{before}, transform {}",
            self.progress.step - self.pretrained(),
            config.steps,
            config.batch,
            config.registration.transform
        );
        self.network()?.save(config.out.join(name), &provenance)
    }
}
