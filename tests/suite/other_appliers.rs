//! SimpleITK and ANTs carry points and images where `stillpoint apply` does, to a thousandth of a millimetre.
//!
//! Runs where STILLPOINT_PYTHON names a Python with SimpleITK and nibabel; ANTs takes part where antspyx is installed.

use std::path::Path;
use std::process::Command;

use serde_json::{json, Value};
use stillpoint::{write_affine, Grid, Image, Rng};

use crate::other_programs::python;
use crate::program::{affine, grids, world_points, Program};

/// A displacement that bends within a few voxels.
fn wave(rank: usize) -> impl Fn([f64; 3]) -> [f64; 3] {
    move |[x, y, z]| {
        let up = if rank == 3 {
            1.7 * (0.6 * x + 0.2 * z).sin()
        } else {
            0.0
        };
        [
            1.3 * (0.5 * y + 0.3 * z).cos(),
            1.9 * (0.7 * x).sin() - 0.4 * (0.4 * y).cos(),
            up,
        ]
    }
}

/// Points all over a grid and somewhat beyond, its voxels among them.
fn points(grid: &Grid) -> Vec<[f64; 3]> {
    let mut rng = Rng::new(17);
    let within = grid.index_to_world();
    let mut points: Vec<[f64; 3]> = world_points(grid).step_by(37).collect();
    for _ in 0..300 {
        let index = std::array::from_fn(|a| {
            let size = grid.size().get(a).map_or(0.0, |n| *n as f64 + 1.0);
            if size > 0.0 {
                rng.range(-2.0, size)
            } else {
                0.0
            }
        });
        points.push(within.apply(index));
    }
    points
}

/// Writes a pair with transforms on the two grids and lets the program carry points and images through them.
fn applied(program: &Program, name: &str, fixed: &Grid, moving: &Grid, listed: &[&str]) -> Value {
    let rank = fixed.rank();
    let file = |kind: &str| format!("{name}_{kind}.nii.gz");
    let mut rng = Rng::new(29);
    let noise = (0..moving.voxels())
        .map(|_| 1.0 + rng.normal() as f32)
        .collect();
    let image = Image::new(moving.clone(), 1, noise).unwrap();
    image.write(program.path(&file("moving"))).unwrap();
    program.labels(&file("labels"), moving, |p| {
        ((3.0 + (0.8 * p[0]).sin() + (0.9 * p[1] + 0.5 * p[2]).cos()) * 40.0) as u32
    });
    program.image(&file("reference"), fixed, |_| 1.0);
    program.field(&file("fixed_warp"), fixed, wave(rank));
    program.field(&file("moving_warp"), moving, wave(rank));
    write_affine(program.path(&format!("{name}.mat")), &affine(rank), rank).unwrap();
    program.points(&format!("{name}_before.csv"), &points(fixed));
    let mut transforms = Vec::new();
    let mut flags = String::new();
    for kind in listed {
        let (file, inverse) = match *kind {
            "affine" => (format!("{name}.mat"), false),
            "inverse" => (format!("{name}.mat"), true),
            kind => (file(kind), false),
        };
        flags += &match inverse {
            true => format!(" -t [{file},1]"),
            false => format!(" -t {file}"),
        };
        transforms.push(json!({"file": file, "inverse": inverse}));
    }
    program.output(&format!(
        "apply --points {name}_before.csv{flags} -o {name}_after.csv"
    ));
    let mut entry = json!({
        "kind": "applied", "name": name, "rank": rank, "transforms": transforms,
        "points": format!("{name}_before.csv"), "moved": format!("{name}_after.csv"),
        "reference": file("reference"), "moving": file("moving"), "labels": file("labels"),
    });
    for kind in ["linear", "nearest", "cubic", "label"] {
        let source = file(if kind == "label" { "labels" } else { "moving" });
        let out = file(kind);
        program.output(&format!(
            "apply --image {source} --reference {} --interpolation {kind}{flags} -o {out}",
            file("reference")
        ));
        entry[kind] = json!(out);
    }
    entry
}

#[test]
fn points_and_images_go_where_simpleitk_and_ants_carry_them() {
    let Some(python) = python() else {
        return;
    };
    let program = Program::new();
    let mut entries = Vec::new();
    for (n, (fixed, moving)) in grids(1.0).iter().zip([1, 2, 0, 4, 5, 3]).enumerate() {
        let moving = &grids(1.2)[moving];
        for (m, listed) in [
            &["fixed_warp"][..],
            &["fixed_warp", "affine"],
            &["inverse", "moving_warp"],
            &["moving_warp", "affine", "fixed_warp", "inverse"],
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("pair{n}{m}");
            entries.push(applied(&program, &name, fixed, moving, listed));
        }
    }
    assert_eq!(entries.len(), 24);
    let list = serde_json::to_string(&entries).unwrap();
    std::fs::write(program.path("expected.json"), list).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/cross_check.py");
    let run = Command::new(python)
        .arg(script)
        .arg(program.path(""))
        .output()
        .unwrap();
    let (said, error) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    println!("{said}");
    assert!(run.status.success(), "{said}{error}");
    assert!(
        said.contains("largest difference, SimpleITK, points"),
        "{said}"
    );
}
