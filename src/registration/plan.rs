//! What is asked of a registration, and its run.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::learned::Learned;
use super::{DeformableReport, Deformation, Registered};
use crate::features::{foreground_box, FeatureNetwork, Level, Pyramid};
use crate::ops::{crop, device_name, extend, of_device, on_host};
use crate::solver::{
    align, Alignment, AlignmentPair, AlignmentStart, Iteration, MultilevelSolution, Pair,
};
use crate::transform::{resample_field, LinearKind};
use crate::{Affine, Error, Image, Labels, Prompt, Result};

/// A registration of two images by their intensities and by descriptors made of them, or by the features of a network.
///
/// ```no_run
/// # fn main() -> stillpoint::Result<()> {
/// let fixed = stillpoint::read_image("fixed.nii.gz")?;
/// let moving = stillpoint::read_image("moving.nii.gz")?;
/// let registered = stillpoint::Registration::default().run(&fixed, &moving, &mut |_| Ok(()))?;
/// registered.total_field(&fixed)?.write("warp.nii.gz")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Registration {
    /// Where it starts.
    pub start: AlignmentStart,
    /// The linear stages, with rising freedom; one that does not lower its energy is dropped, which its report says.
    pub linear: Vec<LinearKind>,
    /// The deformable stage; none stops after the linear ones.
    pub deformation: Option<Deformation>,
    /// A network whose features all stages compare, in place of intensities in the linear ones and of
    /// [`Deformation::features`] in the last; the start is chosen by intensities all the same.
    ///
    /// It is given the intensities mapped to 0..1 ([`IntensityRange`](crate::IntensityRange)), of whole images. The levels
    /// are its own, or those of them that [`Deformation::levels`] names; linear stages align the finest of them.
    /// Maps are made where it lies ([`FeatureNetwork::device`]).
    pub network: Option<Arc<dyn FeatureNetwork>>,
    /// Keep the network's features in half precision: half of their memory, at a relative error of 5e-4. The solve itself has its
    /// own precision all the same. Features whose largest lies outside 1e-4 to 65504 are refused. On the CPU; a device compares them in
    /// single precision.
    pub half_features: bool,
    /// Where the fixed image counts, on its grid.
    pub fixed_mask: Option<Labels>,
    /// Where the moving image counts, on its grid.
    pub moving_mask: Option<Labels>,
    /// What is known to correspond, for the deformable stage; labels on the grids of their images.
    pub prompts: Vec<Prompt>,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            start: AlignmentStart::Moments,
            linear: vec![LinearKind::Affine],
            deformation: Some(Deformation::default()),
            network: None,
            half_features: false,
            fixed_mask: None,
            moving_mask: None,
            prompts: Vec::new(),
        }
    }
}

/// Where a registration is: what its watcher sees.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Name of the stage.
    pub stage: &'static str,
    /// Number of the level, counted from 0, coarse first.
    pub level: usize,
    /// Levels of the stage.
    pub levels: usize,
    /// The iteration that has ended.
    pub iteration: &'a Iteration,
}

impl Registration {
    /// Registers `moving` to `fixed`. `watch` sees every iteration of every level and stops the run by an error.
    ///
    /// # Errors
    /// [`Error::Data`] for images that cannot be registered, [`Error::GridMismatch`] for masks and prompts on other grids,
    /// [`Error::InvalidArgument`] for settings that contradict each other or a network for other images, [`Error::NotOnDevice`] for
    /// what a GPU has no twin of, [`Error::Memory`] and [`Error::CudaMemory`] where a GPU has too little, and what
    /// `watch` returns.
    pub fn run(
        &self,
        fixed: &Image,
        moving: &Image,
        watch: &mut dyn FnMut(&Step<'_>) -> Result<()>,
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
        if !self.prompts.is_empty() && self.deformation.is_none() {
            return Err(Error::argument(
                "prompts",
                "have no effect on linear stages: add a deformable stage, or leave them out",
            ));
        }
        for prompt in &self.prompts {
            prompt.check(fixed.grid(), moving.grid(), true)?;
        }
        let (of_fixed, of_moving) = rayon::join(
            || Level::scaled(fixed, "fixed image"),
            || Level::scaled(moving, "moving image"),
        );
        let (fixed_range, fixed_level) = of_fixed?;
        let (moving_range, moving_level) = of_moving?;
        let fixed_mask = mask(&self.fixed_mask, fixed, "fixed mask")?;
        let moving_mask = mask(&self.moving_mask, moving, "moving mask")?;
        let learned = self.learned(&fixed_level, &moving_level)?;
        let pair = AlignmentPair {
            fixed: &fixed_level,
            moving: &moving_level,
            fixed_mask: fixed_mask.as_ref(),
            moving_mask: moving_mask.as_ref(),
            features: learned.as_ref().and_then(Learned::aligned),
        };
        let alignment = self.align(&pair, watch)?;
        let initial = match (&alignment, &self.start) {
            (Some(alignment), _) => alignment.start.affine,
            (None, AlignmentStart::Affine(start)) => *start,
            (None, _) => Affine::identity(),
        };
        let mut registered = Registered {
            grid: fixed.grid().clone(),
            affine: alignment.as_ref().map_or(initial, |a| a.affine),
            displacement: None,
            alignment,
            deformable: None,
            initial,
            ranges: (fixed_range, moving_range),
        };
        let Some(deformation) = &self.deformation else {
            return Ok(registered);
        };
        let images = Images {
            fixed: fixed_level,
            moving: moving_level,
            fixed_mask,
            moving_mask,
            prompts: &self.prompts,
        };
        let watch = &mut |level, levels, iteration: &Iteration| {
            watch(&Step {
                stage: deformation.transform.name(),
                level,
                levels,
                iteration,
            })
        };
        let solution = match &learned {
            Some(maps) => learned_deformation(deformation, images, maps, &registered.affine, watch),
            None => {
                let shrinks = deformation.shrinks(fixed.grid())?;
                let part = region(fixed, moving, &self.prompts, &registered.affine, &shrinks)?;
                cropped_deformation(
                    deformation,
                    images,
                    shrinks,
                    part,
                    &registered.affine,
                    watch,
                )
            }
        };
        let solution = solution.map_err(|error| of_device(error, &deformation.device))?;
        registered.displacement = Some(solution.displacement);
        registered.deformable = Some(DeformableReport {
            transform: deformation.transform.name(),
            features: self.network.is_none().then_some(deformation.features),
            regulariser: deformation.regulariser.name(),
            lambda: deformation.lambda,
            device: device_name(&deformation.device),
            certify: deformation.certify,
            barrier: deformation.barrier(),
            levels: solution.levels,
        });
        Ok(registered)
    }

    /// The maps of the network, on the levels that the deformation names; none where there is no network.
    pub(super) fn learned(&self, fixed: &Level, moving: &Level) -> Result<Option<Learned>> {
        let levels = self.deformation.as_ref().and_then(|d| d.levels.as_deref());
        self.network
            .as_ref()
            .map(|network| Learned::of(&**network, fixed, moving, levels, self.half_features))
            .transpose()
    }

    /// The start and the linear stages; none where the start is given and nothing linear is asked for.
    fn align(
        &self,
        pair: &AlignmentPair<'_>,
        watch: &mut dyn FnMut(&Step<'_>) -> Result<()>,
    ) -> Result<Option<Alignment>> {
        let given = matches!(
            self.start,
            AlignmentStart::Identity | AlignmentStart::Affine(_)
        );
        if given && self.linear.is_empty() {
            return Ok(None);
        }
        let watch = &mut |kind: LinearKind, level, levels, iteration: &Iteration| {
            watch(&Step {
                stage: kind.name(),
                level,
                levels,
                iteration,
            })
        };
        on_host(|| align(pair, &self.start, &self.linear, watch)).map(Some)
    }
}

/// Intensities on the common scale, masks and prompts, on the grids of the images.
struct Images<'a> {
    fixed: Level,
    moving: Level,
    fixed_mask: Option<Tensor>,
    moving_mask: Option<Tensor>,
    prompts: &'a [Prompt],
}

/// Sees every iteration, with the number of its level and that of the levels.
type Watch<'a> = dyn FnMut(usize, usize, &Iteration) -> Result<()> + 'a;

/// Deforms by hand-made features, within a part of the fixed grid.
fn cropped_deformation(
    deformation: &Deformation,
    images: Images<'_>,
    shrinks: Vec<usize>,
    (corner, size): (Vec<usize>, Vec<usize>),
    affine: &Affine,
    watch: &mut Watch<'_>,
) -> Result<MultilevelSolution> {
    let levels = shrinks.len();
    let whole = images.fixed.grid.size().to_vec();
    let part = Level {
        features: on_host(|| crop(&images.fixed.features, &corner, &size))?,
        grid: images.fixed.grid.cropped(&corner, &size)?,
    };
    drop(images.fixed);
    // what is compared on a level is made where the level is solved
    let part = part.to_device(&deformation.device)?;
    let moving = images.moving.to_device(&deformation.device)?;
    drop(images.moving);
    let fixed_mask = match images.fixed_mask {
        Some(mask) => Some(on_host(|| crop(&mask.unsqueeze(0)?, &corner, &size))?.squeeze(0)?),
        None => None,
    };
    let prompts = images
        .prompts
        .iter()
        .map(|prompt| prompt.cropped(&corner, &size))
        .collect::<Result<Vec<_>>>()?;
    let mut solution = deformation.multilevel(shrinks).solve(
        &Pair {
            fixed: Pyramid::Finest(&part),
            moving: Pyramid::Finest(&moving),
            channel_weights: None,
            affine: *affine,
            fixed_mask: fixed_mask.as_ref(),
            moving_mask: images.moving_mask.as_ref(),
            prompts: &prompts,
        },
        &mut |level, iteration| watch(level, levels, iteration),
    )?;
    let found = solution.displacement.to_device(&Device::Cpu)?;
    solution.displacement = on_host(|| extend(&found, &corner, &whole))?;
    Ok(solution)
}

/// Deforms by a network's features, on the whole fixed grid: a part of it would need maps of that part.
fn learned_deformation(
    deformation: &Deformation,
    images: Images<'_>,
    maps: &Learned,
    affine: &Affine,
    watch: &mut Watch<'_>,
) -> Result<MultilevelSolution> {
    let levels = maps.shrinks.len();
    // the maps are all that is compared from here on
    let grid = images.fixed.grid;
    drop((images.fixed.features, images.moving));
    let deformation = Deformation {
        levels: Some(maps.shrinks.clone()),
        ..deformation.clone()
    };
    let shrinks = deformation.shrinks(&grid)?;
    let pair = Pair {
        fixed: Pyramid::Levels(&maps.fixed),
        moving: Pyramid::Levels(&maps.moving),
        channel_weights: None,
        affine: *affine,
        fixed_mask: images.fixed_mask.as_ref(),
        moving_mask: images.moving_mask.as_ref(),
        prompts: images.prompts,
    };
    let mut solution = deformation
        .multilevel(shrinks)
        .solve(&pair, &mut |level, iteration| {
            watch(level, levels, iteration)
        })?;
    let finest = pair.fixed.finest()?;
    let found = solution.displacement.to_device(&Device::Cpu)?;
    solution.displacement = on_host(|| resample_field(&found, &finest.grid, &grid))?;
    Ok(solution)
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

/// The part of the fixed grid where either image differs from its background, and what is prompted, with a margin.
pub(super) fn region(
    fixed: &Image,
    moving: &Image,
    prompts: &[Prompt],
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
    let from_moving = grid.world_to_index().compose(&affine.inverse()?);
    let back = from_moving.compose(&moving.grid().index_to_world());
    let mut include = |point: [f64; 3]| {
        for a in 0..rank {
            bounds[a] = (bounds[a].0.min(point[a]), bounds[a].1.max(point[a]));
        }
    };
    for corner in 0..1usize << rank {
        include(back.apply(std::array::from_fn(|a| {
            box_.get(a)
                .map_or(0.0, |b| if corner >> a & 1 == 1 { b.1 } else { b.0 } as f64)
        })));
    }
    for prompt in prompts {
        let [of_fixed, of_moving] = prompt.reach();
        of_fixed
            .iter()
            .for_each(|p| include(grid.world_to_index().apply(*p)));
        of_moving
            .iter()
            .for_each(|p| include(from_moving.apply(*p)));
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
