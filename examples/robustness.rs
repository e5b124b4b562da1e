//! What becomes of a registration when the moving image is no longer like the images that features were trained on.
//!
//! Registers consecutive subjects of a folder, by intensities and by learned features, with the moving images as they are and changed:
//! gamma, inverted contrast, a bias field, noise, thick slices on their own grid and resampled back to the old one. The whole default
//! pipeline runs, its affine stage too. Prints the mean Dice of each, and what is lost.
//!
//! `cargo run --release --example robustness WEIGHTS IMAGES LABELS [SUBJECT...]`
//!
//! A subject is what the name of its image ends with, before `.nii.gz`; without any, all of the folder are taken. Label files
//! have the names of their images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use stillpoint::{
    overlap, read_image, read_labels, resample_labels, resize, smooth, Chain, Error,
    FeatureNetwork, Image, LabelResampling, Labels, Registration, Result, Rng, Weights,
};

struct Subject {
    image: Image,
    labels: Labels,
}

/// What is done to a moving image.
#[derive(Debug, Clone, Copy)]
enum Shift {
    None,
    Gamma(f64),
    Inverted,
    Bias(f64),
    Noise(f64),
    /// So many slices make one, on a grid of their own or resampled back.
    Thick {
        slices: usize,
        native: bool,
    },
}

impl Shift {
    const ALL: [Self; 11] = [
        Self::None,
        Self::Gamma(0.5),
        Self::Gamma(2.0),
        Self::Inverted,
        Self::Bias(0.5),
        Self::Noise(0.1),
        Self::Noise(0.2),
        Self::Thick {
            slices: 2,
            native: true,
        },
        Self::Thick {
            slices: 2,
            native: false,
        },
        Self::Thick {
            slices: 4,
            native: true,
        },
        Self::Thick {
            slices: 4,
            native: false,
        },
    ];

    fn name(self) -> String {
        match self {
            Self::None => "as they are".into(),
            Self::Gamma(gamma) => format!("gamma {gamma}"),
            Self::Inverted => "inverted contrast".into(),
            Self::Bias(size) => format!("bias field, e^±{size} (one deviation)"),
            Self::Noise(size) => format!("noise, {size} of the range"),
            Self::Thick {
                slices,
                native: true,
            } => format!("slices {slices} times as thick"),
            Self::Thick {
                slices,
                native: false,
            } => {
                format!("slices {slices} times as thick, resampled")
            }
        }
    }

    /// Of the intensities between their extremes.
    fn apply(self, image: &Image, rng: &mut Rng) -> Result<Image> {
        let grid = image.grid();
        let (low, high) = image
            .values()
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| {
                (low.min(v), high.max(v))
            });
        let range = (high - low).max(f32::MIN_POSITIVE);
        let unit = image.values().iter().map(|v| (v - low) / range);
        let shape = [&[1], grid.shape().as_slice()].concat();
        let on_grid = |values: Vec<f32>| Image::new(grid.clone(), 1, values);
        match self {
            Self::None => Ok(image.clone()),
            Self::Gamma(gamma) => on_grid(unit.map(|v| v.powf(gamma as f32)).collect()),
            Self::Inverted => on_grid(unit.map(|v| 1.0 - v).collect()),
            Self::Noise(size) => on_grid(unit.map(|v| v + (size * rng.normal()) as f32).collect()),
            Self::Bias(size) => {
                let noise: Vec<f32> = (0..grid.voxels()).map(|_| rng.normal() as f32).collect();
                let widths: Vec<f64> = grid.size().iter().map(|&n| 0.2 * n as f64).collect();
                let field = smooth(&Tensor::from_vec(noise, shape, &Device::Cpu)?, &widths)?;
                let field = field.flatten_all()?.to_vec1::<f32>()?;
                let deviation =
                    (field.iter().map(|v| v * v).sum::<f32>() / field.len() as f32).sqrt();
                let scale = size as f32 / deviation;
                on_grid(
                    unit.zip(&field)
                        .map(|(v, f)| v * (scale * f).exp())
                        .collect(),
                )
            }
            Self::Thick { slices, native } => {
                let mut size = grid.size().to_vec();
                let axis = size.len() - 1;
                size[axis] = size[axis].div_ceil(slices);
                let whole = Tensor::from_vec(unit.collect::<Vec<f32>>(), shape, &Device::Cpu)?;
                let thick = resize(&whole, &size)?;
                let (values, grid) = if native {
                    (thick, grid.resized(&size)?)
                } else {
                    (resize(&thick, grid.size())?, grid.clone())
                };
                Image::new(grid, 1, values.flatten_all()?.to_vec1()?)
            }
        }
    }
}

fn subjects(images: &Path, labels: &Path, wanted: &[String]) -> Result<Vec<Subject>> {
    let entries = std::fs::read_dir(images).map_err(|e| Error::io(images, "read the folder", e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = name.trim_end_matches(".gz").trim_end_matches(".nii");
            name != stem && (wanted.is_empty() || wanted.iter().any(|end| stem.ends_with(end)))
        })
        .collect();
    files.sort();
    let read = |image: &PathBuf| -> Result<Subject> {
        let name = image.file_name().unwrap_or_default();
        Ok(Subject {
            image: read_image(image)?,
            labels: read_labels(labels.join(name))?,
        })
    };
    files.iter().map(read).collect()
}

/// Dice over the labels of the moving image, of a moving image that was changed.
fn dice(registration: &Registration, pair: &[Subject], moving: &Image) -> Result<f64> {
    let [fixed, other] = pair else {
        return Err(Error::argument("pair", "two subjects are needed"));
    };
    let registered = registration.run(&fixed.image, moving, &mut |_| Ok(()))?;
    let grid = fixed.labels.grid();
    let chain = Chain::new(grid.rank())?.then_field(registered.total_field(&fixed.image)?)?;
    let warped = resample_labels(&other.labels, &chain, grid, LabelResampling::Nearest, 0)?;
    let found = overlap(
        fixed.labels.values(),
        warped.values(),
        Some(other.labels.values()),
        None,
    )?;
    Ok(found.mean_dice.unwrap_or(f64::NAN))
}

fn main() -> Result<()> {
    // pairs run side by side
    std::env::set_var("CANDLE_NUM_THREADS", "1");
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [weights, images, labels, wanted @ ..] = words.as_slice() else {
        eprintln!("usage: robustness WEIGHTS IMAGES LABELS [SUBJECT...]");
        std::process::exit(2);
    };
    let network: Arc<dyn FeatureNetwork> = Arc::new(Weights::read(weights)?.build()?);
    let subjects = subjects(Path::new(images), Path::new(labels), wanted)?;
    let methods = [
        ("intensities", Registration::default()),
        (
            "learned",
            Registration {
                network: Some(network),
                ..Registration::default()
            },
        ),
    ];
    println!(
        "{} consecutive pairs; mean Dice, and what is lost",
        subjects.len().saturating_sub(1)
    );
    println!(
        "{:<36}{:>22}{:>22}",
        "moving images", methods[0].0, methods[1].0
    );
    let mut first = [f64::NAN; 2];
    for shift in Shift::ALL {
        print!("{:<36}", shift.name());
        for (at, (_, registration)) in methods.iter().enumerate() {
            let pairs: Vec<&[Subject]> = subjects.windows(2).collect();
            let found: Vec<f64> = pairs
                .par_iter()
                .enumerate()
                .map(|(number, pair)| {
                    let mut rng = Rng::new(number as u64);
                    dice(registration, pair, &shift.apply(&pair[1].image, &mut rng)?)
                })
                .collect::<Result<_>>()?;
            let mean = stillpoint::mean(&found);
            if matches!(shift, Shift::None) {
                first[at] = mean;
            }
            print!("{:>22}", format!("{mean:.3} ({:+.3})", mean - first[at]));
        }
        println!();
    }
    Ok(())
}
