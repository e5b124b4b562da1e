//! Maps of the world, one after another.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::carried::Carried;
use crate::{read_affine, Affine, DisplacementField, Error, Grid, Result};
use rayon::prelude::*;

/// One map of a chain.
#[derive(Debug, Clone)]
pub(super) enum Link {
    Affine(Affine),
    Field(Arc<DisplacementField>),
}

/// Maps of the world, one after another, from points of the fixed space to points of the moving space.
///
/// The order is that of ANTs' command lines: of the transforms listed, the *first* acts on a point first and the *last*
/// on an image first, so that a chain listed as `T1, T2, ..., Tn` carries the fixed point `x` to `Tn(...T2(T1(x)))`. A
/// moving image is carried onto the fixed grid by reading it at these points: points go from fixed to moving, images
/// from moving to fixed. Nothing is resampled in between.
///
/// A displacement field is interpolated linearly; within half a voxel beyond its outer voxel centres its nearest value
/// counts, and farther outside it moves nothing, as in ITK. All points are RAS mm; in 2D the third coordinate stays as
/// it is.
///
/// ```
/// # fn main() -> stillpoint::Result<()> {
/// use stillpoint::{Affine, Chain, DisplacementField, Grid};
/// let grid = Grid::axis_aligned(&[4, 4], &[1.0, 1.0])?;
/// let field = DisplacementField::new(grid, [[2.0; 16], [0.0; 16]].concat())?;
/// let half = Affine::new([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]], [0.0; 3]);
/// // Listed as -t field -t affine: a point is displaced, then halved.
/// let chain = Chain::new(2)?.then_field(field)?.then_affine(half);
/// assert_eq!(chain.apply([1.0, 1.0, 0.0]), [1.5, 0.5, 0.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Chain {
    rank: usize,
    links: Vec<Link>,
    warnings: Vec<String>,
}

impl Chain {
    /// The chain of no map, for images of rank 2 or 3.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for another rank.
    pub fn new(rank: usize) -> Result<Self> {
        if !(2..=3).contains(&rank) {
            return Err(Error::argument(
                "rank",
                format!("must be 2 or 3, got {rank}"),
            ));
        }
        Ok(Self {
            rank,
            links: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// Reads transforms in the order in which ANTs lists them, each a file and whether its inverse is meant: affine
    /// transforms as [`read_affine`] reads them, displacement fields as [`DisplacementField::read`] does. The files are
    /// told apart by what they contain.
    ///
    /// # Errors
    /// Those of the readers, and [`Error::InvalidArgument`] for the inverse of a field or for files of several ranks.
    pub fn read<P: AsRef<Path>>(
        listed: impl IntoIterator<Item = (P, bool)>,
        rank: usize,
    ) -> Result<Self> {
        let mut chain = Self::new(rank)?;
        for (path, inverse) in listed {
            let path = path.as_ref();
            if !looks_like_an_image(path)? {
                let map = read_affine(path, rank)?;
                chain = chain.then_affine(if inverse { map.inverse()? } else { map });
                continue;
            }
            if inverse {
                return Err(Error::argument(
                    format!("[{},1]", path.display()),
                    "a displacement field has no inverse of its own; give the file of the inverse warp instead",
                ));
            }
            let field = DisplacementField::read(path)?;
            let warnings = field.warnings().iter();
            chain
                .warnings
                .extend(warnings.map(|text| format!("{}: {text}", path.display())));
            chain = chain
                .then_field(field)
                .map_err(|_| Error::format(path, rank_differs(rank)))?;
        }
        Ok(chain)
    }

    /// The chain, followed by an affine map of the world (RAS mm): it acts on points after the maps before.
    pub fn then_affine(mut self, map: Affine) -> Self {
        self.links.push(Link::Affine(map));
        self
    }

    /// The chain, followed by a displacement: it acts on points after the maps before.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the field has another rank than the chain.
    pub fn then_field(mut self, field: impl Into<Arc<DisplacementField>>) -> Result<Self> {
        let field = field.into();
        if field.grid().rank() != self.rank {
            return Err(Error::argument(
                "displacement field",
                rank_differs(self.rank),
            ));
        }
        self.links.push(Link::Field(field));
        Ok(self)
    }

    /// 2 or 3.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Whether there is no map in it.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// What was doubtful in the files, in whole sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// The point of the moving space for a point of the fixed space, RAS mm.
    pub fn apply(&self, point: [f64; 3]) -> [f64; 3] {
        self.apply_all(&[point])[0]
    }

    /// The points of the moving space for points of the fixed space, RAS mm.
    pub fn apply_all(&self, points: &[[f64; 3]]) -> Vec<[f64; 3]> {
        let carried = Carried::points(self);
        let mut moved = points.to_vec();
        moved
            .par_chunks_mut(4096)
            .for_each(|part| carried.carry(part, None));
        moved
    }

    /// As [`Chain::apply_all`], with `None` for points that leave a displacement field: those that come to lie beyond
    /// its outer voxel centres, where it knows nothing of them.
    pub fn apply_inside(&self, points: &[[f64; 3]]) -> Vec<Option<[f64; 3]>> {
        let carried = Carried::points(self);
        let parts: Vec<Vec<Option<[f64; 3]>>> = points
            .par_chunks(4096)
            .map(|part| {
                let mut moved = part.to_vec();
                let mut outside = vec![false; part.len()];
                carried.carry(&mut moved, Some(&mut outside));
                let both = moved.into_iter().zip(outside);
                both.map(|(p, out)| (!out).then_some(p)).collect()
            })
            .collect();
        parts.concat()
    }

    /// The displacement `T(x) - x` of the whole chain at the voxels of a grid: this one field alone does what the chain
    /// does.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the grid has another rank than the chain.
    pub fn displacement_on(&self, grid: &Grid) -> Result<DisplacementField> {
        let carried = Carried::grid(self, grid, &Affine::identity())?;
        let (rank, voxels, width) = (self.rank, grid.voxels(), grid.size()[0]);
        let world = grid.index_to_world();
        let mut values = vec![0.0f32; rank * voxels];
        let lines = lines(&mut values, voxels, width);
        lines.into_par_iter().enumerate().for_each_init(
            || vec![[0.0; 3]; width],
            |buffer, (row, mut line)| {
                carried.row(row, buffer);
                let ny = grid.size()[1];
                for (i, moved) in buffer.iter().enumerate() {
                    let x = world.apply([i as f64, (row % ny) as f64, (row / ny) as f64]);
                    for (c, line) in line.iter_mut().enumerate() {
                        line[i] = (moved[c] - x[c]) as f32;
                    }
                }
            },
        );
        DisplacementField::new(grid.clone(), values)
    }
}

fn rank_differs(rank: usize) -> String {
    format!("is not of rank {rank} as the images and transforms used with it")
}

/// The rows of planar values, each with its part of every channel.
pub(crate) fn lines<T>(values: &mut [T], voxels: usize, width: usize) -> Vec<Vec<&mut [T]>> {
    let channels = values.len() / voxels;
    let mut lines: Vec<Vec<&mut [T]>> = (0..voxels / width)
        .map(|_| Vec::with_capacity(channels))
        .collect();
    for channel in values.chunks_mut(voxels) {
        for (line, part) in lines.iter_mut().zip(channel.chunks_mut(width)) {
            line.push(part);
        }
    }
    lines
}

/// Whether a file begins as gzip or as a NIfTI header does; an affine transform begins as neither.
fn looks_like_an_image(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    file.take(4)
        .read_to_end(&mut head)
        .map_err(|e| Error::io(path, "read", e))?;
    let size = 348i32;
    Ok(head.starts_with(&[0x1f, 0x8b]) || head == size.to_le_bytes() || head == size.to_be_bytes())
}
