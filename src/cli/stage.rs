//! The stages of a registration.

use crate::transform::{transform_named, LinearKind, Transform};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One kind of transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Rotation and translation.
    Rigid,
    /// Rigid and one scale.
    Similarity,
    /// Any linear map and translation.
    Affine,
    /// A displacement at each voxel.
    Displacement,
    /// A composition of small displacements, free of folds.
    Compositive,
    /// The flow along a stationary velocity, free of folds.
    Velocity,
    /// Control points five voxels apart.
    BSpline,
}

const NAMES: [(&str, Stage); 7] = [
    ("rigid", Stage::Rigid),
    ("similarity", Stage::Similarity),
    ("affine", Stage::Affine),
    ("displacement", Stage::Displacement),
    ("compositive", Stage::Compositive),
    ("velocity", Stage::Velocity),
    ("bspline", Stage::BSpline),
];

impl Stage {
    /// Whether the stage has a matrix and nothing else.
    pub fn is_linear(self) -> bool {
        self <= Self::Affine
    }

    /// Its kind of linear map, if it is one.
    pub fn linear(self) -> Option<LinearKind> {
        match self {
            Self::Rigid => Some(LinearKind::Rigid),
            Self::Similarity => Some(LinearKind::Similarity),
            Self::Affine => Some(LinearKind::Affine),
            _ => None,
        }
    }

    /// How it deforms, if it does.
    pub fn transform(self) -> Option<Arc<dyn Transform>> {
        transform_named(self.name())
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].0
    }
}

/// Stages in the order in which they run: linear ones with rising freedom, then at most one that deforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stages(Vec<Stage>);

impl Stages {
    /// The stages, at least one.
    pub fn list(&self) -> &[Stage] {
        &self.0
    }

    /// Whether one of them deforms.
    pub fn deform(&self) -> bool {
        self.0.iter().any(|stage| !stage.is_linear())
    }
}

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut stages: Vec<Stage> = Vec::new();
        for word in text.split(',') {
            let Some((_, stage)) = NAMES.iter().find(|(name, _)| *name == word.trim()) else {
                return Err(format!(
                    "no stage '{word}'; the stages are {}",
                    NAMES.map(|(name, _)| name).join(", ")
                ));
            };
            if let Some(last) = stages.last() {
                if !last.is_linear() {
                    return Err(format!(
                        "nothing can follow {}: a stage that deforms comes last",
                        last.name()
                    ));
                }
                if last >= stage {
                    return Err(format!(
                        "{} after {} gains nothing: each stage must be freer than the one before",
                        stage.name(),
                        last.name()
                    ));
                }
            }
            stages.push(*stage);
        }
        Ok(Self(stages))
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|stage| stage.name()).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_rise_in_freedom_and_one_deforms() {
        for good in [
            "rigid",
            "affine,compositive",
            "affine,velocity",
            "bspline",
            "rigid,similarity,affine,displacement",
        ] {
            assert_eq!(good.parse::<Stages>().unwrap().to_string(), good);
        }
        assert_eq!(
            "rigid, affine".parse::<Stages>().unwrap().list(),
            [Stage::Rigid, Stage::Affine]
        );
        for bad in [
            "",
            "afine",
            "affine,rigid",
            "affine,affine",
            "affine,",
            "compositive,affine",
            "displacement,compositive",
            "velocity,bspline",
            "Affine",
        ] {
            assert!(bad.parse::<Stages>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_stand_in_the_order_of_the_stages() {
        for (name, stage) in NAMES {
            assert_eq!(stage.name(), name);
            let deforms = stage.transform().map(|transform| transform.name());
            assert_eq!(deforms, (!stage.is_linear()).then_some(name));
            assert_eq!(stage.linear().is_some(), stage.is_linear());
        }
    }
}
