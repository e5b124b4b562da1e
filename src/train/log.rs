//! The record of a training: a CSV table that grows with it.

use std::path::{Path, PathBuf};

use crate::image::write_bytes;
use crate::picture::{charts_to_png, Chart, Series};
use crate::{Error, Result};

/// One step of a training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingStep {
    /// Number of the step, counted from 1; 0 is what was there before the first.
    pub step: usize,
    /// Loss, mean over the pairs; NaN where no pair had one.
    pub loss: f64,
    /// Loss of each level, coarse first.
    pub levels: Vec<f64>,
    /// Learning rate.
    pub rate: f64,
    /// Norm of the gradient before it was shortened.
    pub gradient: f64,
    /// Share of the level solves that reported a minimum or the end of progress rather than a spent budget.
    pub converged: f64,
    /// Pairs that could not be registered.
    pub failures: usize,
    /// Seconds since the training began, over all its sessions.
    pub seconds: f64,
    /// The validation after this step, where there was one.
    pub validation: Option<Validation>,
}

/// What a validation found.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Validation {
    /// Pairs that were registered.
    pub pairs: usize,
    /// Pairs that could not be; they count in nothing else here, and `validation.csv` says why.
    pub failures: usize,
    /// Mean Dice over pairs and labels, labels carried to the nearest voxel; NaN where there are no labels.
    pub dice: f64,
    /// Mean over pairs and labels of the 95th percentile of the distance between surfaces, mm; NaN where there are no labels.
    pub hd95: f64,
    /// Mean distance of the landmarks, mm; NaN where there are none.
    pub landmarks: f64,
    /// Voxels with a determinant that is not positive, in all pairs together.
    pub folds: u64,
    /// As [`TrainingStep::converged`].
    pub converged: f64,
    /// Mean Dice over subjects and labels of the pretraining's segmentation of single images; NaN but in a pretraining.
    pub segmentation: f64,
}

/// The table as it is known so far.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    levels: usize,
    /// Steps of the pretraining.
    before: usize,
    rows: Vec<TrainingStep>,
}

const FIXED: [&str; 15] = [
    "step",
    "loss",
    "rate",
    "gradient",
    "converged",
    "failures",
    "seconds",
    "validation_pairs",
    "validation_failures",
    "dice",
    "hd95",
    "landmarks",
    "folds",
    "validation_converged",
    "segmentation",
];

impl Log {
    /// An empty table for a network of so many levels, trained after `before` steps of a pretraining.
    pub fn new(folder: &Path, levels: usize, before: usize) -> Self {
        Self {
            path: folder.join("log.csv"),
            levels,
            before,
            rows: Vec::new(),
        }
    }

    /// Takes up the table of the folder, without what came after `step`.
    pub fn read(&mut self, step: usize) -> Result<()> {
        let (path, levels) = (self.path.clone(), self.levels);
        let broken = |e: csv::Error| Error::format(&path, e.to_string());
        let mut reader = csv::Reader::from_path(&path).map_err(broken)?;
        for record in reader.records() {
            let record = record.map_err(broken)?;
            let numbers: Vec<f64> = record
                .iter()
                .map(|text| text.parse().unwrap_or(f64::NAN))
                .collect();
            if numbers.len() != FIXED.len() + levels {
                return Err(Error::format(
                    &path,
                    format!(
                        "expected {} columns, found {}",
                        FIXED.len() + levels,
                        numbers.len()
                    ),
                ));
            }
            let validation = (numbers[7] >= 0.0).then(|| Validation {
                pairs: numbers[7] as usize,
                failures: numbers[8] as usize,
                dice: numbers[9],
                hd95: numbers[10],
                landmarks: numbers[11],
                folds: numbers[12] as u64,
                converged: numbers[13],
                segmentation: numbers[14],
            });
            let row = TrainingStep {
                step: numbers[0] as usize,
                loss: numbers[1],
                rate: numbers[2],
                gradient: numbers[3],
                converged: numbers[4],
                failures: numbers[5] as usize,
                seconds: numbers[6],
                validation,
                levels: numbers[FIXED.len()..].to_vec(),
            };
            if row.step <= step {
                self.rows.push(row);
            }
        }
        Ok(())
    }

    pub fn push(&mut self, row: TrainingStep) {
        self.rows.push(row);
    }

    pub fn rows(&self) -> &[TrainingStep] {
        &self.rows
    }

    /// Writes the table and its curves in place of those before.
    pub fn write(&self) -> Result<()> {
        let broken = |e: csv::Error| Error::format(&self.path, e.to_string());
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names = FIXED.iter().map(|name| (*name).to_owned());
        let levels = (1..=self.levels).map(|level| format!("loss_level_{level}"));
        writer.write_record(names.chain(levels)).map_err(broken)?;
        for row in &self.rows {
            let validation = |value: &dyn Fn(&Validation) -> f64| {
                row.validation.as_ref().map_or(String::new(), |v| {
                    let value = value(v);
                    if value.is_nan() {
                        String::new()
                    } else {
                        format!("{value:.6}")
                    }
                })
            };
            let mut cells = vec![
                row.step.to_string(),
                format!("{:.6}", row.loss),
                format!("{:.4e}", row.rate),
                format!("{:.4e}", row.gradient),
                format!("{:.4}", row.converged),
                row.failures.to_string(),
                format!("{:.1}", row.seconds),
                validation(&|v| v.pairs as f64),
                validation(&|v| v.failures as f64),
                validation(&|v| v.dice),
                validation(&|v| v.hd95),
                validation(&|v| v.landmarks),
                validation(&|v| v.folds as f64),
                validation(&|v| v.converged),
                validation(&|v| v.segmentation),
            ];
            cells.extend((0..self.levels).map(|level| {
                row.levels
                    .get(level)
                    .filter(|loss| loss.is_finite())
                    .map_or(String::new(), |loss| format!("{loss:.6}"))
            }));
            writer.write_record(cells).map_err(broken)?;
        }
        let bytes = writer
            .into_inner()
            .map_err(|e| Error::format(&self.path, e.to_string()))?;
        write_bytes(&self.path, &bytes)?;
        if self.rows.len() > 1 {
            let curves = charts_to_png(&self.charts())?;
            write_bytes(&self.path.with_file_name("curves.png"), &curves)?;
        }
        Ok(())
    }

    /// Losses, of the pretraining on a chart of their own, and Dice of the validations, against the steps.
    fn charts(&self) -> Vec<Chart> {
        let chart = |title: &str, up: &str, series: Vec<Series>| Chart {
            // a Dice is compared by differences, a loss by ratios
            linear: [true, up == "Dice"],
            title: title.into(),
            across: "step".into(),
            up: up.into(),
            series,
        };
        let losses = |rows: &[TrainingStep]| {
            let line = |name: String, value: &dyn Fn(&TrainingStep) -> f64| Series {
                name,
                points: smoothed(rows.iter().map(|r| [r.step as f64, value(r)])),
            };
            let mut losses = vec![line("all levels".into(), &|r| r.loss)];
            for level in 0..self.levels {
                losses.push(line(format!("level {}", level + 1), &|r| {
                    r.levels.get(level).copied().unwrap_or(f64::NAN)
                }));
            }
            losses
        };
        let mut charts = Vec::new();
        let (first, then) = self
            .rows
            .split_at(self.rows.partition_point(|r| r.step <= self.before));
        for (title, rows) in [("Pretraining", first), ("Training", then)] {
            if rows.iter().any(|r| r.loss.is_finite()) {
                charts.push(chart(title, "loss", losses(rows)));
            }
        }
        let validated = |name: &str, value: &dyn Fn(&Validation) -> f64| Series {
            name: name.into(),
            points: self
                .rows
                .iter()
                .filter_map(|r| Some([r.step as f64, value(r.validation.as_ref()?)]))
                .filter(|point| point[1].is_finite())
                .collect(),
        };
        let mut judged = vec![
            validated("registration by learned features", &|v| v.dice),
            validated("segmentation of single images", &|v| v.segmentation),
        ];
        judged.retain(|series| !series.points.is_empty());
        if !judged.is_empty() {
            charts.push(chart("Validation", "Dice", judged));
        }
        charts
    }
}

/// Means over a fortieth of the points, so that a trend can be seen.
fn smoothed(points: impl Iterator<Item = [f64; 2]>) -> Vec<[f64; 2]> {
    let points: Vec<[f64; 2]> = points.filter(|p| p[1].is_finite()).collect();
    let width = points.len().div_ceil(40).max(1);
    points
        .chunks(width)
        .map(|chunk| {
            let count = chunk.len() as f64;
            [0, 1].map(|i| chunk.iter().map(|p| p[i]).sum::<f64>() / count)
        })
        .collect()
}
