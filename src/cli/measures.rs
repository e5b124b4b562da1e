//! What was measured of a registration, as a table.

use super::sheet::Sheet;
use crate::{InverseConsistency, LandmarkErrors, Overlap, Regularity, Summary, SurfaceDistance};
use serde::Serialize;
use std::fmt;

/// What `evaluate` measured; what was not asked for is left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Measures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surface_distance: Option<SurfaceDistance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regularity: Option<Regularity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inverse_consistency: Option<InverseConsistency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landmarks: Option<LandmarkErrors>,
}

impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sheet = Sheet::default();
        if let (Some(overlap), Some(surface)) = (&self.overlap, &self.surface_distance) {
            labels(&mut sheet, overlap, surface);
        }
        if let Some(found) = &self.regularity {
            regularity(&mut sheet, found);
        }
        if let Some(found) = &self.inverse_consistency {
            sheet.title("inverse consistency, mm");
            summary(&mut sheet, &found.summary);
            let share = 100.0 * found.inside as f64 / found.voxels as f64;
            sheet.entry("voxels judged", format!("{share:.2} %"));
        }
        if let Some(found) = &self.landmarks {
            sheet.title("landmark error (TRE), mm");
            summary(&mut sheet, &found.summary);
            sheet.entry("points", found.summary.count.to_string());
        }
        sheet.fmt(f)
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{v:.digits$}"))
}

fn labels(sheet: &mut Sheet, overlap: &Overlap, surface: &SurfaceDistance) {
    sheet.title("labels");
    let head = [
        "label",
        "Dice",
        "HD95 mm",
        "HD95 voxels",
        "fixed voxels",
        "warped voxels",
    ];
    sheet.cells(head.map(str::to_owned));
    for (o, s) in overlap.labels.iter().zip(&surface.labels) {
        sheet.cells([
            o.label.to_string(),
            number(o.dice, 4),
            number(s.hd95_mm, 3),
            number(s.hd95_voxels, 3),
            o.fixed.to_string(),
            o.warped.to_string(),
        ]);
    }
    sheet.cells([
        "mean".into(),
        number(overlap.mean_dice, 4),
        number(surface.mean_hd95_mm, 3),
        number(surface.mean_hd95_voxels, 3),
    ]);
}

fn regularity(sheet: &mut Sheet, found: &Regularity) {
    sheet.title("regularity");
    let percent = |value: f64| format!("{value:.4} %");
    sheet.entry("folds, central differences", percent(found.folds_percent));
    sheet.entry(
        "folds, digital criterion",
        percent(found.digital_folds_percent),
    );
    sheet.entry(
        "volume inside out",
        percent(found.non_diffeomorphic_percent),
    );
    sheet.entry(
        "smallest determinant",
        format!("{:.4}", found.minimum_determinant),
    );
    sheet.entry(
        "largest determinant",
        format!("{:.4}", found.maximum_determinant),
    );
    sheet.entry(
        "smallest, digital",
        format!("{:.4}", found.minimum_digital_determinant),
    );
    sheet.entry("SDlogJ", number(found.sd_log_j, 4));
    sheet.entry("SDlogJ as Learn2Reg", number(found.sd_log_j_learn2reg, 4));
}

fn summary(sheet: &mut Sheet, summary: &Summary) {
    for (name, value) in [
        ("mean", summary.mean),
        ("median", summary.median),
        ("95th percentile", summary.p95),
        ("largest", summary.maximum),
    ] {
        sheet.entry(name, format!("{value:.4}"));
    }
}
