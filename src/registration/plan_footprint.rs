//! What a registration takes in memory, estimated before it runs.

use super::footprint::{voxels, Footprint, SINGLE};
use super::level_footprint::LevelFootprint;
use super::plan::region;
use super::Registration;
use crate::features::{foreground_box, level_grid, matched_grid, FeatureNetwork};
use crate::solver::AlignmentStart;
use crate::{Affine, Image, Result};

impl Registration {
    /// The memory that [`Registration::run`] takes beside its arguments, an estimate: stages that deform, and the features of a
    /// network. What linear stages take is less than the results of any registration, and is left out.
    ///
    /// Where the start is not given, the images are taken to lie on each other. A GPU's memory is not part of it, and another
    /// solver than the mode's own is not known.
    ///
    /// # Errors
    /// As [`Registration::run`], for images and settings that contradict each other.
    pub fn footprint(&self, fixed: &Image, moving: &Image) -> Result<Footprint> {
        match &self.network {
            Some(network) => self.footprint_of_maps(&**network, fixed, moving),
            None => self.footprint_of_images(fixed, moving),
        }
    }

    /// Bytes of both masks.
    fn masks(&self, fixed: &Image, moving: &Image) -> u64 {
        let of = |mask: bool, image: &Image| SINGLE * u64::from(mask) * voxels(image.grid());
        of(self.fixed_mask.is_some(), fixed) + of(self.moving_mask.is_some(), moving)
    }

    /// Where images are compared, or descriptors that are made of them level by level.
    fn footprint_of_images(&self, fixed: &Image, moving: &Image) -> Result<Footprint> {
        let mut footprint = Footprint::default();
        let Some(deformation) = &self.deformation else {
            return Ok(footprint);
        };
        let shrinks = deformation.shrinks(fixed.grid())?;
        let affine = self.guess(fixed, moving);
        let (corner, size) = region(fixed, moving, &self.prompts, &affine, &shrinks)?;
        let part = fixed.grid().cropped(&corner, &size)?;
        let kept = SINGLE * fixed.channels() as u64 * voxels(&part)
            + SINGLE * moving.values().len() as u64;
        let level = LevelFootprint {
            deformation,
            prompts: &self.prompts,
            images: vec![
                ("images on one scale", kept),
                ("masks", self.masks(fixed, moving)),
            ],
        };
        for (number, &shrink) in shrinks.iter().enumerate() {
            let grid = level_grid(&part, shrink)?;
            let grids = [&grid, &matched_grid(moving.grid(), &grid)?];
            let [plain, described] =
                deformation
                    .features
                    .channels(shrink, fixed.channels(), fixed.grid().rank());
            level.made(shrink, described, plain, grids, &mut footprint);
            // intensities of full resolution are those of the images
            let own = match (described, shrink) {
                (0, 1) => 0,
                _ => plain + described,
            };
            let last = number + 1 == shrinks.len();
            let parts = level.solve([own, plain + described], grids, last)?;
            footprint.add(level.name(shrink), parts);
        }
        Ok(footprint)
    }

    /// Where the feature maps of a network are compared, made of both images before any level.
    fn footprint_of_maps(
        &self,
        network: &dyn FeatureNetwork,
        fixed: &Image,
        moving: &Image,
    ) -> Result<Footprint> {
        let mut footprint = Footprint::default();
        let scaled = SINGLE * (fixed.values().len() + moving.values().len()) as u64;
        let masks = self.masks(fixed, moving);
        let own = network.shrinks();
        let named = self.deformation.as_ref().and_then(|d| d.levels.as_deref());
        let shrinks = named.unwrap_or(own);
        let width = if self.half_features {
            SINGLE / 2
        } else {
            SINGLE
        };
        let mut maps = [0, 0];
        let mut grids = Vec::new();
        for &shrink in shrinks {
            let grid = level_grid(fixed.grid(), shrink)?;
            let other = matched_grid(moving.grid(), &grid)?;
            for (maps, grid) in maps.iter_mut().zip([&grid, &other]) {
                *maps += width * network.channels() as u64 * voxels(grid);
            }
            grids.push([grid, other]);
        }
        let working = matched_grid(moving.grid(), fixed.grid())?;
        for (name, held, grid) in [
            ("features of the fixed image", 0, fixed.grid()),
            ("features of the moving image", maps[0], &working),
        ] {
            footprint.add(
                name,
                vec![
                    ("images on one scale", scaled),
                    ("masks", masks),
                    ("feature maps", held),
                    ("network", network.workspace(grid)),
                ],
            );
        }
        if self.half_features {
            // of the moving image, whose maps are twice as large before
            footprint.add(
                "halving features",
                vec![
                    ("images on one scale", scaled),
                    ("masks", masks),
                    ("feature maps", maps[0] + 2 * maps[1]),
                    ("halves", maps[1]),
                ],
            );
        }
        if let Some(deformation) = &self.deformation {
            let level = LevelFootprint {
                deformation,
                prompts: &self.prompts,
                images: vec![("feature maps", maps[0] + maps[1]), ("masks", masks)],
            };
            for (number, (&shrink, [grid, other])) in shrinks.iter().zip(&grids).enumerate() {
                let last = number + 1 == shrinks.len();
                let channels = [0, network.channels()];
                let parts = level.solve(channels, [grid, other], last)?;
                footprint.add(level.name(shrink), parts);
            }
        }
        Ok(footprint)
    }

    /// Where the moving image will lie, as far as that can be said beforehand.
    fn guess(&self, fixed: &Image, moving: &Image) -> Affine {
        match &self.start {
            AlignmentStart::Identity => Affine::identity(),
            AlignmentStart::Affine(affine) => *affine,
            _ => {
                let [from, to] = [fixed, moving].map(|image| {
                    let mut middle = [0.0; 3];
                    let bounds = foreground_box(image.channel(0), image.grid().size());
                    for (middle, (low, high)) in middle.iter_mut().zip(bounds) {
                        *middle = 0.5 * (low + high) as f64;
                    }
                    image.grid().index_to_world().apply(middle)
                });
                Affine::shift(std::array::from_fn(|a| to[a] - from[a]))
            }
        }
    }
}
