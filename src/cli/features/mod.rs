//! `stillpoint features`: what a registration compares, to look at.

mod maps;
mod report;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::output::json;
use super::{print, Compared, Levels, RunArgs, Session};
use crate::features::{BaseFeatures, FeatureNetwork, Features, HandMade, Intensities, Mind};
use crate::image::{read_image, write_bytes, Image};
use crate::picture::{charts_to_png, coloured_to_png};
use crate::registration::{coloured, Deformation, Registered, Registration};
use crate::{Error, Result};

use maps::maps_of;
use report::{FeaturesReport, LandscapeReport, LevelMaps};

const EXAMPLES: &str = "\
Writes, for the prefix P:
  P_level4.nii.gz ...  the maps of each level, a channel each
  P.png                their three leading principal components as red, green, blue
  P.json               sizes, ranges, shares of the variance
With two images it registers the second onto the first by these features and adds
  P_moving_level4.nii.gz ...
  P_landscape.png      the energy on the line from the identity (t = 0) through the
                       solution (t = 1), for the features and for intensities

Examples:
  stillpoint features --image a.nii.gz --features mind -o out/a
  stillpoint features --image a.nii.gz --image b.nii.gz \\
      --features weights.safetensors -o out/pair";

/// The arguments of `features`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FeaturesArgs {
    /// Image; a second one is registered onto the first
    #[arg(short, long, value_name = "FILE", required = true)]
    pub image: Vec<PathBuf>,

    /// Features: intensities, mind, synthetic or synthetic-same (networks that come with the program), or a file of weights
    /// (*.safetensors)
    #[arg(long, value_name = "FEATURES", default_value = "mind")]
    pub features: Compared,

    /// How much coarser the grid is on each level, such as 4x2x1 [default: those of the weights, else by the image's size]
    #[arg(long, value_name = "AxBxC")]
    pub levels: Option<Levels>,

    /// Weight of smoothness against likeness [default: that of the weights in training, else 0.2]
    #[arg(long, value_name = "WEIGHT", value_parser = super::register::weight, allow_negative_numbers = true)]
    pub lambda: Option<f64>,

    /// Beginning of the names of all files
    #[arg(short, long, value_name = "P", default_value = "out/features")]
    pub out_prefix: PathBuf,

    /// Print the report as JSON instead of a summary
    #[arg(long)]
    pub json: bool,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

impl FeaturesArgs {
    /// What the parser cannot see.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.image.len() > 2 {
            return Err(format!(
                "--image: give one image or two, got {}",
                self.image.len()
            ));
        }
        if self.image.len() == 1 && self.lambda.is_some() {
            return Err("--lambda has no effect on one image: give two".into());
        }
        match self.features.hand_made() {
            None | Some(Features::Intensities | Features::Mind) => Ok(()),
            Some(other) => Err(format!(
                "--features {} mixes maps of two kinds: choose intensities, mind, a network that comes with the program or a file of weights",
                other.name()
            )),
        }
    }

    fn path(&self, ending: &str) -> PathBuf {
        let mut name = self.out_prefix.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    }
}

/// Places on the line through the identity (0) and the solution (1).
fn places() -> Vec<f64> {
    (0..=40).map(|k| f64::from(k - 10) / 20.0).collect()
}

pub(super) fn run(args: &FeaturesArgs, session: &Session) -> Result<()> {
    session.progress.begin("reading", 1);
    let images: Vec<Image> = args.image.iter().map(read_image).collect::<Result<_>>()?;
    let first = &images[0];
    let learned = args.features.network(first, &args.image[0])?;
    let levels = args.levels.as_ref().map(|l| l.list().to_vec());
    let deformation = Deformation {
        levels,
        ..Deformation::default()
    };
    let network: Arc<dyn FeatureNetwork> = match &learned {
        Some(learned) => learned.network.clone(),
        None => {
            let base: Arc<dyn BaseFeatures> = match args.features.hand_made() {
                Some(Features::Intensities) => Arc::new(Intensities),
                _ => Arc::new(Mind),
            };
            let shrinks = deformation.shrinks(first.grid())?;
            let (rank, inputs) = (first.grid().rank(), first.channels());
            Arc::new(HandMade::new(base, rank, inputs, &shrinks)?)
        }
    };
    session.progress.begin("making features", images.len());
    let maps = maps_of(&*network, &images, deformation.levels.as_deref())?;
    session.proceed()?;
    let trained = learned.as_ref().and_then(|l| l.report.provenance.lambda);
    let registration = Registration {
        deformation: Some(Deformation {
            lambda: args.lambda.or(trained).unwrap_or(Deformation::LAMBDA),
            levels: Some(maps[0].iter().map(|level| level.shrink).collect()),
            ..deformation
        }),
        network: Some(network),
        ..Registration::default()
    };
    let landscape = match &images[..] {
        [fixed, moving] => Some(landscape(&registration, fixed, moving, session)?),
        _ => None,
    };

    if let Some(folder) = args.out_prefix.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", e))?;
    }
    session.progress.begin("writing", 1);
    let mut outputs = Vec::new();
    for (image, maps) in images.iter().zip(&maps) {
        let role = if std::ptr::eq(image, first) {
            ""
        } else {
            "_moving"
        };
        for level in maps {
            session.proceed()?;
            let path = args.path(&format!("{role}_level{}.nii.gz", level.shrink));
            level.image()?.write(&path)?;
            outputs.push(path);
        }
    }
    let names: Vec<String> = args.image.iter().map(|p| p.display().to_string()).collect();
    let (rows, shares) = coloured(&maps, &names);
    let mut write = |ending: &str, bytes: &[u8]| -> Result<()> {
        outputs.push(args.path(ending));
        write_bytes(&args.path(ending), bytes)
    };
    write(".png", &coloured_to_png(&rows)?)?;
    if let Some(landscape) = &landscape {
        write("_landscape.png", &charts_to_png(&landscape.charts())?)?;
    }
    let levels = maps[0].iter().zip(&shares);
    let report = FeaturesReport {
        images: names,
        features: args.features.to_string(),
        levels: levels
            .map(|(level, shares)| LevelMaps::of(level, shares))
            .collect(),
        network: learned.map(|l| l.report),
        landscape,
        outputs: outputs
            .iter()
            .map(|path| path.display().to_string())
            .chain([args.path(".json").display().to_string()])
            .collect(),
    };
    let text = json(&report)?;
    write_bytes(&args.path(".json"), text.as_bytes())?;
    if args.json {
        return print(&text);
    }
    if !args.run.quiet {
        print(&report.sheet().to_string())?;
    }
    Ok(())
}

/// Registers a pair and goes along the line to the solution, by the features and by intensities.
fn landscape(
    registration: &Registration,
    fixed: &Image,
    moving: &Image,
    session: &Session,
) -> Result<LandscapeReport> {
    session.progress.begin("registering", 1);
    let found: Registered = registration.run(fixed, moving, &mut |_| session.proceed())?;
    let places = places();
    session.progress.begin("going along the line", 1);
    let features = registration.landscape(fixed, moving, &found, &places)?;
    let by_intensities = Registration {
        network: None,
        deformation: registration.deformation.clone().map(|d| Deformation {
            features: Features::Intensities,
            ..d
        }),
        ..registration.clone()
    };
    let intensities = by_intensities.landscape(fixed, moving, &found, &places)?;
    let lambda = registration.deformation.as_ref().map(|d| d.lambda);
    Ok(LandscapeReport::of(
        lambda.unwrap_or(Deformation::LAMBDA),
        places,
        &features,
        &intensities,
    ))
}
