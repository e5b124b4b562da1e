//! Prompts on the command line, and what became of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::inputs::on_grid;
use super::report::DiceReport;
use crate::evaluation::{landmark_errors, nearest_distances, overlap, Summary};
use crate::image::{read_labels, Image, Labels, PointSpace, Points};
use crate::prompt::{Prompt, PromptKind};
use crate::transform::{resample_labels, Chain, LabelResampling};
use crate::{Error, Result};

/// One prompt as given: `FIXED,MOVING` and what may follow.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptFiles {
    pub fixed: PathBuf,
    pub moving: PathBuf,
    pub ids: Vec<u32>,
    pub weight: Option<f64>,
    pub mask: Option<PathBuf>,
}

/// `FIXED,MOVING[,ids=17+53][,weight=W][,mask=FILE]`.
pub fn labels(text: &str) -> Result<PromptFiles, String> {
    PromptFiles::parse(text, &["ids", "weight", "mask"])
}

/// `FIXED,MOVING[,weight=W][,mask=FILE]`.
pub fn scribbles(text: &str) -> Result<PromptFiles, String> {
    PromptFiles::parse(text, &["weight", "mask"])
}

/// `FIXED,MOVING[,weight=W]`.
pub fn points(text: &str) -> Result<PromptFiles, String> {
    PromptFiles::parse(text, &["weight"])
}

impl PromptFiles {
    fn parse(text: &str, keys: &[&str]) -> Result<Self, String> {
        let form: String = keys
            .iter()
            .map(|key| match *key {
                "ids" => "[,ids=17+53]",
                "weight" => "[,weight=2]",
                _ => "[,mask=FILE]",
            })
            .collect();
        let expected = |found: &str| {
            format!(
                "expected FIXED,MOVING{form}, found {found}; file names must not contain commas"
            )
        };
        let mut parts = text.split(',');
        let mut file = || {
            let name = parts.next().filter(|name| !name.is_empty());
            name.map(PathBuf::from)
                .ok_or_else(|| expected("fewer than two files"))
        };
        let (fixed, moving) = (file()?, file()?);
        let mut prompt = Self {
            fixed,
            moving,
            ids: Vec::new(),
            weight: None,
            mask: None,
        };
        let mut seen = Vec::new();
        for part in parts {
            let (key, value) = part
                .split_once('=')
                .filter(|(key, _)| keys.contains(key))
                .ok_or_else(|| expected(&format!("'{part}'")))?;
            if seen.contains(&key) {
                return Err(expected(&format!("'{key}' twice")));
            }
            seen.push(key);
            match key {
                "ids" => {
                    prompt.ids = value
                        .split('+')
                        .map(|id| id.parse().ok().filter(|id| *id > 0))
                        .collect::<Option<_>>()
                        .ok_or_else(|| {
                            format!("expected numbers of labels joined by +, such as ids=17+53, found '{part}'")
                        })?;
                }
                "weight" => prompt.weight = Some(super::weight(value)?),
                _ if value.is_empty() => return Err(expected("a mask without a name")),
                _ => prompt.mask = Some(PathBuf::from(value)),
            }
        }
        Ok(prompt)
    }

    /// All files that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.fixed, &self.moving].into_iter().chain(&self.mask)
    }
}

/// What is prompted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Labels,
    Scribbles,
    Points,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Scribbles => "scribbles",
            Self::Points => "points",
        }
    }
}

/// A prompt that has been read.
pub struct GivenPrompt {
    pub kind: Kind,
    pub files: PromptFiles,
    pub prompt: Prompt,
    /// What was doubtful, with the name of the file.
    pub warnings: Vec<String>,
}

impl GivenPrompt {
    /// Reads and checks a prompt of these images, whose files are named too.
    pub fn read(
        kind: Kind,
        files: &PromptFiles,
        images: [(&Image, &Path); 2],
        off_at_finest: bool,
    ) -> Result<Self> {
        let mut warnings = Vec::new();
        let mut on_image = |path: &Path, (image, name): (&Image, &Path)| -> Result<Arc<Labels>> {
            let labels = read_labels(path)?;
            on_grid(path, &labels, image.grid(), name)?;
            let file = path.display();
            warnings.extend(labels.warnings().iter().map(|w| format!("{file}: {w}")));
            Ok(Arc::new(labels))
        };
        let prompt = match kind {
            Kind::Points => {
                let [fixed, moving] = [&files.fixed, &files.moving]
                    .map(|path| Points::read(path, PointSpace::Lps).map(|points| points.positions));
                Prompt::points(fixed?, moving?)
            }
            Kind::Labels => Prompt::labels(
                on_image(&files.fixed, images[0])?,
                on_image(&files.moving, images[1])?,
                &files.ids,
            ),
            Kind::Scribbles => Prompt::scribbles(
                on_image(&files.fixed, images[0])?,
                on_image(&files.moving, images[1])?,
            ),
        };
        let named = |error: Error| {
            Error::argument(
                format!(
                    "--prompt-{} {},{}",
                    kind.name(),
                    files.fixed.display(),
                    files.moving.display()
                ),
                error.to_string(),
            )
        };
        let mut prompt = prompt.map_err(named)?;
        prompt.weight = files.weight.unwrap_or(prompt.weight);
        prompt.off_at_finest = off_at_finest;
        if let Some(mask) = &files.mask {
            prompt.mask = Some(on_image(mask, images[0])?);
        }
        prompt
            .check(images[0].0.grid(), images[1].0.grid(), true)
            .map_err(named)?;
        Ok(Self {
            kind,
            files: files.clone(),
            prompt,
            warnings,
        })
    }

    /// Voxels of its labels, marks and mask.
    pub fn voxels(&self) -> u64 {
        let mask = self.prompt.mask.as_ref().map_or(0, |m| m.values().len());
        let labels = match &self.prompt.kind {
            PromptKind::Labels { fixed, moving, .. }
            | PromptKind::Scribbles { fixed, moving, .. } => {
                fixed.values().len() + moving.values().len()
            }
            PromptKind::Points { .. } => 0,
        };
        (mask + labels) as u64
    }

    /// How well it is met at the start and registered: by maps from fixed to moving points.
    pub fn report(&self, before: &Chain, after: &Chain) -> Result<PromptReport> {
        let mut report = PromptReport {
            kind: self.kind,
            fixed: self.files.fixed.display().to_string(),
            moving: self.files.moving.display().to_string(),
            mask: self.files.mask.as_ref().map(|m| m.display().to_string()),
            ids: Vec::new(),
            weight: self.prompt.weight,
            off_at_finest: self.prompt.off_at_finest,
            dice: None,
            distance: None,
        };
        let gain = |errors: &dyn Fn(&Chain) -> Result<Vec<f64>>| -> Result<Option<Distance>> {
            let summary = |chain| errors(chain).map(|errors| Summary::of(&errors));
            Ok(summary(before)?
                .zip(summary(after)?)
                .map(|(before, after)| Distance { before, after }))
        };
        match &self.prompt.kind {
            PromptKind::Labels { fixed, moving, ids } => {
                report.ids.clone_from(ids);
                report.dice = Some(dice((fixed, moving), Some(ids), before, after)?);
            }
            PromptKind::Scribbles { fixed, moving, ids } => {
                report.ids.clone_from(ids);
                report.distance = gain(&|chain| {
                    let mut errors = Vec::new();
                    for id in ids {
                        let [from, to] = [fixed, moving].map(|labels| marks(labels, *id));
                        errors.extend(nearest_distances(&chain.apply_all(&from), &to));
                    }
                    Ok(errors)
                })?;
            }
            PromptKind::Points { fixed, moving } => {
                report.distance =
                    gain(&|chain| Ok(landmark_errors(&chain.apply_all(fixed), moving)?.errors))?;
            }
        }
        Ok(report)
    }
}

/// A prompt and how well it is met.
#[derive(Debug, Clone, Serialize)]
pub struct PromptReport {
    pub kind: Kind,
    pub fixed: String,
    pub moving: String,
    pub mask: Option<String>,
    /// The prompted structures; none of points.
    pub ids: Vec<u32>,
    pub weight: f64,
    pub off_at_finest: bool,
    /// Overlap of prompted labels.
    pub dice: Option<DiceReport>,
    /// Of points, to their counterparts; of scribbles, from each fixed mark to the nearest moving mark of its number.
    pub distance: Option<Distance>,
}

/// Distances in the moving space, mm.
#[derive(Debug, Clone, Serialize)]
pub struct Distance {
    /// At the start that was chosen.
    pub before: Summary,
    /// Registered.
    pub after: Summary,
}

/// Overlap of the labels (fixed, moving), all or some of them, before and after.
pub fn dice(
    (fixed, moving): (&Labels, &Labels),
    ids: Option<&[u32]>,
    before: &Chain,
    after: &Chain,
) -> Result<DiceReport> {
    let overlap = |chain| {
        let warped = resample_labels(moving, chain, fixed.grid(), LabelResampling::Nearest, 0)?;
        overlap(fixed.values(), warped.values(), Some(moving.values()), ids)
    };
    let (start, labels) = (overlap(before)?, overlap(after)?);
    Ok(DiceReport {
        before: start.mean_dice,
        after: labels.mean_dice,
        labels,
    })
}

/// World positions of the voxels with a number.
fn marks(labels: &Labels, id: u32) -> Vec<[f64; 3]> {
    let (map, grid) = (labels.grid().index_to_world(), labels.grid());
    let voxels = labels.values().iter().enumerate();
    voxels
        .filter(|(_, value)| **value == id)
        .map(|(voxel, _)| map.apply(grid.index_of(voxel).map(|i| i as f64)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_two_files_and_named_settings() {
        let full = labels("a.nii.gz,b.nii,ids=17+53,weight=2.5,mask=m.nii").unwrap();
        assert_eq!(full.fixed, PathBuf::from("a.nii.gz"));
        assert_eq!(full.moving, PathBuf::from("b.nii"));
        assert_eq!((full.ids, full.weight), (vec![17, 53], Some(2.5)));
        assert_eq!(full.mask, Some(PathBuf::from("m.nii")));
        let plain = points("a.csv,b.csv").unwrap();
        assert_eq!((plain.ids.len(), plain.weight, plain.mask), (0, None, None));
        let turned = scribbles("a.nii,b.nii,mask=m.nii,weight=3").unwrap();
        assert_eq!(turned.weight, Some(3.0));
        for (bad, word) in [
            (labels("a.nii"), "fewer than two"),
            (labels(",b.nii"), "fewer than two"),
            (labels("a,b,17+53"), "'17+53'"),
            (labels("a,b,ids=17,ids=18"), "twice"),
            (labels("a,b,ids="), "joined by +"),
            (labels("a,b,ids=0"), "joined by +"),
            (labels("a,b,weight=-1"), "positive"),
            (labels("a,b,mask="), "without a name"),
            (points("a,b,ids=3"), "'ids=3'"),
            (points("a,b,c"), "commas"),
            (scribbles("a,b,ids=3"), "'ids=3'"),
        ] {
            let error = bad.unwrap_err();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
