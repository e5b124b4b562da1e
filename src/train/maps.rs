//! The features of a pair, and how gradients get from them to the network.

use std::sync::{Mutex, PoisonError};

use candle_core::{Tensor, Var};

use super::lesson::finite;
use super::Subject;
use crate::features::{
    batch_of, check_images, plus, FeatureLevel, FeatureNetwork, Parameters, Trail, Unet,
};
use crate::ops::Cotangent;
use crate::{Grid, Result};

/// The feature pyramids of a pair, batches of one.
pub(super) fn pyramids(network: &Unet, pair: &[Subject; 2]) -> Result<[Vec<FeatureLevel>; 2]> {
    Ok([pyramid(network, pair, 0)?, pyramid(network, pair, 1)?])
}

/// That of the fixed image, number 0, or the moving one, number 1.
fn pyramid(
    network: &dyn FeatureNetwork,
    pair: &[Subject; 2],
    number: usize,
) -> Result<Vec<FeatureLevel>> {
    let image = &pair[number].image;
    let (images, grid) = (batch_of(network, image)?, &pair[0].image.grid);
    match number {
        0 => network.fixed_pyramid(&images, grid),
        _ => network.moving_pyramid(&images, &image.grid, grid),
    }
}

/// The maps of a pair, at which the graph of a step begins.
///
/// When the cotangents of the maps are known the graph goes, and the network takes them back an image after the other: what
/// the solver keeps and what the way back needs never take memory together.
pub(super) struct Maps<'a> {
    network: &'a Unet,
    /// Of the fixed and the moving image.
    pub levels: [Vec<FeatureLevel>; 2],
    /// Of the images through which gradients flow.
    passes: Vec<Pass>,
}

/// What is kept of a network's pass over an image.
#[derive(Debug)]
struct Pass {
    images: Tensor,
    grid: Grid,
    /// None where the network is passed again for it.
    trail: Option<Trail>,
    /// The network's own features of each level.
    leaves: Vec<Var>,
}

impl<'a> Maps<'a> {
    /// Those of as many levels as are `active` of all; no gradient flows through the image `still`. With `recompute` nothing
    /// of the network is kept while a pair is solved.
    pub fn new(
        network: &'a Unet,
        pair: &[Subject; 2],
        still: Option<usize>,
        recompute: bool,
        active: impl Fn(usize) -> usize,
    ) -> Result<Self> {
        let mut passes = Vec::new();
        let mut of_image = |number: usize| {
            let cut = Cut {
                network,
                recompute,
                still: still == Some(number),
                pass: Mutex::new(None),
            };
            let mut levels = pyramid(&cut, pair, number)?;
            levels.truncate(active(levels.len()));
            passes.extend(
                cut.pass
                    .into_inner()
                    .unwrap_or_else(PoisonError::into_inner),
            );
            Ok::<_, crate::Error>(levels)
        };
        let levels = [of_image(0)?, of_image(1)?];
        Ok(Self {
            network,
            levels,
            passes,
        })
    }

    /// The gradients of a loss with respect to the network's parameters; `what` has the loss, for messages.
    pub fn gradients(self, loss: Tensor, what: &str) -> Result<Vec<Option<Tensor>>> {
        let Self {
            network,
            levels,
            passes,
        } = self;
        let store = loss.backward()?;
        let cotangents: Vec<Vec<Option<Cotangent>>> = passes
            .iter()
            .map(|pass| {
                let leaves = pass.leaves.iter();
                let of = |leaf: &Var| -> Result<Option<Cotangent>> {
                    let Some(cotangent) = store.get(leaf) else {
                        return Ok(None);
                    };
                    Ok(Some(Cotangent {
                        result: leaf.as_tensor().detach(),
                        cotangent: cotangent.contiguous()?,
                    }))
                };
                leaves.map(of).collect::<Result<_>>()
            })
            .collect::<Result<_>>()?;
        // what the solver and the losses have kept goes before the network takes memory
        drop((store, loss, levels));
        let mut sums = vec![None; network.parameters().iter().count()];
        for (pass, cotangents) in passes.into_iter().zip(cotangents) {
            if cotangents.iter().all(Option::is_none) {
                continue;
            }
            let Pass {
                images,
                grid,
                trail,
                leaves,
            } = pass;
            drop(leaves);
            let trail = match trail {
                Some(trail) => trail,
                None => network.pass(&images, &grid)?.1,
            };
            let parts = network.pull_back(trail, cotangents)?;
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = plus(sum.take(), part)?;
            }
        }
        finite(&sums, what)?;
        Ok(sums)
    }
}

/// A network that is cut off from its features: they are variables, and a pass is kept aside.
#[derive(Debug)]
struct Cut<'a> {
    network: &'a Unet,
    recompute: bool,
    /// Whether no gradient is asked for.
    still: bool,
    pass: Mutex<Option<Pass>>,
}

impl FeatureNetwork for Cut<'_> {
    fn rank(&self) -> usize {
        self.network.rank()
    }

    fn inputs(&self) -> usize {
        self.network.inputs()
    }

    fn channels(&self) -> usize {
        self.network.channels()
    }

    fn shrinks(&self) -> &[usize] {
        self.network.shrinks()
    }

    fn parameters(&self) -> Parameters {
        self.network.parameters()
    }

    fn maps(&self, images: &Tensor, grid: &Grid, targets: &[Grid]) -> Result<Vec<Tensor>> {
        check_images(self, images, grid, targets)?;
        if self.still {
            let own = self.network.still_pass(images, grid)?;
            return self.network.placed(own, images, grid, targets);
        }
        let (own, trail) = if self.recompute {
            (self.network.still_pass(images, grid)?, None)
        } else {
            let (own, trail) = self.network.pass(images, grid)?;
            (own, Some(trail))
        };
        let leaves = own.into_iter().map(|map| Var::from_tensor(&map));
        let leaves: Vec<Var> = leaves.collect::<candle_core::Result<_>>()?;
        let features = leaves.iter().map(|leaf| leaf.as_tensor().clone());
        let maps = self
            .network
            .placed(features.collect(), images, grid, targets)?;
        let mut pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        *pass = Some(Pass {
            images: images.clone(),
            grid: grid.clone(),
            trail,
            leaves,
        });
        Ok(maps)
    }
}
