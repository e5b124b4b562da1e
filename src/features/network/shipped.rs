//! The networks that come with the crate.

use std::path::Path;

use super::Weights;
use crate::Result;

/// A network that comes with the crate, for 3D images of one channel, trained on brain-like phantoms and on no image of a
/// person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shipped {
    /// For images of any contrast: what [`Mind`](crate::Mind) lacks, learned on random contrasts
    /// (`examples/train/synthetic.toml`).
    Synthetic,
    /// For images of one contrast: a little beside [`CoarseMind`](crate::CoarseMind)
    /// (`examples/train/synthetic_same.toml`).
    SyntheticSame,
}

impl Shipped {
    /// All of them, with the names they have on the command line.
    pub const NAMES: [(&'static str, Self); 2] = [
        ("synthetic", Self::Synthetic),
        ("synthetic-same", Self::SyntheticSame),
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, shipped)| *shipped == self)
            .map_or("", |(name, _)| name)
    }

    /// Its weights.
    ///
    /// # Errors
    /// None: the crate's tests read them.
    pub fn weights(self) -> Result<Weights> {
        Weights::parse(Path::new(self.name()), self.bytes())
    }

    /// The file of weights.
    pub(crate) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Synthetic => include_bytes!("synthetic.safetensors"),
            Self::SyntheticSame => include_bytes!("synthetic_same.safetensors"),
        }
    }
}
