//! Subjects moved by random maps.

use candle_core::{Device, Tensor};

use super::{Augmentation, Subject};
use crate::features::Level;
use crate::ops::{read, resize, smooth, warp, Interpolation};
use crate::{Affine, Grid, Result, Rng};

/// A random map: how far it turns, stretches, shifts and bends.
#[derive(Debug, Clone)]
pub(super) struct Motion {
    rank: usize,
    /// About each axis, radians; in 2D about the third alone.
    turns: [f64; 3],
    /// Logarithms.
    stretches: [f64; 3],
    /// Millimetres.
    shifts: [f64; 3],
    knots: usize,
    /// A value a knot and axis, planar, millimetres.
    bends: Vec<f64>,
}

const KNOTS: usize = 5;
/// Nodes between the knots, on which their values are smoothed.
const NODES: usize = 4;

impl Motion {
    pub fn draw(strength: &Augmentation, grid: &Grid, rng: &mut Rng) -> Self {
        let rank = grid.rank();
        let mut both = |most: f64| rng.range(-1.0, 1.0) * most;
        let mut turns = [(); 3].map(|()| both(strength.rotation.to_radians()));
        if rank == 2 {
            turns[0] = 0.0;
            turns[1] = 0.0;
        }
        let stretches = [(); 3].map(|()| both((1.0 + strength.scale).ln()));
        let side = (0..rank)
            .map(|a| grid.size()[a] as f64 * grid.spacing()[a])
            .fold(f64::INFINITY, f64::min);
        let shifts = [(); 3].map(|()| both(strength.shift * side));
        let knots = if strength.knots == 0 {
            KNOTS
        } else {
            strength.knots
        };
        let bends = if strength.elastic > 0.0 {
            let amount = strength.elastic * rng.uniform();
            (0..rank * knots.pow(rank as u32))
                .map(|_| amount * rng.normal())
                .collect()
        } else {
            Vec::new()
        };
        Self {
            rank,
            turns,
            stretches,
            shifts,
            knots,
            bends,
        }
    }

    /// This motion and a share of another.
    pub fn mixed(&self, other: &Self, share: f64) -> Self {
        let mix = |a: f64, b: f64| (1.0 - share) * a + share * b;
        let axes = |a: [f64; 3], b: [f64; 3]| std::array::from_fn(|i| mix(a[i], b[i]));
        Self {
            rank: self.rank,
            turns: axes(self.turns, other.turns),
            stretches: axes(self.stretches, other.stretches),
            shifts: axes(self.shifts, other.shifts),
            knots: self.knots,
            bends: self
                .bends
                .iter()
                .zip(&other.bends)
                .map(|(&a, &b)| mix(a, b))
                .collect(),
        }
    }

    pub fn is_still(&self) -> bool {
        let none = |values: &[f64]| values.iter().all(|&v| v == 0.0);
        none(&self.turns) && none(&self.stretches) && none(&self.shifts) && none(&self.bends)
    }

    /// Turn, stretch and shift about a centre, in the world.
    fn linear(&self, centre: [f64; 3]) -> Affine {
        let turn = |a: usize, b: usize, angle: f64| {
            let mut m = Affine::identity();
            let (sin, cos) = angle.sin_cos();
            m.matrix[a][a] = cos;
            m.matrix[b][b] = cos;
            m.matrix[a][b] = -sin;
            m.matrix[b][a] = sin;
            m
        };
        let mut map = turn(1, 2, self.turns[0])
            .compose(&turn(2, 0, self.turns[1]))
            .compose(&turn(0, 1, self.turns[2]));
        for row in &mut map.matrix {
            for (entry, stretch) in row.iter_mut().zip(self.stretches).take(self.rank) {
                *entry *= stretch.exp();
            }
        }
        let mut map = Affine::about(map.matrix, centre);
        for a in 0..self.rank {
            map.translation[a] += self.shifts[a];
        }
        map
    }

    /// The bends on a grid, `[rank, (nz,) ny, nx]` mm along the axes of the grid; none where there are none.
    fn bent(&self, grid: &Grid) -> Result<Option<Tensor>> {
        if self.bends.is_empty() {
            return Ok(None);
        }
        let mut shape = vec![self.rank];
        shape.extend(vec![self.knots; self.rank]);
        let knots = Tensor::from_slice(&self.bends, shape, &Device::Cpu)?;
        let nodes = resize(&knots, &vec![NODES * self.knots; self.rank])?;
        let nodes = smooth(&nodes, &vec![0.5 * NODES as f64; self.rank])?;
        Ok(Some(resize(&nodes, grid.size())?))
    }
}

/// Where in a subject the voxels of its moved image lie.
pub(super) struct Placement {
    /// `[rank, (nz,) ny, nx]`, voxels.
    displacement: Tensor,
}

impl Placement {
    pub fn new(motion: &Motion, grid: &Grid, centre: [f64; 3]) -> Result<Self> {
        let world = grid.index_to_world();
        let map = grid
            .world_to_index()
            .compose(&motion.linear(centre))
            .compose(&world);
        let (rank, voxels) = (grid.rank(), grid.voxels());
        let mut values = match motion.bent(grid)? {
            Some(bent) => bent.flatten_all()?.to_vec1::<f64>()?,
            None => vec![0.0; rank * voxels],
        };
        for v in 0..voxels {
            let index = grid.index_of(v).map(|i| i as f64);
            let to = map.apply(index);
            for a in 0..rank {
                let value = &mut values[a * voxels + v];
                *value = *value / grid.spacing()[a] + to[a] - index[a];
            }
        }
        let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
        let mut shape = vec![rank];
        shape.extend(grid.shape());
        Ok(Self {
            displacement: Tensor::from_vec(values, shape, &Device::Cpu)?,
        })
    }

    /// The moved subject: intensities by linear interpolation, labels of the nearest voxel.
    pub fn apply(&self, subject: &Subject) -> Result<Subject> {
        let grid = &subject.image.grid;
        let still = Affine::identity();
        let features = warp(
            &subject.image.features,
            &self.displacement,
            &still,
            Interpolation::Linear,
        )?;
        let labels = match &subject.labels {
            Some(labels) => Some(read(&self.displacement, |u| nearest(labels, u, grid))?),
            None => None,
        };
        let landmarks = match &subject.landmarks {
            Some(points) => Some(read(&self.displacement, |u| moved(points, u, grid))?),
            None => None,
        };
        Ok(Subject {
            name: subject.name.clone(),
            image: Level {
                features,
                grid: grid.clone(),
            },
            labels,
            landmarks,
        })
    }
}

/// Labels of the nearest voxels; 0 outside.
fn nearest(labels: &[u32], u: &[f32], grid: &Grid) -> Vec<u32> {
    let (voxels, size) = (grid.voxels(), grid.size());
    (0..voxels)
        .map(|v| {
            let index = grid.index_of(v);
            let (mut at, mut stride) = (0, 1);
            for a in 0..grid.rank() {
                let place = (index[a] as f32 + u[a * voxels + v] + 0.5).floor();
                if place < 0.0 || place >= size[a] as f32 {
                    return 0;
                }
                at += place as usize * stride;
                stride *= size[a];
            }
            labels[at]
        })
        .collect()
}

/// Where points come to lie: the `x` with `x + u(x) = y` for points `y`, by iteration.
fn moved(points: &[[f64; 3]], u: &[f32], grid: &Grid) -> Vec<[f64; 3]> {
    const ROUNDS: usize = 30;
    let (to_index, to_world) = (grid.world_to_index(), grid.index_to_world());
    let (rank, voxels) = (grid.rank(), grid.voxels());
    points
        .iter()
        .map(|&point| {
            let target = to_index.apply(point);
            let mut x = target;
            for _ in 0..ROUNDS {
                let around = grid.around(x);
                for a in 0..rank {
                    let shift: f64 = around
                        .iter()
                        .map(|&(c, w)| w * f64::from(u[a * voxels + c]))
                        .sum();
                    x[a] = target[a] - shift;
                }
            }
            to_world.apply(x)
        })
        .collect()
}

/// The subject in a mirror that exchanges left and right: the same intensities, at places with the opposite world x.
pub(super) fn mirrored(subject: &Subject) -> Result<Subject> {
    let grid = &subject.image.grid;
    let direction = grid.direction();
    let axis = (0..grid.rank())
        .max_by(|&a, &b| direction[0][a].abs().total_cmp(&direction[0][b].abs()))
        .unwrap_or(0);
    // the axis runs the other way in the mirror: its last voxel becomes the first
    let mut last = [0.0; 3];
    last[axis] = (grid.size()[axis] - 1) as f64;
    let mut origin = grid.index_to_world().apply(last);
    origin[0] = -origin[0];
    let mut turned = direction;
    for (world, row) in turned.iter_mut().enumerate() {
        for (a, entry) in row.iter_mut().enumerate() {
            if (world == 0) != (a == axis) {
                *entry = -*entry;
            }
        }
    }
    let grid = Grid::new(grid.size(), grid.spacing(), origin, turned)?;
    let dim = subject.image.features.rank() - 1 - axis;
    let features = subject.image.features.flip(&[dim])?.contiguous()?;
    let size = grid.size();
    let stride: usize = size[..axis].iter().product();
    let flip = |v: usize| {
        let i = v / stride % size[axis];
        v + (size[axis] - 1) * stride - 2 * i * stride
    };
    let labels = subject
        .labels
        .as_ref()
        .map(|labels| (0..labels.len()).map(|v| labels[flip(v)]).collect());
    let landmarks = subject
        .landmarks
        .as_ref()
        .map(|points| points.iter().map(|p| [-p[0], p[1], p[2]]).collect());
    Ok(Subject {
        name: subject.name.clone(),
        image: Level { features, grid },
        labels,
        landmarks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    /// An image whose intensities are a smooth function of the world, with a landmark.
    fn subject(grid: &Grid) -> Subject {
        let world = grid.index_to_world();
        let values = (0..grid.voxels())
            .map(|v| {
                let p = world.apply(grid.index_of(v).map(|i| i as f64));
                (0.11 * p[0]).sin() as f32 + 0.02 * p[1] as f32 - 0.01 * p[2] as f32
            })
            .collect();
        let labels = (0..grid.voxels() as u32).collect();
        let image = Image::new(grid.clone(), 1, values).unwrap();
        Subject::new(
            "made",
            image,
            Some(labels),
            Some(vec![[3.0, -2.0, 4.0]]),
            &[],
        )
        .unwrap()
    }

    fn sample(subject: &Subject, point: [f64; 3]) -> f64 {
        let grid = &subject.image.grid;
        let values = subject.image.features.flatten_all().unwrap();
        let values = values.to_vec1::<f32>().unwrap();
        let around = grid.around(grid.world_to_index().apply(point));
        around.iter().map(|&(c, w)| w * f64::from(values[c])).sum()
    }

    fn oblique() -> Grid {
        let turn = Affine::exp(&Affine {
            matrix: [[0.0, -0.3, 0.1], [0.3, 0.0, -0.2], [-0.1, 0.2, 0.0]],
            translation: [0.0; 3],
        });
        Grid::new(
            &[24, 20, 18],
            &[1.0, 1.5, 1.2],
            [-9.0, -14.0, -8.0],
            turn.matrix,
        )
        .unwrap()
    }

    #[test]
    fn a_mirror_shows_the_same_at_the_opposite_place() {
        let subject = subject(&oblique());
        let mirror = mirrored(&subject).unwrap();
        for point in [[1.0, 2.0, 3.0], [-2.0, 4.0, 1.0], [3.0, -2.0, 4.0]] {
            let opposite = [-point[0], point[1], point[2]];
            let (a, b) = (sample(&subject, point), sample(&mirror, opposite));
            assert!((a - b).abs() < 1e-5, "{point:?}: {a} {b}");
        }
        assert_eq!(mirror.landmarks, Some(vec![[-3.0, -2.0, 4.0]]));
        let labels = mirror.labels.clone().unwrap();
        assert_eq!(labels[0], 23);
        let back = mirrored(&mirror).unwrap();
        assert_eq!(back.labels, subject.labels);
        assert!(back.image.grid.matches(&subject.image.grid, 1e-9));
    }

    #[test]
    fn landmarks_move_with_the_image() {
        let subject = subject(&oblique());
        let strength = Augmentation {
            rotation: 20.0,
            scale: 0.2,
            shift: 0.05,
            elastic: 1.0,
            ..Augmentation::default()
        };
        for seed in 0..5 {
            let grid = &subject.image.grid;
            let motion = Motion::draw(&strength, grid, &mut Rng::new(seed));
            let placement = Placement::new(&motion, grid, grid.centre()).unwrap();
            let placed = placement.apply(&subject).unwrap();
            let before = sample(&subject, subject.landmarks.as_ref().unwrap()[0]);
            let after = sample(&placed, placed.landmarks.as_ref().unwrap()[0]);
            assert!((before - after).abs() < 0.02, "{seed}: {before} {after}");
        }
    }

    #[test]
    fn no_strength_moves_nothing() {
        let grid = oblique();
        let still = Motion::draw(&Augmentation::default(), &grid, &mut Rng::new(3));
        assert!(still.is_still());
        let placement = Placement::new(&still, &grid, grid.centre()).unwrap();
        let largest = placement.displacement.abs().unwrap().max_all().unwrap();
        assert!(largest.to_scalar::<f32>().unwrap() < 1e-5);
    }
}
