//! What a person knows of a pair and tells the registration: structures, scribbles and points that correspond.

mod check;
mod maps;

use std::sync::Arc;

use crate::{Labels, Result};

pub(crate) use maps::PromptMaps;

/// What is known to correspond in two images, as a further term of the registration energy.
///
/// Nothing is learned again for it: the term is added when the pair is solved, and steers not only what it names, for
/// the displacement is smooth and its neighbours follow.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// What corresponds.
    pub kind: PromptKind,
    /// How much it counts, relative to the gradient energy of the features, so that a weight means the same for any image.
    /// With weight 1, a straight border of a prompted structure pulls as an edge of the features does; a point
    /// counts as `weight` voxels of the level that carry structure.
    pub weight: f64,
    /// Where it counts, on the fixed grid (0 is nowhere); none is everywhere. Of labels and scribbles.
    pub mask: Option<Arc<Labels>>,
    /// Leave it out on the finest level, which then follows the images alone.
    pub off_at_finest: bool,
}

/// The kinds of [`Prompt`].
#[derive(Debug, Clone)]
pub enum PromptKind {
    /// Structures that are labelled in both images. On every level each is a channel of its own, 1 inside and 0 outside,
    /// smoothed by a Gaussian of one and a half voxels of that level (one voxel on the finest), so that structures that do not
    /// overlap feel each other on coarse levels.
    Labels {
        /// Labels of the fixed image.
        fixed: Arc<Labels>,
        /// Labels of the moving image.
        moving: Arc<Labels>,
        /// The prompted ones.
        ids: Vec<u32>,
    },
    /// Sparse labels: only marked voxels count. A mark in the fixed image belongs where marks of its number are nearest in the
    /// moving image; 0 is unmarked and says nothing. Mark what lies beside a structure with a number of its own.
    Scribbles {
        /// Marks in the fixed image.
        fixed: Arc<Labels>,
        /// Marks in the moving image, with the same numbers.
        moving: Arc<Labels>,
        /// All numbers.
        ids: Vec<u32>,
    },
    /// Points in the world, RAS mm (z is 0 in 2D), one for one: half the squared distance between where the fixed point is
    /// carried and the moving point, in voxels of the level (the geometric mean of its spacing). On coarse levels a point
    /// pulls its neighbourhood, a Gaussian of two and a half voxels, so that what lies around it follows; on the finest one of
    /// half a voxel, so that it is met.
    Points {
        /// Points of the fixed image.
        fixed: Vec<[f64; 3]>,
        /// Their counterparts in the moving image.
        moving: Vec<[f64; 3]>,
    },
}

impl Prompt {
    /// The weight of labels and scribbles when nothing else is said.
    pub const LABEL_WEIGHT: f64 = 3.0;

    /// The weight of points when nothing else is said.
    pub const POINT_WEIGHT: f64 = 30.0;

    /// Structures with these numbers, or all that occur where none is given.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) names the structures that one of the sides lacks.
    pub fn labels(
        fixed: impl Into<Arc<Labels>>,
        moving: impl Into<Arc<Labels>>,
        ids: &[u32],
    ) -> Result<Self> {
        let (fixed, moving) = (fixed.into(), moving.into());
        let ids = check::common(&fixed, &moving, ids, "labels")?;
        let kind = PromptKind::Labels { fixed, moving, ids };
        Ok(Self::of(kind, Self::LABEL_WEIGHT))
    }

    /// Scribbles: all numbers that occur.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) names the numbers that one of the sides lacks.
    pub fn scribbles(
        fixed: impl Into<Arc<Labels>>,
        moving: impl Into<Arc<Labels>>,
    ) -> Result<Self> {
        let (fixed, moving) = (fixed.into(), moving.into());
        let ids = check::common(&fixed, &moving, &[], "scribbles")?;
        let kind = PromptKind::Scribbles { fixed, moving, ids };
        Ok(Self::of(kind, Self::LABEL_WEIGHT))
    }

    /// Corresponding points, RAS mm.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) when there are none, or not as many on both sides.
    pub fn points(fixed: Vec<[f64; 3]>, moving: Vec<[f64; 3]>) -> Result<Self> {
        check::paired(&fixed, &moving)?;
        let kind = PromptKind::Points { fixed, moving };
        Ok(Self::of(kind, Self::POINT_WEIGHT))
    }

    /// The structures of labels or scribbles; of points, none.
    pub(crate) fn structures(&self) -> usize {
        match &self.kind {
            PromptKind::Labels { ids, .. } | PromptKind::Scribbles { ids, .. } => ids.len(),
            PromptKind::Points { .. } => 0,
        }
    }

    fn of(kind: PromptKind, weight: f64) -> Self {
        Self {
            kind,
            weight,
            mask: None,
            off_at_finest: false,
        }
    }
}
