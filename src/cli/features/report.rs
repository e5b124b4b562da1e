//! What `features` reports.

use serde::Serialize;

use crate::cli::sheet::Sheet;
use crate::cli::NetworkReport;
use crate::picture::{Chart, Series};
use crate::registration::Landscape;
use crate::registration::LevelMap;

/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct FeaturesReport {
    /// The fixed image and, if there is one, the moving one.
    pub images: Vec<String>,
    pub features: String,
    /// The network; null where the features are made by hand.
    pub network: Option<NetworkReport>,
    /// Of the fixed image, coarse first.
    pub levels: Vec<LevelMaps>,
    /// Null for one image.
    pub landscape: Option<LandscapeReport>,
    pub outputs: Vec<String>,
}

/// The maps of a level.
#[derive(Debug, Serialize)]
pub(super) struct LevelMaps {
    pub shrink: usize,
    pub size: Vec<usize>,
    /// Mm.
    pub spacing: Vec<f64>,
    pub channels: usize,
    pub minimum: f32,
    pub maximum: f32,
    /// Shares of the variance along the leading principal components, of both images where there are two.
    pub variance: Vec<f64>,
}

impl LevelMaps {
    pub fn of(level: &LevelMap, shares: &[f64]) -> Self {
        let values = level.values.iter().copied();
        Self {
            shrink: level.shrink,
            size: level.grid.size().to_vec(),
            spacing: level.grid.spacing().to_vec(),
            channels: level.channels,
            minimum: values.clone().fold(f32::INFINITY, f32::min),
            maximum: values.fold(f32::NEG_INFINITY, f32::max),
            variance: shares.to_vec(),
        }
    }
}

/// Energies on the line `t u` through the identity and the solution `u`.
#[derive(Debug, Serialize)]
pub(super) struct LandscapeReport {
    pub lambda: f64,
    /// The places `t`.
    pub t: Vec<f64>,
    /// Coarse first.
    pub levels: Vec<LevelLandscape>,
}

/// One level's energies, relative to those at the identity.
#[derive(Debug, Serialize)]
pub(super) struct LevelLandscape {
    pub shrink: usize,
    pub features: Vec<f64>,
    pub intensities: Vec<f64>,
}

impl LandscapeReport {
    pub fn of(lambda: f64, t: Vec<f64>, features: &[Landscape], intensities: &[Landscape]) -> Self {
        let start = t.iter().position(|t| *t == 0.0).unwrap_or(0);
        let relative = |energies: &[f64]| -> Vec<f64> {
            energies.iter().map(|e| e / energies[start]).collect()
        };
        let levels = features.iter().zip(intensities);
        Self {
            lambda,
            levels: levels
                .map(|(f, i)| LevelLandscape {
                    shrink: f.shrink,
                    features: relative(&f.energies),
                    intensities: relative(&i.energies),
                })
                .collect(),
            t,
        }
    }

    /// A chart for each level.
    pub fn charts(&self) -> Vec<Chart> {
        let series = |name: &str, energies: &[f64]| Series {
            name: name.into(),
            points: self.t.iter().zip(energies).map(|(t, e)| [*t, *e]).collect(),
        };
        self.levels
            .iter()
            .map(|level| Chart {
                linear: [false; 2],
                title: format!("Energy on the line to the solution, level {}", level.shrink),
                across: "t: 0 is the identity, 1 the solution".into(),
                up: "energy, relative to that of the identity".into(),
                series: vec![
                    series("features", &level.features),
                    series("intensities", &level.intensities),
                ],
            })
            .collect()
    }

    /// Where the energies are smallest.
    fn lowest(&self, energies: &[f64]) -> String {
        let lowest = energies
            .iter()
            .zip(&self.t)
            .min_by(|a, b| a.0.total_cmp(b.0));
        lowest.map_or("-".into(), |(energy, t)| format!("{energy:.3} at {t:.2}"))
    }
}

impl FeaturesReport {
    /// The tables.
    pub fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::default();
        let words = |row: &[&str]| row.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        sheet.title(format!("features {}", self.features));
        sheet.cells(words(&[
            "level", "size", "channels", "lowest", "highest", "variance",
        ]));
        for level in &self.levels {
            let size: Vec<String> = level.size.iter().map(usize::to_string).collect();
            let variance: Vec<String> = level
                .variance
                .iter()
                .map(|v| format!("{:.0} %", 100.0 * v))
                .collect();
            sheet.cells([
                level.shrink.to_string(),
                size.join("x"),
                level.channels.to_string(),
                format!("{:.3}", level.minimum),
                format!("{:.3}", level.maximum),
                variance.join(", "),
            ]);
        }
        if let Some(landscape) = &self.landscape {
            sheet.title("lowest energy on the line, relative to that of the identity (t = 0)");
            sheet.cells(words(&["level", "features", "intensities"]));
            for level in &landscape.levels {
                sheet.cells([
                    level.shrink.to_string(),
                    landscape.lowest(&level.features),
                    landscape.lowest(&level.intensities),
                ]);
            }
        }
        sheet.title("files");
        for output in &self.outputs {
            sheet.note(output.clone());
        }
        sheet
    }
}
