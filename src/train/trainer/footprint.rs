//! What a training takes in memory, estimated before it runs.

use super::Trainer;
use crate::features::{level_grid, FeatureNetwork};
use crate::registration::{voxels, Footprint, LevelFootprint, SINGLE};
use crate::train::workers::Workers;
use crate::train::{DataSet, GradientSide, Subject};
use crate::{Grid, Result};

/// Numbers kept of a parameter: its value, two moments, its mean over the last steps, and that mean in a network of its own.
const OF_PARAMETER: u64 = 5;

/// Maps of all classes while voxels are sorted: logits, probabilities, shares, slopes, a product, and the cotangents of three.
const OF_CLASS: u64 = 8;

/// Fields of a level that stay until its gradient is known.
const OF_LEVEL: u64 = 4;

/// Fields of the adjoint's system while it is solved, and its packed blocks.
const OF_ADJOINT: u64 = 8;
const BLOCKS: u64 = 2;

/// Copies of what is compared in the precision of a certified solve: in the graph, in the energy, and as cotangents.
const COPIES: u64 = 4;

/// A part of a stage and its bytes.
type Part = (&'static str, u64);

impl Trainer {
    /// The memory that [`Trainer::run`] takes, an estimate: that of the largest subjects, as many of them as are worked on side by
    /// side.
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn footprint(&self) -> Result<Footprint> {
        let mut footprint = Footprint::default();
        let config = &self.config;
        let synthetic = config.synthesis.as_ref().map(|s| s.grid()).transpose()?;
        let drawn = grids(&self.data).chain(synthetic.iter().flatten());
        if let Some(grid) = drawn.max_by_key(|grid| grid.voxels()) {
            if let Some(pretraining) = &config.pretraining {
                let side_by_side = self.workers.side_by_side(pretraining.images);
                footprint.add("a step by labels", times(side_by_side, self.sorting(grid)?));
            }
            if config.steps > 0 {
                let side_by_side = self.workers.side_by_side(config.batch);
                for (name, parts) in self.pair(grid)? {
                    footprint.add(name, times(side_by_side, parts));
                }
            }
        }
        if let Some(grid) = grids(&self.validation).max_by_key(|grid| grid.voxels()) {
            let pairs = self.validation.iter().map(|set| set.consecutive().len());
            let side_by_side = self.workers.side_by_side(pairs.sum());
            footprint.add("the validation", times(side_by_side, self.judging(grid)?));
        }
        let sets = self.data.iter().chain(&self.validation);
        let subjects = sets.flat_map(DataSet::subjects);
        footprint.hold("subjects", subjects.map(Subject::bytes).sum());
        let lessons = config
            .batch
            .max(config.pretraining.as_ref().map_or(0, |p| p.images));
        // and the gradients of all pairs with their sum
        let numbers = OF_PARAMETER + lessons as u64 + 1;
        let parameters = self.network.parameters().count() as u64;
        footprint.hold("weights and their updates", SINGLE * numbers * parameters);
        Ok(footprint)
    }

    /// Takes less memory and more time from here on, and says what it does for that; nothing where nothing is left to do. Pairs
    /// follow each other first, where they were worked on side by side; then the network's maps are computed again on the way back.
    /// What is learned stays the same, in the second case but for rounding.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) where threads cannot be started.
    pub fn save_memory(&mut self) -> Result<Option<&'static str>> {
        if self.workers.side_by_side(usize::MAX) > 1 {
            self.workers = Workers::new(1)?;
            return Ok(Some(
                "pairs follow each other instead of being worked on side by side",
            ));
        }
        if self.config.steps > 0 && !self.recompute {
            self.recompute = true;
            return Ok(Some(
                "the network's maps are computed again on the way back",
            ));
        }
        Ok(None)
    }

    /// The maps of an image on all levels.
    fn maps(&self, grid: &Grid) -> Result<u64> {
        let mut bytes = 0;
        for &shrink in self.network.shrinks() {
            bytes += SINGLE * self.network.channels() as u64 * voxels(&level_grid(grid, shrink)?);
        }
        Ok(bytes)
    }

    /// An image on its way through network and classifier and back.
    fn sorting(&self, grid: &Grid) -> Result<Vec<Part>> {
        let (network, maps) = (&self.network, self.maps(grid)?);
        let channels = network.channels() as u64;
        Ok(vec![
            ("image", 2 * drawn(grid, network.inputs())),
            (
                "network",
                network.trail_bytes(grid) + network.way_back_bytes(grid),
            ),
            ("feature maps and their cotangents", 2 * maps),
            ("classes", OF_CLASS * self.classes() * maps / channels),
        ])
    }

    /// Classes that voxels are sorted into.
    fn classes(&self) -> u64 {
        let classifiers = self.classifiers.as_ref();
        classifiers.map_or(0, |[of, _]| 1 + of.ids().len() as u64)
    }

    /// A pair on its way through network, solver and losses and back, stage by stage.
    fn pair(&self, grid: &Grid) -> Result<Vec<(&'static str, Vec<Part>)>> {
        let (config, network, maps) = (&self.config, &self.network, self.maps(grid)?);
        let (rank, n) = (grid.rank() as u64, voxels(grid));
        let full = self.layer.deformation.dtype().size_in_bytes() as u64;
        let sides = match config.loss.through {
            GradientSide::Both => 2,
            GradientSide::Either => 1,
        };
        let own = self.own_maps() * maps;
        let trail = network.trail_bytes(grid);
        let kept = if self.recompute { 0 } else { sides * trail };
        let held = |kept: u64| {
            vec![
                ("images", 4 * drawn(grid, network.inputs())),
                ("network's maps", kept),
                ("feature maps", 2 * maps + own),
            ]
        };
        let mut features = held(kept);
        features.push(("network", network.workspace(grid)));
        let mut stages = vec![("features of a pair", features)];

        let shrinks = network.shrinks();
        let level = self.level(Vec::new());
        let mut levels = 0;
        let mut solved = Vec::new();
        for (number, &shrink) in shrinks.iter().enumerate() {
            let grid = level_grid(grid, shrink)?;
            solved = level.solve(
                [0, network.channels()],
                [&grid; 2],
                number + 1 == shrinks.len(),
            )?;
            levels += OF_LEVEL * rank * full * voxels(&grid);
        }
        let mut registration = held(kept);
        registration.push(("levels", levels));
        registration.extend(solved);
        stages.push(("registration of a pair", registration));

        let blocks = BLOCKS * rank * (rank + 1) / 2;
        let fields = OF_ADJOINT * rank;
        let finest = 2 * n * network.channels() as u64;
        let mut losses = held(kept);
        losses.push(("levels", levels));
        losses.push(("labels", self.judged_labels(grid)?));
        losses.push(("adjoint", (fields + blocks) * n * full));
        losses.push(("cotangents", 2 * maps + own + full * finest));
        if self.layer.deformation.certify {
            let copies = COPIES * 2 * maps * full / SINGLE;
            losses.push(("maps in double precision", copies));
        }
        stages.push(("losses of a pair", losses));

        let mut back = held(if self.recompute { trail } else { kept });
        back.push(("cotangents", 2 * maps));
        back.push(("network", network.way_back_bytes(grid)));
        stages.push(("the way back of a pair", back));
        Ok(stages)
    }

    /// Maps of both images in the graph beside those that are compared: where a network builds on a base that, its own, and the
    /// share of these.
    fn own_maps(&self) -> u64 {
        let config = &self.config.network;
        match (&config.base, config.share < 1.0) {
            (None, _) => 0,
            (Some(_), false) => 4,
            (Some(_), true) => 6,
        }
    }

    /// The labels that the levels of a pair are judged by, which stay until the way back: at full resolution their numbers, for each
    /// level, and their places, below that the shares of each.
    fn judged_labels(&self, grid: &Grid) -> Result<u64> {
        if self.config.loss.dice == 0.0 {
            return Ok(0);
        }
        let (levels, labels) = (self.network.shrinks().len(), self.config.loss.labels);
        let mut of_an_image = (SINGLE * levels as u64 + 2) * voxels(grid);
        for &shrink in self.network.shrinks().iter().filter(|shrink| **shrink > 1) {
            of_an_image += SINGLE * labels as u64 * voxels(&level_grid(grid, shrink)?);
        }
        Ok(2 * of_an_image)
    }

    /// A pair that is judged, or an image whose voxels are sorted.
    fn judging(&self, grid: &Grid) -> Result<Vec<Part>> {
        let (network, maps) = (&self.network, self.maps(grid)?);
        let level = self.level(vec![
            ("images", 4 * drawn(grid, network.inputs())),
            ("feature maps", 2 * maps),
        ]);
        let mut parts = level.solve([0, network.channels()], [grid; 2], true)?;
        let work = network
            .workspace(grid)
            .max(2 * SINGLE * self.classes() * voxels(grid));
        let solved: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
        // the network is done before the solver begins
        parts.push(("network", (work + maps).saturating_sub(solved)));
        Ok(parts)
    }

    fn level(&self, images: Vec<Part>) -> LevelFootprint<'_> {
        LevelFootprint {
            deformation: &self.layer.deformation,
            prompts: &[],
            images,
        }
    }
}

/// Parts of a stage, as often as it is gone through at a time.
fn times(count: usize, parts: Vec<Part>) -> Vec<Part> {
    let parts = parts.into_iter();
    parts
        .map(|(part, bytes)| (part, bytes * count as u64))
        .collect()
}

fn grids(set: &Option<DataSet>) -> impl Iterator<Item = &Grid> {
    let subjects = set.iter().flat_map(DataSet::subjects);
    subjects.map(|subject| &subject.image.grid)
}

/// An image of so many channels with its labels.
fn drawn(grid: &Grid, channels: usize) -> u64 {
    SINGLE * (channels as u64 + 1) * voxels(grid)
}
