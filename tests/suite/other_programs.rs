//! SimpleITK and nibabel find our files' points where we put them, and we theirs, to a thousandth of a millimetre.
//!
//! Runs where STILLPOINT_PYTHON names a Python that has both; otherwise it says that it was skipped.

use std::path::Path;
use std::process::Command;

use serde_json::{json, Value};
use stillpoint::{
    header_report, read_affine, read_image, write_affine, Affine, DisplacementField, Grid, Image,
    Labels, Rng,
};

use crate::nifti_bytes::Raw;

pub fn python() -> Option<String> {
    let Ok(python) = std::env::var("STILLPOINT_PYTHON") else {
        println!("skipped: STILLPOINT_PYTHON does not name a Python with SimpleITK and nibabel");
        return None;
    };
    let found = Command::new(&python)
        .args(["-c", "import SimpleITK, nibabel"])
        .status();
    if !found.is_ok_and(|s| s.success()) {
        println!("skipped: {python} has no SimpleITK or no nibabel");
        return None;
    }
    Some(python)
}

/// A grid turned about all axes; mirrored where `mirrored`.
fn grid(rank: usize, mirrored: bool) -> Grid {
    let sign = if mirrored { -1.0 } else { 1.0 };
    let (size, spacing) = ([9, 8, 7], [0.7, 1.3, 2.5]);
    let turn = if rank == 2 { 0.0 } else { 0.6 };
    let generator = [[0.0, 0.4, turn], [-0.4, 0.0, -turn], [-turn, turn, 0.0]];
    let direction = Affine::exp(&Affine::new(generator, [0.0; 3]))
        .matrix
        .map(|row| [sign * row[0], row[1], row[2]]);
    let origin = [11.0, -23.0, if rank == 2 { 0.0 } else { 37.0 }];
    Grid::new(&size[..rank], &spacing[..rank], origin, direction).unwrap()
}

fn indices(grid: &Grid) -> Vec<Vec<usize>> {
    let last = grid.size().iter().map(|n| n - 1).collect();
    vec![
        vec![0; grid.rank()],
        last,
        vec![1, 2, 3][..grid.rank()].to_vec(),
    ]
}

fn place(grid: &Grid, index: &[usize]) -> usize {
    index
        .iter()
        .zip(grid.size())
        .rev()
        .fold(0, |at, (i, n)| at * n + i)
}

fn world(grid: &Grid, index: &[usize]) -> [f64; 3] {
    grid.index_to_world().apply(std::array::from_fn(|a| {
        index.get(a).map_or(0.0, |i| *i as f64)
    }))
}

fn point(grid: &Grid, index: &[usize], name: &str, value: Value) -> Value {
    json!({"index": index, "world": world(grid, index), name: value})
}

/// Writes files of all kinds; returns what is in them.
fn ours(folder: &Path) -> Vec<Value> {
    let mut rng = Rng::new(11);
    let mut all = Vec::new();
    for rank in [2, 3] {
        for mirrored in [false, true] {
            let grid = grid(rank, mirrored);
            let voxels = grid.voxels();
            let mut numbers =
                |count: usize| -> Vec<f32> { (0..count).map(|_| rng.normal() as f32).collect() };
            let image = Image::new(grid.clone(), 1, numbers(voxels)).unwrap();
            let labels: Vec<u32> = (0..voxels as u32).map(|v| v * 613).collect();
            let labels = Labels::new(grid.clone(), labels).unwrap();
            let field = DisplacementField::new(grid.clone(), numbers(rank * voxels)).unwrap();
            for ending in ["nii", "nii.gz"] {
                let name = |kind: &str| format!("ours_{kind}_{rank}_{mirrored}.{ending}");
                image.write(folder.join(name("image"))).unwrap();
                image.write_double(folder.join(name("double"))).unwrap();
                labels.write(folder.join(name("labels"))).unwrap();
                field.write(folder.join(name("field"))).unwrap();
                let list = |kind: &str, value: &dyn Fn(usize) -> Value| {
                    let part = if kind == "field" { "vector" } else { "value" };
                    let points: Vec<Value> = indices(&grid)
                        .iter()
                        .map(|i| point(&grid, i, part, value(place(&grid, i))))
                        .collect();
                    json!({"file": name(kind), "kind": kind, "rank": rank, "points": points})
                };
                all.push(list("image", &|at| json!(image.values()[at])));
                all.push(list("double", &|at| json!(image.values()[at])));
                all.push(list("labels", &|at| json!(labels.values()[at])));
                all.push(list("field", &|at| {
                    json!((0..rank)
                        .map(|c| field.values()[c * voxels + at])
                        .collect::<Vec<_>>())
                }));
            }
        }
        let mut map = Affine::shift([4.0, -5.0, if rank == 2 { 0.0 } else { 6.0 }]);
        for r in 0..rank {
            for c in 0..rank {
                map.matrix[r][c] += 0.2 * rng.normal();
            }
        }
        for ending in ["mat", "txt", "tfm"] {
            let name = format!("ours_{rank}.{ending}");
            write_affine(folder.join(&name), &map, rank).unwrap();
            let points: Vec<Value> = [[0.0; 3], [30.0, -40.0, 0.0], [7.0, 80.0, 0.0]]
                .iter()
                .map(|p| json!({"from": p, "to": map.apply(*p)}))
                .collect();
            all.push(json!({"file": name, "kind": "affine", "rank": rank, "points": points}));
        }
    }
    all
}

/// Headers of which ITK's reading is not obvious.
fn traps(folder: &Path) {
    let mut number = 0;
    let mut trap = |change: &dyn Fn(&mut Raw)| {
        let mut raw = Raw::new(&[4, 5, 6], &[0.0; 120]);
        for a in 0..3 {
            raw.pixdim[a + 1] = 2.0 + a as f32;
            raw.sform[a][a] = 2.0 + a as f32;
            raw.sform[a][3] = 10.0 * (a + 1) as f32;
            raw.offset[a] = 10.0 * (a + 1) as f32;
        }
        change(&mut raw);
        std::fs::write(folder.join(format!("trap_{number:02}.nii")), raw.bytes()).unwrap();
        number += 1;
    };
    for (q, s) in [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 1),
        (1, 4),
        (4, 4),
    ] {
        trap(&|raw| (raw.qform_code, raw.sform_code) = (q, s));
        trap(&|raw| {
            (raw.qform_code, raw.sform_code) = (q, s);
            raw.quaternion = [0.0, 0.1, 0.3];
        });
        trap(&|raw| {
            (raw.qform_code, raw.sform_code) = (q, s);
            raw.offset = [1.0, 2.0, 3.0];
        });
        trap(&|raw| {
            (raw.qform_code, raw.sform_code) = (q, s);
            raw.pixdim[0] = -1.0;
            raw.sform[0][0] = -2.0;
        });
        trap(&|raw| {
            (raw.qform_code, raw.sform_code) = (q, s);
            raw.pixdim[1] = 2.5;
        });
        trap(&|raw| {
            (raw.qform_code, raw.sform_code) = (q, s);
            raw.sform[0][1] = 1.5e-3;
            raw.quaternion[2] = 0.2;
        });
    }
    trap(&|raw| (raw.qform_code, raw.quaternion) = (1, [0.0, 0.0, 1.001]));
    trap(&|raw| raw.units = 3);
    trap(&|raw| raw.pixdim[2] = 0.0);
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

#[track_caller]
fn assert_near(name: &str, found: &[f64], expected: &[f64]) {
    for (a, b) in found.iter().zip(expected) {
        assert!(
            (a - b).abs() < 1e-3,
            "{name}: {found:?}, they say {expected:?}"
        );
    }
}

#[track_caller]
fn assert_theirs(folder: &Path, entry: &Value) {
    let name = entry["file"].as_str().unwrap();
    let path = folder.join(name);
    let kind = entry["kind"].as_str().unwrap();
    if kind == "trap" {
        let found = header_report(&path, false)
            .unwrap()
            .itk_geometry
            .map(|g| g.matrix);
        match (found, entry["itk"].as_array()) {
            (Some(ours), Some(theirs)) => {
                for (a, b) in ours.iter().zip(theirs) {
                    assert_near(name, a, &numbers(b));
                }
            }
            (ours, theirs) => {
                assert!(
                    ours.is_none() && theirs.is_none(),
                    "{name}: {ours:?}, ITK {theirs:?}"
                );
            }
        }
        return;
    }
    let rank = entry["rank"].as_u64().unwrap() as usize;
    for point in entry["points"].as_array().unwrap() {
        if kind == "affine" {
            let map = read_affine(&path, rank).unwrap();
            let from = numbers(&point["from"]);
            let moved = map.apply([from[0], from[1], from[2]]);
            assert_near(name, &moved[..rank], &numbers(&point["to"]));
            continue;
        }
        let index: Vec<usize> = numbers(&point["index"])
            .iter()
            .map(|i| *i as usize)
            .collect();
        let (grid, found, expected) = if kind == "field" {
            let field = DisplacementField::read(&path).unwrap();
            let at = place(field.grid(), &index);
            let part = |c| f64::from(field.values()[c * field.grid().voxels() + at]);
            let vector = (0..rank).map(part).collect();
            (field.grid().clone(), vector, numbers(&point["vector"]))
        } else {
            let image = read_image(&path).unwrap();
            let value = f64::from(image.values()[place(image.grid(), &index)]);
            (
                image.grid().clone(),
                vec![value],
                vec![point["value"].as_f64().unwrap()],
            )
        };
        assert_eq!(grid.rank(), rank, "{name}");
        assert_near(
            name,
            &world(&grid, &index)[..rank],
            &numbers(&point["world"]),
        );
        assert_near(name, &found, &expected);
    }
}

#[test]
fn points_lie_where_simpleitk_and_nibabel_see_them() {
    let Some(python) = python() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let expected = ours(folder.path());
    assert_eq!(expected.len(), 38);
    traps(folder.path());
    let list = serde_json::to_string(&expected).unwrap();
    std::fs::write(folder.path().join("expected.json"), list).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/cross_check.py");
    let run = Command::new(python)
        .arg(script)
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    let theirs = std::fs::read_to_string(folder.path().join("theirs.json")).unwrap();
    let theirs: Vec<Value> = serde_json::from_str(&theirs).unwrap();
    assert!(theirs.len() > 100, "{}", theirs.len());
    for entry in &theirs {
        assert_theirs(folder.path(), entry);
    }
}
