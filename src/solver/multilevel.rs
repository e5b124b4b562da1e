//! A solve from coarse to fine.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use super::prompts::{check, of_level, PromptLevel};
use super::{Certificate, Iteration, Solver, Status};
use crate::features::{level_grid, matched_grid, FeatureMaps, Features, Pyramid};
use crate::ops::{coverage, smooth, spline_coefficients, FoldBarrier, Interpolation, SsdData};
use crate::problem::EnergyProblem;
use crate::prompt::Prompt;
use crate::regulariser::Regulariser;
use crate::transform::Transform;
use crate::{Affine, Error, Grid, Result};

/// What is registered: features of both images on their own grids.
#[derive(Debug)]
pub struct Pair<'a> {
    /// Fixed intensities at full resolution, or features for every level.
    pub fixed: Pyramid<'a>,
    /// Moving ones, of the same kind.
    pub moving: Pyramid<'a>,
    /// Where the moving image lies before it is deformed: fixed world to moving world, RAS mm.
    pub affine: Affine,
    /// Weights of the channels of features that are given for every level, coarse first; none is one everywhere.
    pub channel_weights: Option<&'a [Vec<f64>]>,
    /// Weight of each fixed voxel, `[(nz,) ny, nx]` on the finest fixed grid.
    pub fixed_mask: Option<&'a Tensor>,
    /// Weight of each moving voxel, on the finest moving grid.
    pub moving_mask: Option<&'a Tensor>,
    /// What is known to correspond beforehand; its labels cover the fields of view of the finest grids.
    pub prompts: &'a [Prompt],
}

/// A deformable registration over several levels.
#[derive(Debug, Clone)]
pub struct Multilevel {
    /// How much coarser each level is than the finest axis, coarse first.
    pub shrinks: Vec<usize>,
    /// What of intensities at full resolution is compared on the levels; features given for every level are compared as
    /// they are.
    pub features: Features,
    /// A solver for each level.
    pub solvers: Vec<Arc<dyn Solver>>,
    /// The parametrisation.
    pub transform: Arc<dyn Transform>,
    /// The regulariser.
    pub regulariser: Arc<dyn Regulariser>,
    /// Its weight relative to the features' [`gradient_energy`](crate::gradient_energy).
    pub lambda: f64,
    /// See [`EnergyProblem`].
    pub damping: f64,
    /// Element type of parameters and energies.
    pub dtype: DType,
    /// How the moving features are interpolated.
    pub interpolation: Interpolation,
    /// A barrier against folding as part of the energy, its weight relative to the features' [`gradient_energy`](crate::gradient_energy).
    pub barrier: Option<FoldBarrier>,
    /// Where the levels are solved, and where their results lie. Features are made where the pair's tensors are.
    pub device: Device,
    /// Whether gradients will be taken through the levels' optima, which then must fit the device too.
    pub differentiated: bool,
}

/// What happened on a level.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LevelReport {
    /// The level's shrink factor.
    pub shrink: usize,
    /// Voxels of its fixed grid.
    pub size: Vec<usize>,
    /// Its spacing, mm.
    pub spacing: Vec<f64>,
    /// The features' gradient energy, the unit of lambda.
    pub gradient_energy: f64,
    /// How the solve ended.
    pub status: Status,
    /// What is known of the result as a minimum.
    pub certificate: Certificate,
    /// Products with the curvature.
    pub products: usize,
    /// The iterations.
    pub iterations: Vec<Iteration>,
    /// The data term at the end.
    pub data: f64,
    /// The weighted regulariser at the end.
    pub penalty: f64,
    /// The barrier against folding at the end; zero where there is none.
    pub barrier: f64,
    /// The prompts at the end; zero where there are none.
    pub prompts: f64,
    /// Wall time of the level; not part of what is written, which two runs have in common.
    #[serde(skip)]
    pub seconds: f64,
}

/// The displacement on the fixed grid, and how it was found.
#[derive(Debug)]
pub struct MultilevelSolution {
    /// `[rank, (nz,) ny, nx]`, in voxels of the fixed grid, single precision.
    pub displacement: Tensor,
    /// Coarse to fine.
    pub levels: Vec<LevelReport>,
}

/// A level that is solved.
#[derive(Debug)]
pub struct SolvedLevel {
    /// Its energy.
    pub problem: EnergyProblem,
    /// The best parameters.
    pub theta: Tensor,
    /// How they were found.
    pub report: LevelReport,
}

impl Multilevel {
    /// Registers a pair. `watch` sees every iteration with its level's number and may stop the run by an error.
    ///
    /// # Errors
    /// [`Error::Data`] when the images do not overlap or a mask leaves nothing; [`Error::InvalidArgument`] when the
    /// pyramids are of two kinds or have not as many levels; on a GPU [`Error::NotOnDevice`] for what has no
    /// twin there, and [`Error::Memory`] where a level would not fit; what `watch` returns.
    pub fn solve(
        &self,
        pair: &Pair<'_>,
        watch: &mut dyn FnMut(usize, &Iteration) -> Result<()>,
    ) -> Result<MultilevelSolution> {
        let mut levels = Vec::new();
        let mut last = None;
        self.solve_levels(pair, watch, &mut |solved| {
            let grid = solved.problem.grid.clone();
            last = Some((self.transform.displacement(&solved.theta, &grid)?, grid));
            levels.push(solved.report);
            Ok(())
        })?;
        let (mut u, grid) =
            last.ok_or_else(|| Error::argument("levels", "give at least one level"))?;
        let finest = pair.fixed.finest()?;
        if grid.size() != finest.grid.size() {
            u = crate::transform::resample_field(&u, &grid, &finest.grid)?;
        }
        if u.dtype() != DType::F32 {
            u = u.to_dtype(DType::F32)?;
        }
        Ok(MultilevelSolution {
            displacement: u,
            levels,
        })
    }

    /// [`Multilevel::solve`], handing every level to `finished` when it is solved: its energy, optimum and report.
    ///
    /// # Errors
    /// As [`Multilevel::solve`], and what `finished` returns.
    pub fn solve_levels(
        &self,
        pair: &Pair<'_>,
        watch: &mut dyn FnMut(usize, &Iteration) -> Result<()>,
        finished: &mut dyn FnMut(SolvedLevel) -> Result<()>,
    ) -> Result<()> {
        let finest = [pair.fixed.finest()?, pair.moving.finest()?].map(|level| &level.grid);
        check(pair.prompts, finest[0], finest[1], self.shrinks.len())?;
        let mut state: Option<(Tensor, Grid)> = None;
        for (number, &shrink) in self.shrinks.iter().enumerate() {
            let clock = Instant::now();
            let (maps, [grid, moving_grid]) = self.maps(pair, number)?;
            let finest = number + 1 == self.shrinks.len();
            let prompted = of_level(pair.prompts, finest).map(Prompt::structures);
            let maps = self.carried(maps, prompted.sum())?;
            // the coarser level's parameters are given back before this level allocates
            let theta = match state.take() {
                Some((theta, from)) => self.transform.resample(&theta, &from, &grid)?,
                None => self.transform.identity(&grid, self.dtype, &self.device)?,
            };
            let problem = self.problem(pair, number, maps, [&grid, &moving_grid], &theta)?;
            let unit = problem.unit;
            let theta = unfolded(&problem, theta)?;
            let solution =
                self.solvers[number].solve(&problem, theta, &mut |i| watch(number, i))?;
            let (data, penalty) = problem.parts(&solution.theta)?;
            let report = LevelReport {
                shrink,
                size: grid.size().to_vec(),
                spacing: grid.spacing().to_vec(),
                gradient_energy: unit,
                status: solution.status,
                certificate: solution.certificate,
                products: solution.products(),
                iterations: solution.iterations,
                data,
                penalty,
                barrier: problem.barrier_value(&solution.theta)?,
                prompts: problem.prompt_value(&solution.theta)?,
                seconds: clock.elapsed().as_secs_f64(),
            };
            state = Some((solution.theta.clone(), grid));
            finished(SolvedLevel {
                problem,
                theta: solution.theta,
                report,
            })?;
        }
        Ok(())
    }

    /// Fixed and moving features of a level, with their grids.
    fn maps(&self, pair: &Pair<'_>, number: usize) -> Result<(FeatureMaps, [Grid; 2])> {
        let count = self.shrinks.len();
        match (
            pair.fixed.given(number, count)?,
            pair.moving.given(number, count)?,
        ) {
            (Some(fixed), Some(moving)) => {
                let weights = pair.channel_weights.map(|weights| weights[number].clone());
                let maps = FeatureMaps::of(fixed, moving, weights)?;
                return Ok((maps, [fixed.grid.clone(), moving.grid.clone()]));
            }
            (None, None) => {}
            _ => {
                return Err(Error::argument(
                    "pair",
                    "one image has features for every level, the other intensities alone; give both the same",
                ))
            }
        }
        let shrink = self.shrinks[number];
        let (fixed, moving) = (pair.fixed.finest()?, pair.moving.finest()?);
        let fixed = fixed.on(&level_grid(&fixed.grid, shrink)?)?;
        let moving = moving.on(&matched_grid(&moving.grid, &fixed.grid)?)?;
        let grids = [fixed.grid.clone(), moving.grid.clone()];
        let maps = self.features.maps(shrink, fixed, moving, &pair.affine)?;
        Ok((maps, grids))
    }

    /// The energy of a level.
    fn problem(
        &self,
        pair: &Pair<'_>,
        number: usize,
        maps: FeatureMaps,
        [grid, moving_grid]: [&Grid; 2],
        theta: &Tensor,
    ) -> Result<EnergyProblem> {
        let map = moving_grid
            .world_to_index()
            .compose(&pair.affine)
            .compose(&grid.index_to_world());
        let finest = number + 1 == self.shrinks.len();
        let mut prompts = of_level(pair.prompts, finest).peekable();
        let mut unit = maps.unit;
        if unit == 0.0 && prompts.peek().is_some() {
            // features without any edge: prompts and regulariser share any unit
            unit = 1.0;
        }
        if unit == 0.0 {
            return Err(Error::data(
                "fixed image",
                format!(
                    "nothing is left of it at {}: use fewer levels",
                    grid.describe()
                ),
            ));
        }
        let (fixed, mut moving) = (maps.fixed, maps.moving);
        let u = self.transform.displacement(theta, grid)?;
        let covered = self.covered(grid, moving_grid, &map, &u)?;
        let terms = PromptLevel {
            finest,
            grid,
            moving_grid,
            affine: &pair.affine,
            map: &map,
            interpolation: self.interpolation,
            dtype: self.dtype,
            device: &self.device,
            unit,
            covered: covered.as_ref(),
        }
        .terms(prompts)?;
        let mask = self.mask(pair, grid, moving_grid, &map, &u, covered)?;
        if self.interpolation == Interpolation::Cubic {
            moving = spline_coefficients(&moving)?;
        }
        let data = SsdData {
            fixed,
            moving,
            mask,
            channel_weight: maps.channel_weight,
            map,
            interpolation: self.interpolation,
        };
        let mut problem = EnergyProblem::new(
            data,
            self.regulariser.clone(),
            self.lambda * unit,
            self.transform.clone(),
            grid.clone(),
        );
        problem.unit = unit;
        problem.prompts = terms;
        problem.compact = true;
        problem.damping = self.damping;
        problem.barrier = self.barrier.map(|barrier| FoldBarrier {
            weight: barrier.weight * unit,
            ..barrier
        });
        Ok(problem)
    }

    /// The weights of a level's fixed voxels by what the start of the level carries into the moving grid; none where that
    /// is all.
    fn covered(
        &self,
        grid: &Grid,
        moving_grid: &Grid,
        map: &Affine,
        u: &Tensor,
    ) -> Result<Option<Tensor>> {
        let covered = Tensor::zeros(grid.shape(), self.dtype, u.device())?;
        let share = coverage(Some(u), moving_grid.size(), map, &covered)?;
        if share * (grid.voxels() as f64) < 1.0 {
            return Err(Error::data(
                "fixed and moving image",
                format!(
                    "do not overlap in space: {} against {}; start with --init centres, or mend the headers",
                    grid.describe(),
                    moving_grid.describe()
                ),
            ));
        }
        Ok((share < 1.0).then_some(covered))
    }

    /// The weights of a level's fixed voxels: both masks, and where the moving grid is met.
    fn mask(
        &self,
        pair: &Pair<'_>,
        grid: &Grid,
        moving_grid: &Grid,
        map: &Affine,
        u: &Tensor,
        covered: Option<Tensor>,
    ) -> Result<Option<Tensor>> {
        let mut mask = covered;
        if pair.fixed_mask.is_none() && pair.moving_mask.is_none() {
            return Ok(mask);
        }
        let mut multiply = |more: Tensor| -> Result<()> {
            mask = Some(match &mask {
                Some(mask) => (mask * more)?,
                None => more,
            });
            Ok(())
        };
        if let Some(fixed) = pair.fixed_mask {
            multiply(
                crate::ops::resize(&fixed.unsqueeze(0)?, grid.size())?
                    .squeeze(0)?
                    .to_dtype(self.dtype)?
                    .to_device(&self.device)?,
            )?;
        }
        if let Some(moving) = pair.moving_mask {
            let moving = crate::ops::resize(&moving.unsqueeze(0)?, moving_grid.size())?;
            let zero = Tensor::zeros(
                [&[1], grid.shape().as_slice()].concat(),
                self.dtype,
                u.device(),
            )?;
            let warped = SsdData {
                fixed: zero,
                moving: moving.to_dtype(self.dtype)?.to_device(&self.device)?,
                mask: None,
                channel_weight: vec![1.0],
                map: *map,
                interpolation: Interpolation::Linear,
            }
            .warped(Some(u))?;
            multiply(warped.squeeze(0)?)?;
        }
        if let Some(mask) = &mask {
            let total = mask.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
            if total < 1.0 {
                return Err(Error::data(
                    "masks",
                    "leave no voxel of the overlap of fixed and moving image; check that they are on the right grids",
                ));
            }
        }
        Ok(mask)
    }
}

/// A start inside the barrier's domain: the start itself, or a smoother one where resampling has folded it.
fn unfolded(problem: &EnergyProblem, mut theta: Tensor) -> Result<Tensor> {
    let rank = problem.grid.rank();
    while problem.barrier_value(&theta)?.is_infinite() {
        theta = smooth(&theta, &vec![1.0; rank])?;
    }
    Ok(theta)
}
