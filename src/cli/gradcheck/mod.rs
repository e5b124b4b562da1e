//! `stillpoint gradcheck`: how true the gradients through a registration are.

mod measure;
mod report;
mod subject;

use super::output::json;
use super::{print, RunArgs, Session};
use crate::image::{read_image, write_bytes, Image};
use crate::picture::charts_to_png;
use crate::{Error, Phantom, Result};
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Registers a small pair to a certified minimum, once for each transform and
regulariser, and compares the exact gradient through the minimum with finite
differences of minima that are found again for changed data. Then it compares
every other policy with the exact gradient: direction, length, time and memory.
Writes P.png, the error against the inner tolerance and the memory against the
inner iterations, and P.json.

Examples:
  stillpoint gradcheck
      on two slices of a phantom that it makes
  stillpoint gradcheck --fixed a.nii.gz --moving b.nii.gz --size 32 --json";

/// The arguments of `gradcheck`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GradcheckArgs {
    /// Fixed image [default: a phantom]
    #[arg(short, long, value_name = "FILE", requires = "moving")]
    pub fixed: Option<PathBuf>,

    /// Moving image
    #[arg(short, long, value_name = "FILE", requires = "fixed")]
    pub moving: Option<PathBuf>,

    /// Voxels along the longest axis, to which both images are reduced
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(8..=512))]
    pub size: u16,

    /// Weight of the regulariser, relative to the images' gradient energy
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    pub lambda: f64,

    /// Beginning of the names of the files
    #[arg(short, long, value_name = "P", default_value = "out/gradcheck")]
    pub out_prefix: PathBuf,

    /// Another seed makes another phantom and other directions
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Print the report as JSON instead of tables
    #[arg(long)]
    pub json: bool,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

impl GradcheckArgs {
    /// What the parser cannot see.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        if self.lambda > 0.0 && self.lambda.is_finite() {
            return Ok(());
        }
        Err(format!("--lambda must be positive, got {}", self.lambda))
    }

    fn pair(&self) -> Result<[Image; 2]> {
        if let (Some(fixed), Some(moving)) = (&self.fixed, &self.moving) {
            return Ok([read_image(fixed)?, read_image(moving)?]);
        }
        let phantom = Phantom::pair(&[160, 192], &[1.0, 1.0], self.seed)?;
        Ok([
            Image::new(phantom.grid.clone(), 1, phantom.fixed)?,
            Image::new(phantom.grid, 1, phantom.moving)?,
        ])
    }
}

pub(super) fn run(args: &GradcheckArgs, session: &Session) -> Result<()> {
    if let Some(folder) = args.out_prefix.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", e))?;
    }
    let [fixed, moving] = args.pair()?;
    let report = measure::all(args, &fixed, &moving, session)?;
    let path = |ending: &str| {
        let mut name = args.out_prefix.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let text = json(&report)?;
    write_bytes(&path(".png"), &charts_to_png(&report.charts())?)?;
    write_bytes(&path(".json"), text.as_bytes())?;
    if args.json {
        return print(&text);
    }
    if !args.run.quiet {
        print(&report.sheet().to_string())?;
    }
    Ok(())
}
