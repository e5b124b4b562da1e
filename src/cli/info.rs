//! `stillpoint info`: what a header means.

use super::print;
use super::sheet::Sheet;
use crate::{header_report, GeometryReport, HeaderReport, Result};
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

/// Does what `info` was asked to.
///
/// A file whose header is sound but whose values cannot be read has its header shown all the same.
pub(super) fn run(args: &InfoArgs) -> Result<()> {
    let (report, values) = match header_report(&args.file, true) {
        Ok(report) => (report, Ok(())),
        Err(error) => match header_report(&args.file, false) {
            Ok(report) => (report, Err(error)),
            Err(_) => return Err(error),
        },
    };
    if args.json {
        print(&super::output::json(&report)?)?;
    } else {
        print(&sheet(&report).to_string())?;
    }
    values
}

fn sheet(report: &HeaderReport) -> Sheet {
    let mut sheet = Sheet::default();
    let join = |numbers: &mut dyn Iterator<Item = String>| numbers.collect::<Vec<_>>().join(" x ");
    sheet.title(report.path.display().to_string());
    let order = if report.big_endian { "big" } else { "little" };
    sheet.entry("format", format!("{}, {order}-endian", report.format));
    sheet.entry(
        "size",
        join(&mut report.dims.iter().take(report.rank).map(usize::to_string)),
    );
    if report.volumes > 1 {
        sheet.entry("volumes", report.volumes.to_string());
    }
    sheet.entry(
        "spacing",
        format!(
            "{} mm",
            join(&mut report.spacing.iter().map(|s| (*s as f32).to_string()))
        ),
    );
    sheet.entry("orientation", &*report.orientation);
    sheet.entry("stored as", report.element);
    if let Some(nifti) = &report.nifti {
        if let (Some(slope), Some(intercept)) = (nifti.slope, nifti.intercept) {
            if slope != 0.0 && (slope, intercept) != (1.0, 0.0) {
                sheet.entry("scaled by", format!("{slope} x + {intercept}"));
            }
        }
        sheet.entry("sform code", coordinates(nifti.sform_code));
        sheet.entry("qform code", coordinates(nifti.qform_code));
        if let Some(intent) = intent(nifti.intent_code) {
            sheet.entry("intent", intent);
        }
        if !nifti.description.is_empty() {
            sheet.entry("description", &*nifti.description);
        }
    }
    if let Some(values) = &report.values {
        let range = match (values.min, values.max) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            _ => "none is finite".to_owned(),
        };
        sheet.entry("values", range);
        if values.non_finite > 0 {
            sheet.entry("NaN or infinite", values.non_finite.to_string());
        }
    }
    let world = "index to world, mm, x to the right, y to the front, z up";
    let own = &report.geometry;
    match &report.itk_geometry {
        Some(itk) if differ(own, itk, report) => {
            matrix(&mut sheet, &format!("{world}, by NIfTI's rules"), own);
            matrix(
                &mut sheet,
                &format!("{world}, as ITK and ANTs read it"),
                itk,
            );
        }
        Some(_) => matrix(&mut sheet, &format!("{world}, in either reading"), own),
        None => matrix(
            &mut sheet,
            &format!("{world}, by NIfTI's rules; ITK and ANTs refuse it"),
            own,
        ),
    }
    if !report.warnings.is_empty() {
        sheet.title("warnings");
        for warning in &report.warnings {
            sheet.note(&**warning);
        }
    }
    sheet
}

fn matrix(sheet: &mut Sheet, title: &str, geometry: &GeometryReport) {
    sheet.title(format!("{title}: {}", geometry.from));
    for row in geometry.matrix {
        sheet.cells(row.map(|v| format!("{:.5}", v + 0.0)));
    }
}

/// Whether a corner of the image lies at two places, a hundredth of a voxel apart.
fn differ(own: &GeometryReport, itk: &GeometryReport, report: &HeaderReport) -> bool {
    let finest = report.spacing.iter().copied().fold(f64::INFINITY, f64::min);
    (0..1usize << report.rank).any(|corner| {
        let apart = (0..3).map(|r| {
            let (a, b) = (own.matrix[r], itk.matrix[r]);
            let along = (0..report.rank).map(|c| {
                let index = (corner >> c & 1) * (report.dims[c] - 1);
                (a[c] - b[c]) * index as f64
            });
            (a[3] - b[3] + along.sum::<f64>()).powi(2)
        });
        apart.sum::<f64>().sqrt() > 0.01 * finest
    })
}

fn coordinates(code: i16) -> String {
    let meaning = match code {
        0 => "unknown: not to be used",
        1 => "scanner",
        2 => "aligned to another image",
        3 => "Talairach",
        4 => "MNI 152",
        5 => "another template",
        _ => "not in the standard",
    };
    format!("{code} ({meaning})")
}

fn intent(code: i16) -> Option<String> {
    let meaning = match code {
        0 => return None,
        1002 => "labels",
        1006 => "displacements, RAS",
        1007 => "vectors; ITK's displacement fields, LPS",
        _ => "see the NIfTI standard",
    };
    Some(format!("{code} ({meaning})"))
}
