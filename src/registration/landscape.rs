//! The energy along the line between doing nothing and a solution.

use std::sync::Arc;

use candle_core::DType;

use super::{Deformation, Registered, Registration};
use crate::features::{Level, Pyramid};
use crate::solver::Pair;
use crate::transform::{resample_field, Displacement};
use crate::{Error, Image, Result};

/// The energy of a level along the line through the identity and a solution `u`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Landscape {
    /// How much coarser the level is than the fixed image.
    pub shrink: usize,
    /// The energy of the displacement `t u` at the places `t` that were asked for.
    pub energies: Vec<f64>,
}

impl Registration {
    /// The energies that this registration would minimise on its levels, coarse first, along the line `t u`, where `u` is the
    /// displacement of `registered`: data term and regulariser, after the linear part of `registered`.
    ///
    /// What is compared is this registration's own, whatever `registered` compared: so two kinds of features show their
    /// energies along one line. Masks do not count.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when nothing deforms here or in `registered`, and those of [`Registration::run`].
    pub fn landscape(
        &self,
        fixed: &Image,
        moving: &Image,
        registered: &Registered,
        places: &[f64],
    ) -> Result<Vec<Landscape>> {
        let (Some(deformation), Some(u)) = (&self.deformation, &registered.displacement) else {
            return Err(Error::argument(
                "registration",
                "has no stage that deforms, so there is no line to go along",
            ));
        };
        let (_, fixed) = Level::scaled(fixed, "fixed image")?;
        let (_, moving) = Level::scaled(moving, "moving image")?;
        let learned = self.learned(&fixed, &moving)?;
        let shrinks = match &learned {
            Some(learned) => learned.shrinks.clone(),
            None => Deformation {
                iterations: None,
                ..deformation.clone()
            }
            .shrinks(&fixed.grid)?,
        };
        let still = Deformation {
            transform: Arc::new(Displacement),
            iterations: Some(vec![0; shrinks.len()]),
            certify: false,
            solver: None,
            ..deformation.clone()
        };
        let (of_fixed, of_moving) = match &learned {
            Some(maps) => (Pyramid::Levels(&maps.fixed), Pyramid::Levels(&maps.moving)),
            None => (Pyramid::Finest(&fixed), Pyramid::Finest(&moving)),
        };
        let pair = Pair {
            fixed: of_fixed,
            moving: of_moving,
            affine: registered.affine,
            channel_weights: None,
            fixed_mask: None,
            moving_mask: None,
            prompts: &[],
        };
        let mut landscapes = Vec::with_capacity(shrinks.len());
        still
            .multilevel(shrinks)
            .solve_levels(&pair, &mut |_, _| Ok(()), &mut |level| {
                let u = resample_field(u, &registered.grid, &level.problem.grid)?;
                let u = u.to_dtype(DType::F32)?;
                let energy = |t: &f64| {
                    let (data, penalty) = level.problem.parts(&(&u * *t)?)?;
                    Ok(data + penalty)
                };
                landscapes.push(Landscape {
                    shrink: level.report.shrink,
                    energies: places.iter().map(energy).collect::<Result<_>>()?,
                });
                Ok(())
            })?;
        Ok(landscapes)
    }
}
