//! A phantom pair as files, and what the program says of its registration.

use serde_json::Value;
use stillpoint::{DisplacementField, Grid, Image, Labels, Phantom};

use crate::program::{world_points, Program};

/// A phantom pair whose two images may lie on grids of their own.
pub struct Pair {
    pub program: Program,
    /// Of the fixed image; its moving image may be another file's.
    pub phantom: Phantom,
}

/// Sizes and spacings at which a phantom has its full size in 2D and 3D.
pub fn shapes() -> [(Vec<usize>, Vec<f64>); 2] {
    [
        (vec![96, 112], vec![1.7, 1.7]),
        (vec![40, 48, 40], vec![4.0, 4.0, 4.0]),
    ]
}

impl Pair {
    /// `fixed`, `moving` and their labels as `.nii.gz`.
    pub fn new(phantom: Phantom) -> Self {
        let program = Program::new();
        let grid = &phantom.grid;
        write_image(&program, "fixed.nii.gz", grid, &phantom.fixed);
        write_image(&program, "moving.nii.gz", grid, &phantom.moving);
        write_labels(&program, "fixed_labels.nii.gz", grid, &phantom.fixed_labels);
        write_labels(
            &program,
            "moving_labels.nii.gz",
            grid,
            &phantom.moving_labels,
        );
        Self { program, phantom }
    }

    pub fn flat() -> Self {
        Self::new(Phantom::pair(&[96, 112], &[1.7, 1.7], 1).unwrap())
    }

    pub fn solid() -> Self {
        Self::new(Phantom::pair(&[40, 48, 40], &[4.0; 3], 1).unwrap())
    }

    /// The command line that registers the pair to the prefix `p`, with more words.
    pub fn words(&self, more: &str) -> String {
        format!("register -f fixed.nii.gz -m moving.nii.gz -o p {more}")
    }

    /// Registers and returns the report.
    #[track_caller]
    pub fn report(&self, more: &str) -> Value {
        let words = self.words(&format!("{more} --json"));
        let found = self.program.run(&words);
        let error = String::from_utf8(found.stderr).unwrap();
        assert!(found.status.success(), "{words}: {error}");
        serde_json::from_slice(&found.stdout).unwrap()
    }

    /// The warp that was written.
    pub fn warp(&self) -> DisplacementField {
        DisplacementField::read(self.program.path("p_warp.nii.gz")).unwrap()
    }

    /// Mean distance, mm, of the written warp from the known one over the labelled voxels.
    pub fn error(&self) -> f64 {
        distance(&self.phantom, self.warp().values())
    }

    /// Mean length of the known warp, mm, over the labelled voxels.
    pub fn initial(&self) -> f64 {
        distance(&self.phantom, &vec![0.0; self.phantom.displacement.len()])
    }
}

/// Mean distance, mm, of a warp from the phantom's own over the labelled voxels.
pub fn distance(phantom: &Phantom, found: &[f32]) -> f64 {
    let voxels = phantom.grid.voxels();
    let judged = (0..voxels).filter(|&v| phantom.fixed_labels[v] > 0);
    let errors: Vec<f64> = judged
        .map(|v| {
            let square =
                |a: usize| (found[a * voxels + v] - phantom.displacement[a * voxels + v]).powi(2);
            f64::from((0..phantom.grid.rank()).map(square).sum::<f32>().sqrt())
        })
        .collect();
    stillpoint::mean(&errors)
}

pub fn write_image(program: &Program, name: &str, grid: &Grid, values: &[f32]) {
    let image = Image::new(grid.clone(), 1, values.to_vec()).unwrap();
    image.write(program.path(name)).unwrap();
}

pub fn write_labels(program: &Program, name: &str, grid: &Grid, values: &[u32]) {
    let labels = Labels::new(grid.clone(), values.to_vec()).unwrap();
    labels.write(program.path(name)).unwrap();
}

/// A mask that is 1 where a function of the world says so.
pub fn write_mask(program: &Program, name: &str, grid: &Grid, inside: impl Fn([f64; 3]) -> bool) {
    let values: Vec<u32> = world_points(grid).map(|p| u32::from(inside(p))).collect();
    write_labels(program, name, grid, &values);
}

/// Numbers of a JSON array.
pub fn numbers(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|n| n.as_f64().unwrap()).collect()
}

/// Sentences of a JSON array in one.
pub fn joined(value: &Value) -> String {
    let words = value.as_array().unwrap().iter();
    words
        .map(|w| w.as_str().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}
