//! Affine maps of three-dimensional space.

use crate::{Error, Result};

/// The map `y = A x + t` of three-dimensional space.
///
/// Two-dimensional maps are embedded: third row and column those of the identity.
/// What `x` and `y` are (indices, world millimetres) is said where a map is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// The linear part `A`, row by row.
    pub matrix: [[f64; 3]; 3],
    /// The translation `t`.
    pub translation: [f64; 3],
}

impl Default for Affine {
    fn default() -> Self {
        Self::identity()
    }
}

impl Affine {
    /// The map that moves nothing.
    pub const fn identity() -> Self {
        Self {
            matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            translation: [0.0; 3],
        }
    }

    /// The map with these parts.
    pub const fn new(matrix: [[f64; 3]; 3], translation: [f64; 3]) -> Self {
        Self {
            matrix,
            translation,
        }
    }

    /// A pure translation.
    pub const fn shift(translation: [f64; 3]) -> Self {
        Self {
            matrix: Self::identity().matrix,
            translation,
        }
    }

    /// The linear map `A` about a fixed point: `y = A (x - centre) + centre`.
    pub fn about(matrix: [[f64; 3]; 3], centre: [f64; 3]) -> Self {
        let moved = multiply_vector(&matrix, centre);
        Self {
            matrix,
            translation: std::array::from_fn(|i| centre[i] - moved[i]),
        }
    }

    /// The image of a point.
    pub fn apply(&self, point: [f64; 3]) -> [f64; 3] {
        let moved = multiply_vector(&self.matrix, point);
        std::array::from_fn(|i| moved[i] + self.translation[i])
    }

    /// The image of a vector: the linear part alone.
    pub fn apply_vector(&self, vector: [f64; 3]) -> [f64; 3] {
        multiply_vector(&self.matrix, vector)
    }

    /// `self` after `inner`: `x -> self(inner(x))`.
    pub fn compose(&self, inner: &Self) -> Self {
        Self {
            matrix: multiply(&self.matrix, &inner.matrix),
            translation: self.apply(inner.translation),
        }
    }

    /// Determinant of the linear part.
    pub fn determinant(&self) -> f64 {
        let m = &self.matrix;
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    }

    /// The inverse map.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the linear part is singular (relative to its size) or not finite.
    pub fn inverse(&self) -> Result<Self> {
        let m = &self.matrix;
        let scale = m.iter().flatten().fold(0.0f64, |a, v| a.max(v.abs()));
        let det = self.determinant();
        if !det.is_finite() || det.abs() <= 1e-12 * scale.powi(3) {
            return Err(Error::argument(
                "affine",
                format!("the matrix {m:?} is singular (determinant {det:e}) and has no inverse"),
            ));
        }
        let minor = |r: usize, c: usize| {
            let (r0, r1) = ((r + 1) % 3, (r + 2) % 3);
            let (c0, c1) = ((c + 1) % 3, (c + 2) % 3);
            m[r0][c0] * m[r1][c1] - m[r0][c1] * m[r1][c0]
        };
        let matrix: [[f64; 3]; 3] =
            std::array::from_fn(|r| std::array::from_fn(|c| minor(c, r) / det));
        let moved = multiply_vector(&matrix, self.translation);
        Ok(Self {
            matrix,
            translation: moved.map(|v| -v),
        })
    }

    /// The exponential of the generator `[[a, b], [0, 0]]`, by scaling and squaring with a Taylor series.
    ///
    /// With a skew `a` the result is rigid, with a skew `a` plus a multiple of the identity a similarity.
    pub fn exp(generator: &Self) -> Self {
        let size = generator
            .matrix
            .iter()
            .flatten()
            .fold(0.0f64, |a, v| a.max(v.abs()));
        let squarings = if size > 0.25 {
            (size / 0.25).log2().ceil() as u32
        } else {
            0
        };
        let factor = 0.5f64.powi(squarings as i32);
        let a = generator.matrix.map(|row| row.map(|v| v * factor));
        let b = generator.translation.map(|v| v * factor);
        // [exp(a), phi(a) b] with phi(a) = sum a^k / (k+1)!
        let mut term = Self::identity().matrix;
        let mut sum = term;
        let mut phi = term;
        let mut factorial = 1.0;
        for k in 1..=18 {
            term = multiply(&term, &a);
            factorial *= f64::from(k);
            for r in 0..3 {
                for c in 0..3 {
                    sum[r][c] += term[r][c] / factorial;
                    phi[r][c] += term[r][c] / (factorial * f64::from(k + 1));
                }
            }
        }
        let mut map = Self {
            matrix: sum,
            translation: multiply_vector(&phi, b),
        };
        for _ in 0..squarings {
            map = map.compose(&map);
        }
        map
    }

    /// The largest distance between the images of the corners of a box under two maps.
    pub fn distance_over(&self, other: &Self, corners: &[[f64; 3]]) -> f64 {
        corners
            .iter()
            .map(|&corner| distance(self.apply(corner), other.apply(corner)))
            .fold(0.0, f64::max)
    }
}

/// Euclidean distance of two points.
pub(crate) fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
}

pub(crate) fn multiply(a: &[[f64; 3]; 3], b: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| a[r][k] * b[k][c]).sum()))
}

pub(crate) fn multiply_vector(a: &[[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|r| (0..3).map(|k| a[r][k] * v[k]).sum())
}
