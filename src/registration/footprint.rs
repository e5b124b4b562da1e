//! What work takes in memory, estimated before it is done.

use crate::Grid;

/// The memory of a registration or a training, stage by stage: an estimate.
///
/// It is a model of what is alive at once, made of the sizes of grids and tensors; what an allocator and threads add to that is not
/// part of it. The largest stage counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Footprint {
    stages: Vec<FootprintStage>,
}

/// What is alive at once in a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct FootprintStage {
    /// What is done in it.
    pub name: String,
    /// What takes memory, and how many bytes.
    pub parts: Vec<(&'static str, u64)>,
}

impl FootprintStage {
    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Footprint {
    /// The stages, in order.
    pub fn stages(&self) -> &[FootprintStage] {
        &self.stages
    }

    /// The stage that takes most; none where there is no stage.
    pub fn peak(&self) -> Option<&FootprintStage> {
        self.stages.iter().max_by_key(|stage| stage.bytes())
    }

    /// Adds a stage.
    pub fn add(&mut self, name: impl Into<String>, parts: Vec<(&'static str, u64)>) {
        self.stages.push(FootprintStage {
            name: name.into(),
            parts,
        });
    }

    /// Adds what is there in all stages.
    pub fn hold(&mut self, part: &'static str, bytes: u64) {
        for stage in &mut self.stages {
            stage.parts.push((part, bytes));
        }
    }
}

/// Bytes of single precision, in which images and features are.
pub(crate) const SINGLE: u64 = 4;

pub(crate) fn voxels(grid: &Grid) -> u64 {
    grid.voxels() as u64
}
