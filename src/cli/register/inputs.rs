//! The files a registration starts from.

use std::path::Path;

use serde::Serialize;

use super::prompts::GivenPrompt;
use super::RegisterArgs;
use crate::image::{read_affine, read_image_with, read_labels};
use crate::image::{Image, ImageOptions, Labels};
use crate::{Affine, Error, Grid, Result};

use super::super::{sha256, Init, Network};

/// What was read.
pub struct Inputs {
    pub fixed: Image,
    pub moving: Image,
    pub fixed_mask: Option<Labels>,
    pub moving_mask: Option<Labels>,
    /// Of the fixed and the moving image.
    pub labels: Option<(Labels, Labels)>,
    /// The network whose features are compared, if one was named.
    pub network: Option<Network>,
    pub prompts: Vec<GivenPrompt>,
    /// The transform to start from, if one was named.
    pub start: Option<Affine>,
    pub files: Vec<InputFile>,
    /// What was doubtful, with the name of the file.
    pub warnings: Vec<String>,
}

/// A file by name and contents, for the report.
#[derive(Debug, Clone, Serialize)]
pub struct InputFile {
    /// What it is to the registration.
    pub role: &'static str,
    /// As given on the command line.
    pub path: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
}

impl Inputs {
    /// Reads and checks every file the arguments name, so that no work is lost on a later one.
    pub fn read(args: &RegisterArgs) -> Result<Self> {
        let options = |volume| ImageOptions {
            volume,
            ..ImageOptions::default()
        };
        let (fixed, moving) = rayon::join(
            || read_image_with(&args.fixed, &options(args.fixed_volume)),
            || read_image_with(&args.moving, &options(args.moving_volume)),
        );
        let (fixed, moving) = (fixed?, moving?);
        let labels = |path: &Option<_>| path.as_ref().map(read_labels).transpose();
        let (fixed_labels, moving_labels) = rayon::join(
            || labels(&args.fixed_labels),
            || labels(&args.moving_labels),
        );
        let (fixed_mask, moving_mask) =
            rayon::join(|| labels(&args.fixed_mask), || labels(&args.moving_mask));
        let network = match &args.features {
            Some(features) => features.network(&fixed, &args.fixed)?,
            None => None,
        };
        let mut inputs = Self {
            network,
            start: match &args.init {
                Init::File(path) => Some(read_affine(path, fixed.grid().rank())?),
                _ => None,
            },
            fixed,
            moving,
            fixed_mask: fixed_mask?,
            moving_mask: moving_mask?,
            labels: fixed_labels?.zip(moving_labels?),
            prompts: Vec::new(),
            files: Vec::new(),
            warnings: Vec::new(),
        };
        inputs.check(args)?;
        let images = [
            (&inputs.fixed, args.fixed.as_path()),
            (&inputs.moving, args.moving.as_path()),
        ];
        inputs.prompts = args
            .prompts()
            .map(|(kind, files)| GivenPrompt::read(kind, files, images, args.prompts_off_at_finest))
            .collect::<Result<_>>()?;
        inputs.list(args)?;
        Ok(inputs)
    }

    fn check(&self, args: &RegisterArgs) -> Result<()> {
        let both = self.labels.as_ref();
        for (path, labels, grid, image) in [
            (
                &args.fixed_labels,
                both.map(|l| &l.0),
                self.fixed.grid(),
                &args.fixed,
            ),
            (
                &args.moving_labels,
                both.map(|l| &l.1),
                self.moving.grid(),
                &args.moving,
            ),
            (
                &args.fixed_mask,
                self.fixed_mask.as_ref(),
                self.fixed.grid(),
                &args.fixed,
            ),
            (
                &args.moving_mask,
                self.moving_mask.as_ref(),
                self.moving.grid(),
                &args.moving,
            ),
        ] {
            if let (Some(path), Some(labels)) = (path, labels) {
                on_grid(path, labels, grid, image)?;
            }
        }
        for (path, mask) in [
            (&args.fixed_mask, &self.fixed_mask),
            (&args.moving_mask, &self.moving_mask),
        ] {
            if let (Some(path), Some(mask)) = (path, mask) {
                if mask.values().iter().all(|&v| v == 0) {
                    return Err(Error::data(
                        path.display().to_string(),
                        "the mask covers nothing: every voxel is 0; give one that is not zero where the image counts",
                    ));
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, args: &RegisterArgs) -> Result<()> {
        let both = self.labels.as_ref();
        let start = match &args.init {
            Init::File(path) => Some(path.as_path()),
            _ => None,
        };
        let weights = args.features.as_ref().and_then(|f| f.weights());
        let none: &[String] = &[];
        for (role, path, warnings) in [
            ("fixed", Some(args.fixed.as_path()), self.fixed.warnings()),
            (
                "moving",
                Some(args.moving.as_path()),
                self.moving.warnings(),
            ),
            (
                "fixed mask",
                args.fixed_mask.as_deref(),
                self.fixed_mask.as_ref().map_or(none, Labels::warnings),
            ),
            (
                "moving mask",
                args.moving_mask.as_deref(),
                self.moving_mask.as_ref().map_or(none, Labels::warnings),
            ),
            (
                "fixed labels",
                args.fixed_labels.as_deref(),
                both.map_or(none, |l| l.0.warnings()),
            ),
            (
                "moving labels",
                args.moving_labels.as_deref(),
                both.map_or(none, |l| l.1.warnings()),
            ),
            ("start", start, none),
            ("weights", weights, none),
        ] {
            let Some(path) = path else { continue };
            let name = path.display().to_string();
            self.warnings
                .extend(warnings.iter().map(|warning| format!("{name}: {warning}")));
            self.files.push(InputFile {
                role,
                sha256: sha256(path)?,
                path: name,
            });
        }
        for given in &self.prompts {
            self.warnings.extend_from_slice(&given.warnings);
            for path in given.files.files() {
                self.files.push(InputFile {
                    role: "prompt",
                    sha256: sha256(path)?,
                    path: path.display().to_string(),
                });
            }
        }
        Ok(())
    }
}

/// Labels and masks lie on their image's grid, voxel for voxel.
pub fn on_grid(path: &Path, labels: &Labels, grid: &Grid, image: &Path) -> Result<()> {
    if labels.grid().matches(grid, 0.5) {
        return Ok(());
    }
    Err(Error::GridMismatch {
        what: format!(
            "{} (must lie on the grid of {}; resample it with `stillpoint apply --interpolation label`)",
            path.display(),
            image.display()
        ),
        expected: grid.describe(),
        got: labels.grid().describe(),
    })
}
