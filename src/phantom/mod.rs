//! Brain-like subjects made from a seed, with labels and a known warp between them.

mod anatomy;
mod warp;

use crate::{Affine, Error, Grid, Result, Rng};
use anatomy::{Anatomy, LABELS};
use rayon::prelude::*;
use warp::Velocity;

/// Two images of one brain-like anatomy, their labels and the true displacement between them.
///
/// No head around it: cortex with gyri and sulci, white matter, ventricles, deep grey matter, cerebellum and brainstem
/// with the contrasts of a T1-weighted image, left and right apart; in 2D an axial slice through the basal ganglia.
/// The anatomy is a function of space. The fixed image is that function at the voxels `x`, the moving one at
/// `phi^-1(y)`, both evaluated, never interpolated; `phi = exp(v)` of a smooth random velocity, so it is a diffeomorphism
/// that is known, with its inverse, to a few hundredths of a millimetre. Each image has its own smooth bias field and
/// noise. Good for tests and first steps; results on it say nothing about people.
#[derive(Debug, Clone)]
pub struct Phantom {
    /// The grid of everything here: axes along the world's, the centre at the world's origin.
    pub grid: Grid,
    /// Intensities of the fixed image, about 0 to 1, one a voxel, first axis fastest.
    pub fixed: Vec<f32>,
    /// Intensities of the moving image.
    pub moving: Vec<f32>,
    /// Labels of the fixed image; 0 is none, [`Phantom::label_name`] names them.
    pub fixed_labels: Vec<u32>,
    /// Labels of the moving image.
    pub moving_labels: Vec<u32>,
    /// `phi(x) - x` from fixed to moving: planar, mm RAS, length `rank * voxels`.
    pub displacement: Vec<f32>,
    /// `phi^-1(y) - y` from moving to fixed: planar, mm RAS, length `rank * voxels`.
    pub inverse: Vec<f32>,
}

/// The largest half axes of a brain, mm, with room for gyri and warp.
const REACH: [f64; 3] = [76.0, 94.0, 78.0];

impl Phantom {
    /// A pair of subjects on a grid of rank 2 or 3, by the length of `size`; `spacing` in mm.
    ///
    /// The brain has human size where the field of view allows it and is smaller otherwise. The same seed gives the
    /// same anatomy and warp at every size and spacing, and the same bits whatever the number of threads.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the grid is impossible (see [`Grid::new`]) or has fewer than 8 voxels an axis.
    pub fn pair(size: &[usize], spacing: &[f64], seed: u64) -> Result<Self> {
        if size.iter().any(|&n| n < 8) {
            return Err(Error::argument(
                "size",
                format!("a phantom needs at least 8 voxels an axis, got {size:?}"),
            ));
        }
        let mut origin = [0.0; 3];
        for (a, (&n, &s)) in size.iter().zip(spacing).enumerate().take(3) {
            origin[a] = -0.5 * (n - 1) as f64 * s;
        }
        let grid = Grid::new(size, spacing, origin, Affine::identity().matrix)?;
        let scale = size
            .iter()
            .zip(spacing)
            .zip(REACH)
            .map(|((&n, &s), reach)| n as f64 * s / (2.0 * reach))
            .fold(1.0, f64::min);
        let mut rng = Rng::new(seed);
        let anatomy = Anatomy::new(&mut rng);
        let velocity = Velocity::new(grid.rank(), &mut rng);
        let displacement = velocity.displacement(&grid, scale, 1.0);
        let inverse = velocity.displacement(&grid, scale, -1.0);
        let still = vec![0.0; displacement.len()];
        let (fixed, fixed_labels) = image(&anatomy, &grid, scale, &still, &mut rng);
        let (moving, moving_labels) = image(&anatomy, &grid, scale, &inverse, &mut rng);
        Ok(Self {
            grid,
            fixed,
            moving,
            fixed_labels,
            moving_labels,
            displacement,
            inverse,
        })
    }

    /// The name of a label, such as "left thalamus"; `None` for 0 and for numbers that are not used.
    pub fn label_name(label: u32) -> Option<&'static str> {
        let place = usize::try_from(label).ok()?.checked_sub(1)?;
        LABELS.get(place).copied()
    }
}

/// The anatomy seen through a displacement (mm): intensities with bias and noise, and labels.
fn image(
    anatomy: &Anatomy,
    grid: &Grid,
    scale: f64,
    displacement: &[f32],
    rng: &mut Rng,
) -> (Vec<f32>, Vec<u32>) {
    let (rank, voxels) = (grid.rank(), grid.voxels());
    let size = grid.size();
    let world = grid.index_to_world();
    let softness = 0.5 * grid.spacing().iter().sum::<f64>() / (rank as f64 * scale);
    // A sum of one smooth wave along each axis, fixed to the scanner.
    let bias: Vec<Vec<f64>> = (0..rank)
        .map(|a| {
            let phase = rng.range(0.0, std::f64::consts::TAU);
            let step = grid.spacing()[a] / (55.0 * scale);
            (0..size[a])
                .map(|i| 0.04 * (step * i as f64 + phase).cos())
                .collect()
        })
        .collect();
    let noise_seed = rng.bits();
    let mut intensities = vec![0.0f32; voxels];
    let mut labels = vec![0u32; voxels];
    intensities
        .par_chunks_mut(size[0])
        .zip(labels.par_chunks_mut(size[0]))
        .enumerate()
        .with_min_len(8)
        .for_each(|(line, (intensities, labels))| {
            let mut noise = Rng::new(noise_seed.wrapping_add(line as u64));
            let (j, k) = (line % size[1], line / size[1]);
            let across = 1.0 + bias[1][j] + bias.get(2).map_or(0.0, |wave| wave[k]);
            for i in 0..size[0] {
                let mut point = world.apply([i as f64, j as f64, k as f64]);
                let at = line * size[0] + i;
                for a in 0..rank {
                    point[a] = (point[a] + f64::from(displacement[a * voxels + at])) / scale;
                }
                if rank == 2 {
                    point[2] = anatomy::SLICE;
                }
                let (label, tissue) = anatomy.at(point, softness);
                let gain = across + bias[0][i];
                // Four uniform numbers of 16 bits: near enough to normal, of variance 1.
                let bits = noise.bits();
                let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
                let normal = (sum as f64 / 65536.0 - 2.0) * 3f64.sqrt();
                intensities[i] = (tissue * gain + 0.015 * normal).abs() as f32;
                labels[i] = label;
            }
        });
    (intensities, labels)
}
