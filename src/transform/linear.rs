//! Rigid, similarity and affine maps by their parameters.

use crate::{Affine, Error, Result};

/// How free a linear map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinearKind {
    /// Rotation and translation.
    Rigid,
    /// Rigid and one scale for all directions.
    Similarity,
    /// Any matrix of positive determinant and translation.
    Affine,
}

impl LinearKind {
    /// All kinds, with rising freedom.
    pub const ALL: [Self; 3] = [Self::Rigid, Self::Similarity, Self::Affine];

    /// Name in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rigid => "rigid",
            Self::Similarity => "similarity",
            Self::Affine => "affine",
        }
    }
}

/// Maps of one kind about a centre, as exponentials of their parameters.
///
/// With parameters `p`, the generator `G(p)` is a matrix `L(p)` and a translation `t(p)`, and the map is
/// `x -> c + exp(G(p)) (x - c)`. Parameters are, in this order: one angle about each axis of rotation (one in 2D, those
/// about x, y and z in 3D), in radians; the logarithm of the scale (similarity); or instead of both the entries of `L`,
/// row by row (affine); then the translation, mm. So there are 3, 4 and 6 in 2D, and 6, 7 and 12 in 3D.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linear {
    kind: LinearKind,
    rank: usize,
    centre: [f64; 3],
}

impl Linear {
    /// Maps of a kind about `centre`, in two or three dimensions.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a rank other than 2 and 3, and for a centre that is not finite.
    pub fn new(kind: LinearKind, rank: usize, centre: [f64; 3]) -> Result<Self> {
        if !(2..=3).contains(&rank) {
            return Err(Error::argument(
                "rank",
                format!("must be 2 or 3, got {rank}"),
            ));
        }
        if !centre.iter().all(|c| c.is_finite()) {
            return Err(Error::argument(
                "centre",
                format!("must be finite, got {centre:?}"),
            ));
        }
        Ok(Self { kind, rank, centre })
    }

    /// How many parameters there are.
    pub fn parameters(&self) -> usize {
        self.matrices() + self.rank
    }

    fn rotations(&self) -> usize {
        if self.rank == 2 {
            1
        } else {
            3
        }
    }

    /// Parameters that act on the matrix.
    fn matrices(&self) -> usize {
        match self.kind {
            LinearKind::Rigid => self.rotations(),
            LinearKind::Similarity => self.rotations() + 1,
            LinearKind::Affine => self.rank * self.rank,
        }
    }

    /// The derivative of the generator along parameter `k`.
    fn generator(&self, k: usize) -> Affine {
        let mut g = Affine::new([[0.0; 3]; 3], [0.0; 3]);
        let matrices = self.matrices();
        if k >= matrices {
            g.translation[k - matrices] = 1.0;
        } else if self.kind == LinearKind::Affine {
            g.matrix[k / self.rank][k % self.rank] = 1.0;
        } else if k == self.rotations() {
            for a in 0..self.rank {
                g.matrix[a][a] = 1.0;
            }
        } else {
            // about z in the plane; about x, y and z in space
            let axis = if self.rank == 2 { 2 } else { k };
            let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
            g.matrix[b][a] = 1.0;
            g.matrix[a][b] = -1.0;
        }
        g
    }

    /// The map with these parameters.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not [`Linear::parameters`] of them.
    pub fn affine(&self, parameters: &[f64]) -> Result<Affine> {
        if parameters.len() != self.parameters() {
            return Err(Error::Shape {
                what: "parameters",
                expected: vec![self.parameters()],
                got: vec![parameters.len()],
            });
        }
        let mut sum = Affine::new([[0.0; 3]; 3], [0.0; 3]);
        for (k, p) in parameters.iter().enumerate() {
            let g = self.generator(k);
            for a in 0..3 {
                sum.translation[a] += p * g.translation[a];
                for b in 0..3 {
                    sum.matrix[a][b] += p * g.matrix[a][b];
                }
            }
        }
        Ok(self.about_centre(&Affine::exp(&sum)))
    }

    fn about_centre(&self, map: &Affine) -> Affine {
        Affine::shift(self.centre)
            .compose(map)
            .compose(&Affine::shift(self.centre.map(|c| -c)))
    }

    /// The derivative of [`Linear::affine`] at zero along each parameter: of the matrix and of the translation.
    pub fn derivatives(&self) -> Vec<Affine> {
        (0..self.parameters())
            .map(|k| {
                let g = self.generator(k);
                let turned = g.apply_vector(self.centre);
                Affine::new(
                    g.matrix,
                    std::array::from_fn(|a| g.translation[a] - turned[a]),
                )
            })
            .collect()
    }
}
