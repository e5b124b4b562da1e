//! `stillpoint info`: what a header means.

use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
NIfTI headers hold two geometries, and programs choose between them by different
rules. Where the NIfTI and the ITK reading differ, both are shown.

Examples:
  stillpoint info image.nii.gz
  stillpoint info --json image.nii.gz";

/// The arguments of `info`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InfoArgs {
    /// Image to read
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}
