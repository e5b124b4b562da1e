//! The features of a pair, and how gradients get from them to the network.

use candle_core::{Tensor, Var};

use super::lesson::gradients;
use super::Subject;
use crate::features::{FeatureLevel, FeatureNetwork, Unet};
use crate::ops::record;
use crate::Result;

/// The feature pyramids of a pair, batches of one.
pub(super) fn pyramids(network: &Unet, pair: &[Subject; 2]) -> Result<[Vec<FeatureLevel>; 2]> {
    Ok([pyramid(network, pair, 0)?, pyramid(network, pair, 1)?])
}

/// That of the fixed image, number 0, or the moving one, number 1.
fn pyramid(network: &Unet, pair: &[Subject; 2], number: usize) -> Result<Vec<FeatureLevel>> {
    let image = &pair[number].image;
    let (images, grid) = (image.features.unsqueeze(0)?, &pair[0].image.grid);
    match number {
        0 => network.fixed_pyramid(&images, grid),
        _ => network.moving_pyramid(&images, &image.grid, grid),
    }
}

/// The network that learns and, where its maps are computed again on the way back, its twin outside all graphs.
#[derive(Clone, Copy)]
pub(super) struct Networks<'a> {
    pub learning: &'a Unet,
    pub twin: Option<&'a Unet>,
}

/// The maps of a pair.
///
/// Without a twin they are part of the network's graph. With one the graph of a step begins at the maps, and nothing of the
/// network is kept while a pair is solved; the network is then passed again, an image after the other.
pub(super) struct Maps<'a> {
    networks: Networks<'a>,
    pair: &'a [Subject; 2],
    /// Of the fixed and the moving image.
    pub levels: [Vec<FeatureLevel>; 2],
    /// The variables that the levels of an image are, where the graph begins at them.
    leaves: Vec<(usize, Vec<Var>)>,
}

impl<'a> Maps<'a> {
    /// Those of as many levels as are `active` of all; no gradient flows through the image `still`.
    pub fn new(
        networks: Networks<'a>,
        pair: &'a [Subject; 2],
        still: Option<usize>,
        active: impl Fn(usize) -> usize,
    ) -> Result<Self> {
        let mut levels = pyramids(networks.twin.unwrap_or(networks.learning), pair)?;
        let mut leaves = Vec::new();
        for (side, levels) in levels.iter_mut().enumerate() {
            levels.truncate(active(levels.len()));
            if Some(side) == still {
                for level in levels {
                    level.features = level.features.detach();
                }
            } else if networks.twin.is_some() {
                leaves.push((side, leaves_of(levels)?));
            }
        }
        Ok(Self {
            networks,
            pair,
            levels,
            leaves,
        })
    }

    /// The gradients of a loss with respect to the network's parameters; `what` has the loss, for messages.
    pub fn gradients(self, loss: Tensor, what: &str) -> Result<Vec<Option<Tensor>>> {
        let Self {
            networks,
            pair,
            levels,
            leaves,
        } = self;
        let network = networks.learning;
        let parameters = network.parameters();
        if networks.twin.is_none() {
            return gradients(&loss, &parameters, what);
        }
        let store = loss.backward()?;
        let cotangent = |leaf: &Var| store.get(leaf).cloned();
        let cotangents: Vec<(usize, Vec<Option<Tensor>>)> = leaves
            .iter()
            .map(|(side, leaves)| (*side, leaves.iter().map(cotangent).collect()))
            .collect();
        // what the solver and the losses have kept goes before the network is passed again
        drop((store, loss, levels, leaves));
        let mut sums = vec![None; parameters.iter().count()];
        for (side, cotangents) in cotangents {
            let Some(paired) = paired(&pyramid(network, pair, side)?, cotangents)? else {
                continue;
            };
            let parts = gradients(&paired, &parameters, what)?;
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = match (sum.take(), part) {
                    (Some(sum), Some(part)) => Some((sum + part)?),
                    (sum, part) => sum.or(part),
                };
            }
        }
        Ok(sums)
    }
}

/// Makes variables of the features of some levels.
fn leaves_of(levels: &mut [FeatureLevel]) -> Result<Vec<Var>> {
    let mut leaves = Vec::with_capacity(levels.len());
    for level in levels {
        let leaf = Var::from_tensor(&level.features)?;
        level.features = leaf.as_tensor().clone();
        leaves.push(leaf);
    }
    Ok(leaves)
}

/// A number whose gradient with respect to the features of each level is its cotangent; none where there is no cotangent.
fn paired(levels: &[FeatureLevel], cotangents: Vec<Option<Tensor>>) -> Result<Option<Tensor>> {
    let mut sum: Option<Tensor> = None;
    for (level, cotangent) in levels.iter().zip(cotangents) {
        let Some(cotangent) = cotangent else { continue };
        let zero = Tensor::zeros((), cotangent.dtype(), cotangent.device())?;
        let part = record("paired", &level.features, zero, move |_| {
            Ok(cotangent.clone())
        })?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    Ok(sum)
}
