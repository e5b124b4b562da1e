//! `stillpoint evaluate`: how good a registration is.

use super::{Listed, RunArgs};
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
What is measured follows from what is given:
  labels      Dice and HD95 (mm), per label and mean
  transforms  folds (central differences and the digital criterion), SDlogJ
  inverse     inverse consistency in mm, mean and 95th percentile
  points      target registration error in mm

Examples:
  stillpoint evaluate --fixed-labels f.nii.gz --moving-labels m.nii.gz \\
      -t pair_warp.nii.gz
  stillpoint evaluate --reference fixed.nii.gz -t pair_warp.nii.gz \\
      --inverse pair_inverse_warp.nii.gz
  stillpoint evaluate --reference fixed.nii.gz -t pair_warp.nii.gz \\
      --fixed-points f.csv --moving-points m.csv";

/// The arguments of `evaluate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// Labels of the fixed image
    #[arg(long, value_name = "FILE", requires = "moving_labels")]
    pub fixed_labels: Option<PathBuf>,

    /// Labels of the moving image; carried onto the fixed grid by the transforms, nearest voxel
    #[arg(long, value_name = "FILE", requires = "fixed_labels")]
    pub moving_labels: Option<PathBuf>,

    /// Image whose grid the warp is measured on [default: the fixed labels']
    #[arg(long, value_name = "FILE", conflicts_with = "fixed_labels")]
    pub reference: Option<PathBuf>,

    /// Transform, fixed to moving, or `[FILE,1]` for its inverse; repeat it in the order of `apply`
    #[arg(short, long, value_name = "FILE")]
    pub transform: Vec<Listed>,

    /// Transform back, moving to fixed; repeat it in the order of `apply`
    #[arg(long, value_name = "FILE", requires = "transform")]
    pub inverse: Vec<Listed>,

    /// Landmarks in the fixed space: a table with columns x, y, z in mm
    #[arg(long, value_name = "FILE", requires = "moving_points")]
    pub fixed_points: Option<PathBuf>,

    /// The same landmarks in the moving space, in the same order
    #[arg(long, value_name = "FILE", requires = "fixed_points")]
    pub moving_points: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

impl EvaluateArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        let (labels, points) = (self.fixed_labels.is_some(), self.fixed_points.is_some());
        let transforms = !self.transform.is_empty();
        if !labels && !points && !transforms {
            return Err("nothing to measure: give labels, transforms or points".into());
        }
        if transforms && !labels && self.reference.is_none() {
            return Err(
                "--transform needs a grid to be measured on: give --reference or labels".into(),
            );
        }
        if self.reference.is_some() && !transforms {
            return Err("--reference has no effect without --transform".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use clap::Parser;

    fn parse(words: &str) -> Result<(), String> {
        let words = format!("stillpoint evaluate {words}");
        let cli = Cli::try_parse_from(words.split_whitespace()).map_err(|e| e.to_string())?;
        cli.command.check()
    }

    #[test]
    fn something_must_be_measured_and_everything_given_must_matter() {
        for good in [
            "--fixed-labels f --moving-labels m",
            "--fixed-labels f --moving-labels m -t w --inverse i --json",
            "--reference r -t w -t [a.mat,1]",
            "--fixed-points f --moving-points m",
            "--reference r -t w --fixed-points f --moving-points m",
        ] {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "-t w",
            "--reference r",
            "--fixed-labels f",
            "--moving-points m",
            "--inverse i --fixed-labels f --moving-labels m",
            "--reference r --fixed-labels f --moving-labels m -t w",
            "--reference r --fixed-points f --moving-points m",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
