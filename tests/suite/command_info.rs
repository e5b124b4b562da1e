//! `stillpoint info`, the built program.

use serde_json::Value;

use crate::nifti_bytes::{gzip, Raw};
use crate::program::{grids, Program};

fn with(raw: &Raw) -> Program {
    let program = Program::new();
    std::fs::write(program.path("a.nii"), raw.bytes()).unwrap();
    program
}

/// sform and qform half a mirror and 12 mm apart; ITK takes the qform.
fn two_readings() -> Raw {
    let values: Vec<f32> = (0..60).map(|v| v as f32 - 7.0).collect();
    let mut raw = Raw::new(&[5, 4, 3], &values);
    (raw.qform_code, raw.sform_code) = (1, 2);
    raw.offset = [12.0, 0.0, 0.0];
    raw
}

#[test]
fn both_readings_are_shown_where_they_differ() {
    let program = with(&two_readings());
    let text = program.output("info a.nii");
    for expected in [
        "5 x 4 x 3",
        "1 x 1 x 1 mm",
        "RAS",
        "float32",
        "-7 to 52",
        "2 (aligned to another image)",
        "1 (scanner)",
        "by NIfTI's rules: sform (code 2)",
        "as ITK and ANTs read it: qform (code 1)",
        "12.00000",
        "12.000 mm apart",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    let json: Value = serde_json::from_str(&program.output("info --json a.nii")).unwrap();
    assert_eq!(json["geometry"]["matrix"][0][3], 0.0);
    assert_eq!(json["itk_geometry"]["matrix"][0][3], 12.0);
    assert_eq!(json["values"]["max"], 52.0);
}

#[test]
fn one_reading_is_shown_once() {
    for grid in grids(1.0) {
        let program = Program::new();
        program.image("a.nii.gz", &grid, |_| 1.0);
        let text = program.output("info a.nii.gz");
        assert!(text.contains("in either reading"), "{text}");
        assert_eq!(text.matches("index to world").count(), 1, "{text}");
        assert!(!text.contains("warnings"), "{text}");
    }
}

#[test]
fn fields_series_and_bad_values_are_told() {
    let program = Program::new();
    let grid = grids(1.0).remove(3);
    program.field("warp.nii.gz", &grid, |_| [1.0, 2.0, 3.0]);
    let text = program.output("info warp.nii.gz");
    assert!(
        text.contains("1007 (vectors") && text.contains("volumes"),
        "{text}"
    );
    let mut values = [2.0; 24];
    values[5] = f32::NAN;
    let mut raw = Raw::new(&[4, 3, 1, 2], &values);
    (raw.slope, raw.inter) = (0.5, 10.0);
    std::fs::write(program.path("series.nii"), raw.bytes()).unwrap();
    let text = program.output("info series.nii");
    for expected in ["4 x 3\n", "0.5 x + 10", "11 to 11", "NaN or infinite  1\n"] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}

#[test]
fn files_without_a_sound_header_are_refused() {
    let program = with(&two_readings());
    program.refusal("info none.nii", &["none.nii: cannot open"]);
    std::fs::write(program.path("text.nii"), "not an image".repeat(50)).unwrap();
    program.refusal("info text.nii", &["text.nii", "not a NIfTI file"]);
    let mut raw = two_readings();
    raw.sform[0] = [0.0; 4];
    raw.qform_code = 0;
    std::fs::write(program.path("singular.nii"), raw.bytes()).unwrap();
    program.refusal("info singular.nii", &["singular.nii", "sform"]);
    let packed = gzip(&two_readings().bytes());
    std::fs::write(program.path("cut.nii.gz"), &packed[..40]).unwrap();
    program.refusal("info cut.nii.gz", &["cut.nii.gz", "truncated gzip"]);
    assert_eq!(program.run("info").status.code(), Some(2));
}

#[test]
fn a_sound_header_is_shown_though_the_values_are_cut_off() {
    let program = with(&two_readings());
    let bytes = two_readings().bytes();
    std::fs::write(program.path("cut.nii"), &bytes[..500]).unwrap();
    let found = program.run("info cut.nii");
    assert_eq!(found.status.code(), Some(1));
    let (text, error) = (
        String::from_utf8(found.stdout).unwrap(),
        String::from_utf8(found.stderr).unwrap(),
    );
    assert!(
        text.contains("5 x 4 x 3") && !text.contains("values"),
        "{text}"
    );
    assert!(error.contains("cut.nii: too short"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_full_disk_at_standard_output_is_an_error_and_a_closed_pipe_is_none() {
    let program = with(&two_readings());
    let run = |shell: &str| {
        std::process::Command::new("sh")
            .args(["-c", shell, env!("CARGO_BIN_EXE_stillpoint")])
            .current_dir(program.path(""))
            .output()
            .unwrap()
    };
    if std::path::Path::new("/dev/full").exists() {
        let found = run("\"$0\" info a.nii > /dev/full");
        assert_eq!(found.status.code(), Some(1));
        let error = String::from_utf8(found.stderr).unwrap();
        assert!(error.contains("standard output: cannot write"), "{error}");
    }
    let found = run("{ sleep 0.2; \"$0\" info a.nii; echo $? >&2; } | true");
    assert_eq!(String::from_utf8(found.stderr).unwrap(), "0\n");
}
