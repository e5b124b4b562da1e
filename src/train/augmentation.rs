//! How much training pairs are varied.

use serde::{Deserialize, Serialize};

use super::appearance::alter;
use super::placement::{mirrored, Motion, Placement};
use super::Subject;
use crate::{Error, Result, Rng};

/// How much the images of a pair are varied, each time they are drawn. The default varies nothing.
///
/// Strengths are largest values: what is drawn lies between none and that. Intensities are on the common scale 0 to 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Rotation about each axis, degrees.
    pub rotation: f64,
    /// Stretch of each axis, as a share.
    pub scale: f64,
    /// Shift along each axis, as a share of the smallest side of the field of view.
    pub shift: f64,
    /// Standard deviation of a smooth random displacement, mm.
    pub elastic: f64,
    /// Knots of that displacement along an axis: more make it finer; 0 stands for 5.
    pub knots: usize,
    /// How much of rotation, scale, shift and displacement each image has for itself: 0 moves both alike, 1 each on its own.
    pub apart: f64,
    /// Probability that left and right of both images are exchanged.
    pub mirror: f64,
    /// Labels of one structure left and right, which change places in a mirror.
    pub opposites: Vec<[u32; 2]>,
    /// Probability that fixed and moving image change their parts.
    pub swap: f64,
    /// Exponent of intensities: between `1 / (1 + gamma)` and `1 + gamma`.
    pub gamma: f64,
    /// Strength of a random curve from intensities to intensities that keeps 0: at 1 nothing else is left of the contrast.
    pub contrast: f64,
    /// Strength of a smooth field that intensities are multiplied by.
    pub bias: f64,
    /// Standard deviation of noise.
    pub noise: f64,
    /// Standard deviation of a Gaussian blur, voxels.
    pub blur: f64,
    /// How much thicker than its voxels slices become along one axis, each second time; 0 and 1 are none.
    pub anisotropy: f64,
}

impl Augmentation {
    pub(super) fn check(&self) -> Result<()> {
        let shares = [
            ("scale", self.scale),
            ("apart", self.apart),
            ("mirror", self.mirror),
            ("swap", self.swap),
            ("contrast", self.contrast),
            ("bias", self.bias),
        ];
        for (name, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::argument(
                    format!("augmentation.{name}"),
                    format!("must lie between 0 and 1, got {value}"),
                ));
            }
        }
        let mut named = self.opposites.concat();
        named.sort_unstable();
        if named.windows(2).any(|two| two[0] == two[1]) {
            return Err(Error::argument(
                "augmentation.opposites",
                "names a label twice; a label has one opposite, and none that is itself",
            ));
        }
        let strengths = [
            ("rotation", self.rotation, 180.0),
            ("shift", self.shift, 0.5),
            ("elastic", self.elastic, 1e3),
            ("gamma", self.gamma, 10.0),
            ("noise", self.noise, 10.0),
            ("blur", self.blur, 20.0),
            ("anisotropy", self.anisotropy, 20.0),
        ];
        for (name, value, most) in strengths {
            if !(0.0..=most).contains(&value) {
                return Err(Error::argument(
                    format!("augmentation.{name}"),
                    format!("must lie between 0 and {most}, got {value}"),
                ));
            }
        }
        Ok(())
    }

    /// Moves both subjects of a pair, their labels and landmarks with them.
    pub(super) fn place(&self, pair: [&Subject; 2], rng: &mut Rng) -> Result<[Subject; 2]> {
        let mut pair = pair.map(Clone::clone);
        if rng.uniform() < self.swap {
            pair.swap(0, 1);
        }
        if rng.uniform() < self.mirror {
            for subject in &mut pair {
                *subject = self.mirrored(subject)?;
            }
        }
        let [fixed, moving] = &pair;
        let grid = &fixed.image.grid;
        let common = Motion::draw(self, grid, rng);
        let (centre, mut placed) = (grid.centre(), Vec::with_capacity(2));
        for subject in [fixed, moving] {
            let own = Motion::draw(self, grid, rng);
            let motion = common.mixed(&own, self.apart);
            placed.push(match motion.is_still() {
                true => subject.clone(),
                false => Placement::new(&motion, &subject.image.grid, centre)?.apply(subject)?,
            });
        }
        placed
            .try_into()
            .map_err(|_| Error::data("pair", "does not have two subjects"))
    }

    /// Moves a subject as one of a pair would be.
    pub(super) fn place_one(&self, subject: &Subject, rng: &mut Rng) -> Result<Subject> {
        let mut subject = subject.clone();
        if rng.uniform() < self.mirror {
            subject = self.mirrored(&subject)?;
        }
        let grid = &subject.image.grid;
        let motion = Motion::draw(self, grid, rng);
        match motion.is_still() {
            true => Ok(subject),
            false => Placement::new(&motion, grid, grid.centre())?.apply(&subject),
        }
    }

    /// The subject in a mirror, its labels named as on their new sides.
    fn mirrored(&self, subject: &Subject) -> Result<Subject> {
        let mut subject = mirrored(subject)?;
        for label in subject.labels.iter_mut().flatten() {
            let pair = self.opposites.iter().find(|pair| pair.contains(label));
            if let Some(&[left, right]) = pair {
                *label = if *label == left { right } else { left };
            }
        }
        Ok(subject)
    }

    /// Changes the intensities of a subject.
    pub(super) fn recolour(&self, subject: &mut Subject, rng: &mut Rng) -> Result<()> {
        alter(self, subject, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Grid, Image};

    /// A mirror exchanges sides and their labels; where they have the same everywhere, it changes nothing.
    #[test]
    fn left_stays_left_in_a_mirror() {
        let grid = Grid::axis_aligned(&[8, 4], &[1.0, 1.0]).unwrap();
        let values = (0..32).map(|v| (v % 8) as f32).collect();
        let side = |v: usize| [5, 7, 9][usize::from(v % 8 > 1) + usize::from(v % 8 > 5)];
        let labels: Vec<u32> = (0..32).map(side).collect();
        let image = Image::new(grid, 1, values).unwrap();
        let subject = Subject::new("made", image, Some(labels.clone()), None, &[]).unwrap();
        let mut strength = Augmentation {
            mirror: 1.0,
            ..Augmentation::default()
        };
        let placed = |strength: &Augmentation| {
            let one = strength.place_one(&subject, &mut Rng::new(1)).unwrap();
            let [fixed, moving] = strength.place([&subject; 2], &mut Rng::new(1)).unwrap();
            assert_eq!(one.labels, fixed.labels);
            assert_eq!(one.labels, moving.labels);
            one.labels.unwrap()
        };
        assert_eq!(placed(&strength)[..2], [9, 9]);
        strength.opposites = vec![[9, 5]];
        assert_eq!(placed(&strength), labels);
    }
}
