//! `stillpoint demo`: the whole thing without any file.

use super::RunArgs;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Makes a brain-like phantom pair with labels and a known warp, registers it, and
says how close the found warp comes to the known one. Writes the pair as
P_fixed.nii.gz, P_moving.nii.gz and their labels, and what `register` writes.

Examples:
  stillpoint demo
  stillpoint demo --dimensions 2 --seed 7 -o out/flat";

/// The arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Beginning of the names of all files
    #[arg(short, long, value_name = "P", default_value = "out/demo")]
    pub out_prefix: PathBuf,

    /// 2 or 3
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub dimensions: u8,

    /// Another seed makes another pair
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Print the report as JSON instead of a summary
    #[arg(long)]
    pub json: bool,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}
