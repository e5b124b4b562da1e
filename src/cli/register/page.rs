//! The page of a registration.

use std::path::Path;

use super::report::Report;
use super::RegisterArgs;
use crate::picture::{Curve, ReportPage};
use crate::Result;

/// The arrays that the page shows, on the fixed grid.
pub struct Shown<'a> {
    pub grid: &'a crate::Grid,
    pub fixed: &'a [f32],
    pub moving: &'a [f32],
    pub warped: &'a [f32],
    pub displacement: &'a [f32],
    pub determinant: &'a [f32],
    pub labels: Option<&'a [i32]>,
}

/// Draws the page as the bytes of a PNG file.
pub fn draw(args: &RegisterArgs, report: &Report, shown: &Shown<'_>) -> Result<Vec<u8>> {
    let prefix = name(&args.out_prefix);
    let stages: Vec<String> = args
        .transform
        .list()
        .iter()
        .map(|stage| stage.name().to_owned())
        .collect();
    let curves: Vec<Curve> = report
        .deformable
        .iter()
        .flat_map(|deformable| {
            deformable.levels.iter().map(|level| Curve {
                name: format!("{} {}", deformable.transform, level.shrink),
                // per voxel, so that the levels stand on one scale
                energies: level
                    .iterations
                    .iter()
                    .map(|i| i.energy / level.size.iter().product::<usize>() as f64)
                    .collect(),
            })
        })
        .collect();
    ReportPage {
        title: &prefix,
        fixed_name: &name(&args.fixed),
        moving_name: &name(&args.moving),
        stages: &stages,
        grid: shown.grid,
        fixed: shown.fixed,
        moving: shown.moving,
        warped: shown.warped,
        displacement: shown.displacement,
        determinant: shown.determinant,
        fixed_labels: shown.labels,
        figures: &figures(report),
        curves: &curves,
    }
    .to_png()
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The table of the page, and of the summary on standard output.
pub fn figures(report: &Report) -> Vec<(String, String)> {
    let mut figures: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| figures.push((name.to_owned(), value));
    if let Some(dice) = &report.dice {
        let value = |dice: Option<f64>| dice.map_or("-".into(), |d| format!("{d:.4}"));
        add(
            "Dice, mean of labels",
            format!("{} to {}", value(dice.before), value(dice.after)),
        );
    }
    for prompt in &report.prompts {
        let name = format!("Prompted {}", prompt.kind.name());
        if let Some(dice) = &prompt.dice {
            let value = |dice: Option<f64>| dice.map_or("-".into(), |d| format!("{d:.4}"));
            let gain = format!("Dice {} to {}", value(dice.before), value(dice.after));
            add(&name, gain);
        }
        if let Some(distance) = &prompt.distance {
            let (before, after) = (distance.before.mean, distance.after.mean);
            add(&name, format!("{before:.2} to {after:.2} mm"));
        }
    }
    add(
        "RMS difference",
        format!(
            "{:.4} to {:.4}",
            report.difference.before, report.difference.after
        ),
    );
    let r = &report.regularity;
    add("Folds, central", format!("{:.3} %", r.folds_percent));
    add(
        "Folds, digital",
        format!("{:.3} %", r.digital_folds_percent),
    );
    add(
        "Determinant",
        format!(
            "{:.3} to {:.3}",
            r.minimum_determinant, r.maximum_determinant
        ),
    );
    if let Some(spread) = r.sd_log_j {
        add("SD of log determinant", format!("{spread:.4}"));
    }
    if let Some(inverse) = &report.inverse_consistency {
        let summary = &inverse.summary;
        add(
            "Inverse consistency",
            format!("{:.3} mm, 95 % {:.3} mm", summary.mean, summary.p95),
        );
    }
    if let Some(alignment) = &report.alignment {
        add("Start", alignment.start.name.clone());
        for stage in &alignment.stages {
            let name = stage.kind.name();
            let value = if stage.kept {
                format!("{:.4} to {:.4}", stage.energy_before, stage.energy_after)
            } else {
                "dropped".into()
            };
            add(&format!("Energy, {name}"), value);
        }
    }
    if let Some(network) = &report.network {
        add("Features", name(Path::new(&network.weights)));
    }
    if let Some(deformable) = &report.deformable {
        add("Lambda", format!("{}", deformable.lambda));
        if deformable.certify {
            let held = deformable
                .levels
                .iter()
                .filter(|level| level.certificate.strict_minimum)
                .count();
            add(
                "Certified minima",
                format!("{held} of {} levels", deformable.levels.len()),
            );
        }
    }
    figures
}
