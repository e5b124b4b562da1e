//! How many elements a pass takes, and the way back: estimates from sizes alone.

use super::body::Body;
use crate::features::network::config::scale_of;
use crate::features::network::joined::Joined;
use crate::features::network::scales::Scales;

impl Body {
    fn voxels(&self, scales: &Scales, scale: usize) -> usize {
        scales.size(scale).iter().product()
    }

    /// Those of a scale's map.
    fn map(&self, scales: &Scales, scale: usize) -> usize {
        self.config.widths[scale] * self.voxels(scales, scale)
    }

    /// Those that a pass without a way back has at most at a time, its results among them; `based` where these are
    /// added to features made by hand.
    pub(super) fn pass_elements(&self, scales: &Scales, based: bool) -> usize {
        let config = &self.config;
        let shape = |scale| -> Vec<usize> { scales.size(scale).into_iter().rev().collect() };
        let map = |scale| self.map(scales, scale);
        let finer = |scale| (0..scale).map(map).sum::<usize>();
        let outputs = |shrink: &usize| config.outputs * self.voxels(scales, scale_of(*shrink));
        let made = |above: usize| -> usize {
            let shrinks = config.shrinks.iter();
            shrinks.filter(|&&s| scale_of(s) > above).map(outputs).sum()
        };
        // a block reads one map and writes another
        let encoded = (0..config.widths.len()).map(|scale| finer(scale) + 2 * map(scale));
        let decoded = (0..self.decoder.len()).map(|place| {
            let scale = config.finest() + place;
            let channels = [config.widths[scale], config.widths[scale + 1]];
            let slab = Joined::workspace(&shape(scale), channels);
            let read = finer(scale + 1) - finer(config.finest()) + map(scale + 1);
            read + map(scale) + slab + made(scale)
        });
        let finest = config.finest();
        let all = config.shrinks.iter().map(outputs).sum::<usize>();
        let last = match based {
            true => all + made(0) + config.outputs * self.voxels(scales, 0),
            false => made(finest) + map(finest) + 2 * config.outputs * self.voxels(scales, finest),
        };
        encoded.chain(decoded).max().unwrap_or(0).max(last)
    }

    /// Those of a trail: the sums of two blocks a scale, of the encoder and of the decoder.
    pub(super) fn trail_elements(&self, scales: &Scales) -> usize {
        let finest = self.config.finest();
        let encoded = 0..self.config.widths.len();
        let decoded = finest..finest + self.decoder.len();
        encoded
            .chain(decoded)
            .map(|scale| 2 * self.map(scales, scale))
            .sum()
    }

    /// Those that the way back has beside the trail and the cotangents of the features: on a scale a cotangent comes in and one
    /// goes out, and what either belongs to is activated again, while those for the encoder's finer maps wait.
    pub(super) fn way_back_elements(&self, scales: &Scales) -> usize {
        let all = 0..self.config.widths.len();
        let on = all.map(|scale| {
            let waiting: usize = (0..scale).map(|finer| self.map(scales, finer)).sum();
            waiting + 4 * self.map(scales, scale)
        });
        on.max().unwrap_or(0)
    }
}
