//! The way back through a U-Net.

use candle_core::Tensor;

use super::body::{Body, Trail};
use crate::features::network::config::{scale_of, Downsampling};
use crate::features::network::joined::Joined;
use crate::features::network::layers::Block;
use crate::features::network::parameters::{plus, Gradients};
use crate::ops::{average_pool_adjoint, spatial, Cotangent, Normalised};
use crate::Result;

/// What cotangents of the features are at the other end.
pub(crate) struct Pulled {
    /// Those of the parameters, in their order; none of those that nothing depends on.
    pub parameters: Vec<Option<Tensor>>,
    /// That of the images, where it was asked for.
    pub images: Option<Tensor>,
}

impl Body {
    /// Carries the cotangents of the features of every level, coarse first, back to `count` parameters.
    ///
    /// Maps are activated again from the sums of the trail, which go as they are used.
    pub(super) fn backward(
        &self,
        mut trail: Trail,
        mut features: Vec<Option<Cotangent>>,
        count: usize,
        of_images: bool,
    ) -> Result<Pulled> {
        let mut gradients = Gradients::new(count);
        let to = &mut gradients;
        let unit = vec![1; self.config.rank];
        let finest = self.config.finest();
        // what has come to the maps of the encoder
        let mut arrived: Vec<Option<Tensor>> = self.encoder.iter().map(|_| None).collect();
        let mut below: Option<Tensor> = None;
        for (place, [first, second]) in self.decoder.iter().enumerate() {
            let scale = finest + place;
            let Some([half, whole]) = trail.decoder.pop() else {
                break;
            };
            let head = self.head_cotangent(scale, &whole, &mut features, to)?;
            let Some(cotangent) = plus(below.take(), head)? else {
                continue;
            };
            let sums = second_back(second, [&half, &whole], cotangent, &unit, to)?;
            drop(whole);
            let sums = first.pull_to_sums(&half, &sums, to)?;
            drop(half);
            let coarse = trail.decoder.last().unwrap_or(&trail.encoder[scale + 1]);
            let maps = Joined {
                fine: trail.encoder[scale][1].value()?,
                coarse: coarse[1].value()?,
                step: trail.scales.step(scale + 1),
            };
            let [fine, coarse] = first.pull_to_joined(maps, &sums, to)?;
            arrived[scale] = Some(fine);
            below = Some(coarse);
        }
        let lowest = finest + self.decoder.len();
        arrived[lowest] = below;
        let mut images = None;
        for (scale, [first, second]) in self.encoder.iter().enumerate().rev() {
            let Some([half, whole]) = trail.encoder.pop() else {
                break;
            };
            let mut cotangent = arrived[scale].take();
            if scale >= lowest {
                let head = self.head_cotangent(scale, &whole, &mut features, to)?;
                cotangent = plus(cotangent, head)?;
            }
            let Some(cotangent) = cotangent else { continue };
            let sums = second_back(second, [&half, &whole], cotangent, &unit, to)?;
            drop(whole);
            let sums = first.pull_to_sums(&half, &sums, to)?;
            drop(half);
            let step = self.step(&trail.scales, scale);
            let Some([_, finer]) = trail.encoder.last() else {
                first.pull_to_weights(&trail.images, &sums, &step, to)?;
                if of_images {
                    let size = spatial(&trail.images);
                    images = Some(first.pull_to_input(&sums, &step, &size)?);
                }
                break;
            };
            let input = self.down(&finer.value()?, &trail.scales, scale)?;
            let size = spatial(&input);
            first.pull_to_weights(&input, &sums, &step, to)?;
            drop(input);
            let mut back = first.pull_to_input(&sums, &step, &size)?;
            if self.config.downsampling == Downsampling::Average {
                back = average_pool_adjoint(&back, &trail.scales.step(scale), &finer.size())?;
            }
            arrived[scale - 1] = plus(arrived[scale - 1].take(), Some(back))?;
        }
        Ok(Pulled {
            parameters: gradients.done(),
            images,
        })
    }

    /// The cotangent of the map of a scale that comes from its head, if there is one.
    fn head_cotangent(
        &self,
        scale: usize,
        map: &Normalised,
        features: &mut [Option<Cotangent>],
        to: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        let mut shrinks = self.config.shrinks.iter();
        let level = shrinks.position(|&s| scale_of(s) == scale);
        let cotangent = level.and_then(|level| Some((level, features[level].take()?)));
        let Some((level, cotangent)) = cotangent else {
            return Ok(None);
        };
        let head = &self.heads[level];
        Ok(Some(head.pull_back(map.value()?, cotangent, to)?))
    }
}

/// The cotangent of what the second block of a scale was applied to, the first one's result.
fn second_back(
    block: &Block,
    [half, whole]: [&Normalised; 2],
    cotangent: Tensor,
    unit: &[usize],
    to: &mut Gradients,
) -> Result<Tensor> {
    let sums = block.pull_to_sums(whole, &cotangent, to)?;
    drop(cotangent);
    block.pull_to_weights(&half.value()?, &sums, unit, to)?;
    block.pull_to_input(&sums, unit, &half.size())
}
