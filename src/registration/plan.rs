//! What is asked of a registration, and its run.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{DeformableReport, Registered};
use crate::features::{foreground_box, level_grid, IntensityRange, Level};
use crate::ops::{FoldBarrier, Interpolation};
use crate::regulariser::{Diffusion, Regulariser};
use crate::solver::{GaussNewton, Iteration, Multilevel, Pair, Solver, TrustRegion};
use crate::transform::{Compositive, Transform};
use crate::{Affine, Error, Image, Labels, Result};

/// Where a deformable stage starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    /// Fixed world to moving world, RAS mm.
    pub affine: Affine,
}

/// A deformable registration of two images by their intensities.
///
/// ```no_run
/// # fn main() -> stillpoint::Result<()> {
/// let fixed = stillpoint::read_image("fixed.nii.gz")?;
/// let moving = stillpoint::read_image("moving.nii.gz")?;
/// let registered = stillpoint::Registration::default().run(&fixed, &moving, &mut |_, _| Ok(()))?;
/// registered.total_field(&fixed)?.write("warp.nii.gz")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Registration {
    /// Where the deformation starts.
    pub start: Start,
    /// The parametrisation of the deformation.
    pub transform: Arc<dyn Transform>,
    /// What keeps it smooth.
    pub regulariser: Arc<dyn Regulariser>,
    /// Weight of the regulariser, relative to the images' gradient energy.
    pub lambda: f64,
    /// Shrink factors of the levels, coarse first; none chooses by the image's size.
    pub levels: Option<Vec<usize>>,
    /// Most outer iterations on each level; none takes the solver's own.
    pub iterations: Option<Vec<usize>>,
    /// Run to a certified minimum: cubic interpolation, double precision, trust region, and a [`FoldBarrier`] in the
    /// energy when the transform must not fold. See [`Registration::certified`].
    pub certify: bool,
    /// Another solver than the mode's own, for all levels.
    pub solver: Option<Arc<dyn Solver>>,
    /// Where the fixed image counts, on its grid.
    pub fixed_mask: Option<Labels>,
    /// Where the moving image counts, on its grid.
    pub moving_mask: Option<Labels>,
}

/// The barrier of certified runs with a transform that must not fold, its weight relative to the gradient energy.
const BARRIER: FoldBarrier = FoldBarrier {
    weight: 3.0,
    threshold: 0.3,
};

impl Default for Registration {
    fn default() -> Self {
        Self {
            start: Start::default(),
            transform: Arc::new(Compositive),
            regulariser: Arc::new(Diffusion),
            lambda: Self::LAMBDA,
            levels: None,
            iterations: None,
            certify: false,
            solver: None,
            fixed_mask: None,
            moving_mask: None,
        }
    }
}

impl Registration {
    /// The default weight of the regulariser.
    pub const LAMBDA: f64 = 0.2;

    /// The default weight of the regulariser in a certified run. A smaller one leaves more to the data, whose energy is
    /// not convex: more iterations, and sooner or later no certificate.
    pub const CERTIFIED_LAMBDA: f64 = 1.0;

    /// A run to a certified minimum with its default weight.
    pub fn certified() -> Self {
        Self {
            certify: true,
            lambda: Self::CERTIFIED_LAMBDA,
            ..Self::default()
        }
    }

    /// The shrink factors for a fixed grid: 4x2x1, with coarser levels in front while the coarsest keeps 32 voxels
    /// along its longest axis.
    fn shrinks(&self, fixed: &crate::Grid) -> Result<Vec<usize>> {
        if let Some(levels) = &self.levels {
            return Ok(levels.clone());
        }
        let longest = |shrink: usize| -> Result<usize> {
            Ok(level_grid(fixed, shrink)?
                .size()
                .iter()
                .copied()
                .max()
                .unwrap_or(1))
        };
        let mut shrinks = vec![1];
        while shrinks[0] < 16 && longest(shrinks[0] * 2)? >= 24 {
            shrinks.insert(0, shrinks[0] * 2);
        }
        Ok(shrinks)
    }

    /// Registers `moving` to `fixed`. `watch` sees every iteration of every level.
    ///
    /// # Errors
    /// [`Error::Data`] for images that cannot be registered, [`Error::GridMismatch`] for masks on other grids,
    /// [`Error::InvalidArgument`] for settings that contradict each other, and what `watch` returns.
    pub fn run(
        &self,
        fixed: &Image,
        moving: &Image,
        watch: &mut dyn FnMut(usize, &Iteration) -> Result<()>,
    ) -> Result<Registered> {
        if fixed.grid().rank() != moving.grid().rank() || fixed.channels() != moving.channels() {
            return Err(Error::data(
                "fixed and moving image",
                format!(
                    "have {} and {} dimensions, {} and {} channels; both must be of one kind",
                    fixed.grid().rank(),
                    moving.grid().rank(),
                    fixed.channels(),
                    moving.channels()
                ),
            ));
        }
        let shrinks = self.shrinks(fixed.grid())?;
        if self
            .iterations
            .as_ref()
            .is_some_and(|i| i.len() != shrinks.len())
        {
            return Err(Error::argument(
                "iterations",
                format!(
                    "give one number a level: there are {} levels",
                    shrinks.len()
                ),
            ));
        }
        let region = region(fixed, moving, &self.start.affine, &shrinks)?;
        let fixed_range = IntensityRange::of(fixed.values(), "fixed image")?;
        let moving_range = IntensityRange::of(moving.values(), "moving image")?;
        let fixed_level = level(fixed, &fixed_range)?;
        let moving_level = level(moving, &moving_range)?;
        let fixed_mask = mask(&self.fixed_mask, fixed, "fixed mask")?;
        let moving_mask = mask(&self.moving_mask, moving, "moving mask")?;
        let barrier = (self.certify && self.transform.must_not_fold()).then_some(BARRIER);
        let multilevel = Multilevel {
            solvers: (0..shrinks.len()).map(|l| self.solver(l)).collect(),
            shrinks,
            transform: self.transform.clone(),
            regulariser: self.regulariser.clone(),
            lambda: self.lambda,
            damping: if self.certify { 0.0 } else { 2.0 },
            dtype: if self.certify { DType::F64 } else { DType::F32 },
            interpolation: if self.certify {
                Interpolation::Cubic
            } else {
                Interpolation::Linear
            },
            barrier,
        };
        let solution = multilevel.solve(
            &Pair {
                fixed: &fixed_level,
                moving: &moving_level,
                affine: self.start.affine,
                fixed_mask: fixed_mask.as_ref(),
                moving_mask: moving_mask.as_ref(),
                region: Some(region),
            },
            watch,
        )?;
        Ok(Registered {
            grid: fixed.grid().clone(),
            affine: self.start.affine,
            displacement: Some(solution.displacement),
            deformable: Some(DeformableReport {
                transform: self.transform.name(),
                regulariser: self.regulariser.name(),
                lambda: self.lambda,
                certify: self.certify,
                barrier,
                levels: solution.levels,
            }),
        })
    }

    fn solver(&self, level: usize) -> Arc<dyn Solver> {
        if let Some(solver) = &self.solver {
            return solver.clone();
        }
        let steps = self.iterations.as_ref().map(|i| i[level]);
        if self.certify {
            let mut solver = TrustRegion::default();
            solver.steps = steps.unwrap_or(solver.steps);
            Arc::new(solver)
        } else {
            let mut solver = GaussNewton::default();
            solver.steps = steps.unwrap_or(solver.steps);
            Arc::new(solver)
        }
    }
}

/// The image's intensities on the common scale, as the finest level.
fn level(image: &Image, range: &IntensityRange) -> Result<Level> {
    let mut values = image.values().to_vec();
    range.apply(&mut values);
    let mut shape = vec![image.channels()];
    shape.extend(image.grid().shape());
    Ok(Level {
        features: Tensor::from_vec(values, shape, &Device::Cpu)?,
        grid: image.grid().clone(),
    })
}

fn mask(mask: &Option<Labels>, image: &Image, name: &str) -> Result<Option<Tensor>> {
    let Some(mask) = mask else { return Ok(None) };
    if !mask.grid().matches(image.grid(), 0.5) {
        return Err(Error::GridMismatch {
            what: name.into(),
            expected: image.grid().describe(),
            got: mask.grid().describe(),
        });
    }
    let weights: Vec<f32> = mask
        .values()
        .iter()
        .map(|&v| f32::from(u8::from(v > 0)))
        .collect();
    if weights.iter().all(|&w| w == 0.0) {
        return Err(Error::data(
            name,
            "covers no voxel; give a mask that is not zero somewhere",
        ));
    }
    Ok(Some(Tensor::from_vec(
        weights,
        image.grid().shape(),
        &Device::Cpu,
    )?))
}

/// The part of the fixed grid where either image differs from its background, with a margin.
fn region(
    fixed: &Image,
    moving: &Image,
    affine: &Affine,
    shrinks: &[usize],
) -> Result<(Vec<usize>, Vec<usize>)> {
    let grid = fixed.grid();
    let rank = grid.rank();
    let mut bounds: Vec<(f64, f64)> = foreground_box(fixed.channel(0), grid.size())
        .into_iter()
        .map(|(a, b)| (a as f64, b as f64))
        .collect();
    let box_ = foreground_box(moving.channel(0), moving.grid().size());
    let back = grid
        .world_to_index()
        .compose(&affine.inverse()?)
        .compose(&moving.grid().index_to_world());
    for corner in 0..1usize << rank {
        let point = back.apply(std::array::from_fn(|a| {
            box_.get(a)
                .map_or(0.0, |b| if corner >> a & 1 == 1 { b.1 } else { b.0 } as f64)
        }));
        for a in 0..rank {
            bounds[a] = (bounds[a].0.min(point[a]), bounds[a].1.max(point[a]));
        }
    }
    let margin = 2.0 * shrinks.iter().copied().max().unwrap_or(1) as f64;
    let (mut start, mut size) = (Vec::new(), Vec::new());
    for a in 0..rank {
        let last = (grid.size()[a] - 1) as f64;
        let low = (bounds[a].0 - margin).floor().clamp(0.0, last) as usize;
        let high = (bounds[a].1 + margin).ceil().clamp(0.0, last) as usize;
        start.push(low);
        size.push(high - low + 1);
    }
    Ok((start, size))
}
