//! `stillpoint apply`, the built program: order, positions, interpolations, and every bad input.

use approx::assert_abs_diff_eq;
use stillpoint::{
    header_report, read_image, read_labels, write_affine, Affine, Grid, Image, PointSpace, Points,
};

use crate::nifti_bytes::{gzip, Raw};
use crate::program::{affine, grids, shear, world_points, Program};

fn plus(p: [f64; 3], u: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|a| p[a] + u[a])
}

/// A small pair with a warp, an affine map and points.
fn pair() -> Program {
    let program = Program::new();
    let [moving, fixed] = [1.3, 1.0].map(|scale| grids(scale).remove(4));
    program.image("moving.nii.gz", &moving, |p| {
        1000.0 + 2.0 * p[0] - p[1] + p[2]
    });
    program.labels("labels.nii.gz", &moving, |p| {
        700 * (1 + u32::from(p[0] > 0.0)) + u32::from(p[1] > 1.0)
    });
    program.image("fixed.nii.gz", &fixed, |_| 1.0);
    program.field("warp.nii.gz", &fixed, shear(3));
    write_affine(program.path("a.mat"), &affine(3), 3).unwrap();
    program.points("points.csv", &[[0.5, 1.0, -1.0], [-2.0, 2.0, 1.0]]);
    program
}

const IMAGE: &str = "apply --image moving.nii.gz --reference fixed.nii.gz -o out.nii.gz";

#[test]
fn points_go_from_fixed_to_moving_to_the_analytical_place() {
    for grid in grids(1.0) {
        let program = Program::new();
        let rank = grid.rank();
        let (u, map) = (shear(rank), affine(rank));
        program.field("warp.nii", &grid, &u);
        write_affine(program.path("a.txt"), &map, rank).unwrap();
        let mut points = vec![[0.0; 3], [1.5, -2.0, 1.0], [-3.0, 2.5, -2.0]];
        if rank == 2 {
            points.iter_mut().for_each(|p| p[2] = 0.0);
        }
        program.points("p.csv", &points);
        let expect = |transforms: &str, carry: &dyn Fn([f64; 3]) -> [f64; 3]| {
            let words = format!("apply --points p.csv {transforms} -o q.csv");
            assert_eq!(program.output(&words), "");
            let found = Points::read(program.path("q.csv"), PointSpace::Lps).unwrap();
            for (p, q) in points.iter().zip(&found.positions) {
                let expected = carry(*p);
                for c in 0..3 {
                    assert_abs_diff_eq!(q[c], expected[c], epsilon = 2e-4);
                }
            }
        };
        let displaced = |p| plus(p, u(p));
        let back = map.inverse().unwrap();
        expect("-t warp.nii", &displaced);
        expect("-t warp.nii -t a.txt", &|p| map.apply(displaced(p)));
        expect("-t a.txt -t warp.nii", &|p| displaced(map.apply(p)));
        expect("-t [a.txt,1] -t warp.nii", &|p| displaced(back.apply(p)));
    }
}

#[test]
fn other_columns_of_points_stay() {
    let program = pair();
    std::fs::write(
        program.path("named.csv"),
        "name,x,y,z\n\"tip, left\",1,2,3\n",
    )
    .unwrap();
    program.output("apply --points named.csv -t [a.mat,1] -t a.mat -o out.csv");
    let found = Points::read(program.path("out.csv"), PointSpace::Lps).unwrap();
    assert_eq!(found.columns, ["t", "name"]);
    assert_eq!(found.extra, [["0", "tip, left"]]);
    assert_abs_diff_eq!(found.positions[0][2], 3.0, epsilon = 1e-9);
}

#[test]
fn an_image_shows_what_lies_where_the_points_go() {
    for (moving, fixed) in grids(0.7).iter().zip(grids(1.4)) {
        let program = Program::new();
        let rank = fixed.rank();
        let plane = |p: [f64; 3]| 100.0 + 2.0 * p[0] - p[1] + 3.0 * p[2];
        program.image("m.nii.gz", moving, plane);
        program.image("f.nii.gz", &fixed, |_| 0.0);
        program.field("warp.nii.gz", &fixed, shear(rank));
        write_affine(program.path("a.mat"), &affine(rank), rank).unwrap();
        let listed = "-t warp.nii.gz -t a.mat";
        let words = format!("apply --image m.nii.gz --reference f.nii.gz {listed} -o o.nii.gz");
        for interpolation in ["linear", "cubic"] {
            assert_eq!(
                program.output(&format!("{words} --interpolation {interpolation}")),
                ""
            );
            let found = read_image(program.path("o.nii.gz")).unwrap();
            assert!(found.grid().matches(&fixed, 1e-3));
            let mut judged = 0;
            for (x, value) in world_points(&fixed).zip(found.values()) {
                let y = affine(rank).apply(plus(x, shear(rank)(x)));
                let index = moving.world_to_index().apply(y);
                // A mirrored spline bends near the border.
                let deep = (0..rank).all(|a| {
                    let margin = if interpolation == "cubic" { 5.0 } else { 0.0 };
                    index[a] >= margin && index[a] + margin <= (moving.size()[a] - 1) as f64
                });
                if deep {
                    assert_abs_diff_eq!(f64::from(*value), plane(y), epsilon = 5e-3);
                    judged += 1;
                }
            }
            assert!(judged > 20, "{judged}");
        }
    }
}

#[test]
fn labels_and_whole_numbers_stay_whole() {
    let program = pair();
    let words = "apply --image labels.nii.gz --reference fixed.nii.gz -t warp.nii.gz -o out.nii.gz";
    for interpolation in ["label", "nearest"] {
        program.output(&format!("{words} --interpolation {interpolation}"));
        let found = read_labels(program.path("out.nii.gz")).unwrap();
        assert_eq!(found.ids(), [700, 701, 1400, 1401]);
        assert!(
            found.values().contains(&0),
            "outside there is the background"
        );
        let report = header_report(program.path("out.nii.gz"), false).unwrap();
        assert_eq!(report.element, "int16");
    }
    // Negative whole numbers are no labels, but stay whole too.
    let grid = Grid::axis_aligned(&[4, 3], &[1.0; 2]).unwrap();
    let values: Vec<f32> = (0..12).map(|v| 100.0 * v as f32 - 600.0).collect();
    let image = Image::new(grid.clone(), 1, values.clone()).unwrap();
    image.write(program.path("ct.nii")).unwrap();
    write_affine(program.path("still.mat"), &Affine::identity(), 2).unwrap();
    let words = "apply --image ct.nii --reference ct.nii -t still.mat --interpolation";
    program.output(&format!("{words} nearest -o out.nii"));
    assert_eq!(
        read_image(program.path("out.nii")).unwrap().values(),
        values
    );
    let report = header_report(program.path("out.nii"), false).unwrap();
    assert_eq!(report.element, "int16");
    program.refusal(
        &format!("{words} label -o out2.nii"),
        &["ct.nii", "whole numbers", "-600", "(0, 0)"],
    );
}

#[test]
fn the_background_is_as_asked() {
    let program = pair();
    write_affine(
        program.path("far.mat"),
        &Affine::shift([900.0, 0.0, 0.0]),
        3,
    )
    .unwrap();
    let found = program.run(&format!("{IMAGE} -t far.mat --background -1024"));
    assert!(found.status.success());
    let warning = String::from_utf8(found.stderr).unwrap();
    assert!(
        warning.contains("moving.nii.gz: nothing of it"),
        "{warning}"
    );
    let image = read_image(program.path("out.nii.gz")).unwrap();
    assert!(image.values().iter().all(|v| *v == -1024.0));
    let words = format!("{IMAGE} -t far.mat --interpolation label --background 0.5");
    program.refusal(&words, &["--background", "whole number", "0.5"]);
    program.refusal(&format!("{IMAGE} -t far.mat --background nan"), &["finite"]);
}

#[test]
fn the_reference_lends_its_header_and_may_have_many_volumes() {
    let program = pair();
    let mut raw = Raw::new(&[5, 4, 3, 2], &[f32::NAN; 120]);
    (raw.sform[0], raw.pixdim[1]) = ([-2.0, 0.0, 0.0, 7.0], 2.0);
    std::fs::write(program.path("bold.nii"), raw.bytes()).unwrap();
    program.output("apply --image moving.nii.gz --reference bold.nii -t a.mat -o out.nii");
    let report = header_report(program.path("out.nii"), false).unwrap();
    assert_eq!(report.dims, [5, 4, 3]);
    assert_eq!(report.nifti.unwrap().description, "test scan");
    assert_eq!(report.geometry.matrix[0], [-2.0, 0.0, 0.0, 7.0]);
}

#[test]
fn a_meta_image_serves_as_reference_and_as_image() {
    let program = pair();
    let header = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
                  Offset = 1 2 3\nElementSpacing = 2 1 1\nDimSize = 4 3 2\nElementType = MET_UCHAR\n\
                  ElementDataFile = LOCAL\n";
    let bytes = [header.as_bytes(), &[9; 24]].concat();
    std::fs::write(program.path("a.mha"), bytes).unwrap();
    write_affine(program.path("still.mat"), &Affine::identity(), 3).unwrap();
    program.output("apply --image a.mha --reference a.mha -t still.mat -o out.nii");
    let found = read_image(program.path("out.nii")).unwrap();
    assert_eq!(found.values(), [9.0; 24]);
    // MetaImage is LPS.
    assert_eq!(found.grid().origin(), [-1.0, -2.0, 3.0]);
    assert_eq!(found.grid().spacing(), [2.0, 1.0, 1.0]);
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    let program = pair();
    for interpolation in ["linear", "cubic"] {
        let bytes = [1, 2, 3].map(|threads| {
            program.output(&format!(
                "{IMAGE} -t warp.nii.gz -t a.mat --interpolation {interpolation} --threads {threads}"
            ));
            std::fs::read(program.path("out.nii.gz")).unwrap()
        });
        assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2]);
    }
}

#[test]
fn files_that_are_missing_or_strange_are_refused() {
    let program = pair();
    for words in [
        "apply --image none.nii --reference fixed.nii.gz -t a.mat -o out.nii",
        "apply --image moving.nii.gz --reference none.nii -t a.mat -o out.nii",
        "apply --image moving.nii.gz --reference fixed.nii.gz -t none.nii -o out.nii",
        "apply --points none.nii -t a.mat -o out.csv",
        "apply --points points.csv -t none.nii -o out.csv",
    ] {
        program.refusal(words, &["none.nii: cannot", "No such file"]);
    }
    std::fs::write(
        program.path("text.nii"),
        "What a nice day it is. ".repeat(40),
    )
    .unwrap();
    std::fs::create_dir(program.path("folder.nii")).unwrap();
    for (name, words) in [
        ("text.nii", "not a NIfTI file"),
        ("folder.nii", "is a folder"),
    ] {
        let image = format!("apply --image {name} --reference fixed.nii.gz -t a.mat -o out.nii");
        program.refusal(&image, &[name, words]);
        let space = format!("apply --image moving.nii.gz --reference {name} -t a.mat -o out.nii");
        program.refusal(&space, &[name, words]);
    }
    program.refusal(
        &format!("{IMAGE} -t text.nii"),
        &["text.nii", "not a transform"],
    );
    program.refusal(
        &format!("{IMAGE} -t moving.nii.gz"),
        &["moving.nii.gz", "expected a displacement field"],
    );
    program.refusal(
        &format!("{IMAGE} -t [warp.nii.gz,1]"),
        &["[warp.nii.gz,1]", "inverse warp"],
    );
    program.refusal("apply --points text.nii -t a.mat -o out.csv", &["text.nii"]);
}

#[test]
fn damaged_values_are_refused() {
    let program = pair();
    let whole = std::fs::read(program.path("moving.nii.gz")).unwrap();
    std::fs::write(program.path("cut.nii.gz"), &whole[..whole.len() / 2]).unwrap();
    let warp = std::fs::read(program.path("warp.nii.gz")).unwrap();
    std::fs::write(program.path("cut_warp.nii.gz"), &warp[..warp.len() / 2]).unwrap();
    for (name, value) in [("nan.nii", f32::NAN), ("inf.nii.gz", f32::NEG_INFINITY)] {
        let mut values = [1.0; 60];
        values[27] = value;
        let bytes = Raw::new(&[5, 4, 3], &values).bytes();
        let bytes = if name.ends_with("gz") {
            gzip(&bytes)
        } else {
            bytes
        };
        std::fs::write(program.path(name), bytes).unwrap();
        for interpolation in ["linear", "nearest", "label", "cubic"] {
            program.refusal(
                &format!(
                    "apply --image {name} --reference fixed.nii.gz -t a.mat -o out.nii --interpolation {interpolation}"
                ),
                &[name, "(2, 1, 1)"],
            );
        }
    }
    program.refusal(
        "apply --image cut.nii.gz --reference fixed.nii.gz -t a.mat -o out.nii",
        &["cut.nii.gz", "truncated gzip"],
    );
    program.refusal(
        &format!("{IMAGE} -t cut_warp.nii.gz"),
        &["cut_warp.nii.gz", "truncated gzip"],
    );
}

#[test]
fn a_volume_of_several_must_be_named() {
    let program = pair();
    let values: Vec<f32> = (0..120).map(|v| (v / 60) as f32 + 5.0).collect();
    let raw = Raw::new(&[5, 4, 3, 2], &values);
    std::fs::write(program.path("bold.nii"), raw.bytes()).unwrap();
    write_affine(program.path("still.mat"), &Affine::identity(), 3).unwrap();
    let words = "apply --image bold.nii --reference bold.nii -t still.mat -o out.nii";
    for interpolation in ["linear", "nearest", "label"] {
        let words = format!("{words} --interpolation {interpolation}");
        program.refusal(&words, &["bold.nii", "2 volumes", "--volume"]);
    }
    program.refusal(&format!("{words} --volume 2"), &["volume 2", "it has 2"]);
    program.output(&format!("{words} --volume 1"));
    let found = read_image(program.path("out.nii")).unwrap();
    assert!(found.values().iter().all(|v| *v == 6.0));
}

#[test]
fn directions_that_are_no_grid_are_refused() {
    let program = pair();
    for (name, row) in [
        ("singular.nii", [0.0, 1.0, 0.0, 0.0]),
        ("sheared.nii", [1.0, 0.5, 0.0, 0.0]),
    ] {
        let mut raw = Raw::new(&[5, 4, 3], &[1.0; 60]);
        raw.sform[0] = row;
        std::fs::write(program.path(name), raw.bytes()).unwrap();
        let image = format!("apply --image {name} --reference fixed.nii.gz -t a.mat -o out.nii");
        program.refusal(&image, &[name, "sform"]);
        let space = format!("apply --image moving.nii.gz --reference {name} -t a.mat -o out.nii");
        program.refusal(&space, &[name, "sform"]);
    }
}

#[test]
fn two_readings_of_a_header_are_named_on_standard_error() {
    let program = pair();
    let mut raw = Raw::new(&[5, 4, 3], &[1.0; 60]);
    (raw.qform_code, raw.sform_code) = (1, 2);
    raw.offset = [30.0, 0.0, 0.0];
    std::fs::write(program.path("two.nii"), raw.bytes()).unwrap();
    let found = program.run("apply --image two.nii --reference two.nii -t a.mat -o out.nii");
    assert!(found.status.success());
    let warning = String::from_utf8(found.stderr).unwrap();
    assert!(
        warning.starts_with("warning: two.nii: ") && warning.contains("30.000 mm apart"),
        "{warning}"
    );
}

#[test]
fn planes_and_solids_do_not_mix() {
    let program = pair();
    let flat = Grid::axis_aligned(&[6, 5], &[1.0; 2]).unwrap();
    program.image("flat.nii", &flat, |_| 1.0);
    program.refusal(
        "apply --image flat.nii --reference fixed.nii.gz -t a.mat -o out.nii",
        &["2 and 3 dimensions"],
    );
    program.refusal(
        "apply --image moving.nii.gz --reference flat.nii -t a.mat -o out.nii",
        &["a.mat", "rank 2"],
    );
    program.refusal(
        "apply --image flat.nii --reference flat.nii -t warp.nii.gz -o out.nii",
        &["warp.nii.gz", "rank 2"],
    );
}

#[test]
fn outputs_that_cannot_be_written_leave_nothing() {
    let program = pair();
    std::fs::create_dir(program.path("taken.nii")).unwrap();
    let words = "apply --image moving.nii.gz --reference fixed.nii.gz -t a.mat -o";
    for (out, reason) in [
        ("none/out.nii.gz", "none/out.nii.gz: cannot create"),
        ("taken.nii", "taken.nii: is a folder"),
        ("out.png", "must end in .nii or .nii.gz"),
        ("/dev/full/out.nii", "cannot create"),
    ] {
        program.refusal(&format!("{words} {out}"), &[reason]);
    }
    let words = "apply --points points.csv -t a.mat -o none/out.csv";
    program.refusal(words, &["none/out.csv: cannot create"]);
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_former_output_alone() {
    let program = pair();
    std::fs::write(program.path("out.nii"), "of old").unwrap();
    let before = program.names();
    let found = program.run_on_a_full_disk(
        "apply --image moving.nii.gz --reference fixed.nii.gz -t a.mat -o out.nii",
        1,
    );
    let error = String::from_utf8(found.stderr).unwrap();
    assert_eq!(found.status.code(), Some(1), "{error}");
    assert!(error.contains("out.nii: cannot write"), "{error}");
    assert_eq!(program.names(), before);
    assert_eq!(std::fs::read(program.path("out.nii")).unwrap(), b"of old");
}

#[test]
fn words_that_make_no_sense_have_a_code_of_their_own() {
    let program = pair();
    for words in [
        "apply",
        "apply --image moving.nii.gz -t a.mat -o out.nii",
        "apply --points points.csv -t a.mat --background 3 -o out.csv",
        "apply --points points.csv -t [a.mat,2] -o out.csv",
    ] {
        assert_eq!(program.run(words).status.code(), Some(2), "{words}");
    }
}
