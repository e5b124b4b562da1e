//! What the numbers of an ITK transform mean.

use crate::Affine;

/// ITK's transform as it stands in a file: its name, its parameters, and its fixed parameters (the centre).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ItkTransform {
    pub kind: String,
    pub parameters: Vec<f64>,
    pub fixed: Vec<f64>,
}

type Matrix = [[f64; 3]; 3];

impl ItkTransform {
    pub fn named(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            parameters: Vec::new(),
            fixed: Vec::new(),
        }
    }

    /// The dimension that the name ends with, as in `AffineTransform_double_3_3`.
    pub fn rank(&self) -> Option<usize> {
        match self.kind.rsplit('_').next() {
            Some("2") => Some(2),
            Some("3") => Some(3),
            _ => None,
        }
    }

    /// The affine transform about the world's origin that is `map` in RAS.
    pub fn from_ras(map: &Affine, rank: usize) -> Self {
        let lps = flip(map);
        let matrix = (0..rank).flat_map(|r| lps.matrix[r][..rank].to_vec());
        Self {
            kind: format!("AffineTransform_double_{rank}_{rank}"),
            parameters: matrix.chain(lps.translation[..rank].to_vec()).collect(),
            fixed: vec![0.0; rank],
        }
    }

    /// The map in RAS mm; the error says why there is none.
    pub fn to_ras(&self) -> Result<Affine, String> {
        let rank = self.rank().ok_or_else(|| {
            format!(
                "the transform is called {:?}, expected a name such as AffineTransform_double_3_3",
                self.kind
            )
        })?;
        if !self
            .parameters
            .iter()
            .chain(&self.fixed)
            .all(|v| v.is_finite())
        {
            return Err(format!("{} has parameters that are not finite", self.kind));
        }
        let name = self.kind.split('_').next().unwrap_or_default();
        let p = &self.parameters;
        let expect = |count: usize| {
            if p.len() == count {
                Ok(())
            } else {
                Err(format!(
                    "{} should have {count} parameters, found {}",
                    self.kind,
                    p.len()
                ))
            }
        };
        let (matrix, shift) = match (name, rank) {
            ("AffineTransform" | "MatrixOffsetTransformBase", _) => {
                expect(rank * (rank + 1))?;
                let mut matrix = Affine::identity().matrix;
                for r in 0..rank {
                    matrix[r][..rank].copy_from_slice(&p[r * rank..(r + 1) * rank]);
                }
                (matrix, &p[rank * rank..])
            }
            ("TranslationTransform", _) => {
                expect(rank)?;
                (Affine::identity().matrix, &p[..])
            }
            ("Euler2DTransform" | "Rigid2DTransform", 2) => {
                expect(3)?;
                (turn(2, p[0]), &p[1..])
            }
            ("Euler3DTransform", 3) => {
                expect(6)?;
                let [x, y, z] = [turn(0, p[0]), turn(1, p[1]), turn(2, p[2])];
                // A fourth fixed parameter says in which order the turns follow.
                let zyx = self.fixed.get(3).is_some_and(|flag| *flag != 0.0);
                let inner = if zyx { multiply(&y, &x) } else { multiply(&x, &y) };
                (multiply(&z, &inner), &p[3..])
            }
            ("VersorRigid3DTransform", 3) => {
                expect(6)?;
                (versor([p[0], p[1], p[2]])?, &p[3..])
            }
            _ => {
                return Err(format!(
                    "{} is not supported; affine, rigid (Euler, versor) and translation transforms are: \
                     convert it to an AffineTransform, or give a displacement field",
                    self.kind
                ))
            }
        };
        let centre = match (name, self.fixed.len()) {
            ("TranslationTransform", _) | (_, 0) => [0.0; 3],
            (_, n) if n >= rank => embed(&self.fixed[..rank]),
            (_, n) => {
                return Err(format!(
                    "{} should have {rank} fixed parameters (its centre), found {n}",
                    self.kind
                ))
            }
        };
        Ok(flip(
            &Affine::shift(embed(shift)).compose(&Affine::about(matrix, centre)),
        ))
    }
}

/// From LPS to RAS or back: both x and y change their sign.
fn flip(map: &Affine) -> Affine {
    let sign = [-1.0, -1.0, 1.0];
    Affine::new(
        std::array::from_fn(|r| std::array::from_fn(|c| sign[r] * sign[c] * map.matrix[r][c])),
        // + 0.0 keeps a zero from being written as -0.
        std::array::from_fn(|r| sign[r] * map.translation[r] + 0.0),
    )
}

fn embed(numbers: &[f64]) -> [f64; 3] {
    std::array::from_fn(|a| numbers.get(a).copied().unwrap_or(0.0))
}

fn multiply(a: &Matrix, b: &Matrix) -> Matrix {
    Affine::new(*a, [0.0; 3])
        .compose(&Affine::new(*b, [0.0; 3]))
        .matrix
}

/// The turn about an axis, right-handed.
fn turn(axis: usize, angle: f64) -> Matrix {
    let (sin, cos) = angle.sin_cos();
    let (b, c) = ((axis + 1) % 3, (axis + 2) % 3);
    let mut matrix = Affine::identity().matrix;
    matrix[b][b] = cos;
    matrix[c][c] = cos;
    matrix[b][c] = -sin;
    matrix[c][b] = sin;
    matrix
}

/// The turn of a unit quaternion, given by its vector part.
fn versor([x, y, z]: [f64; 3]) -> Result<Matrix, String> {
    let square = x * x + y * y + z * z;
    if square > 1.0 + 1e-9 {
        return Err(format!(
            "the versor ({x}, {y}, {z}) is longer than 1; the file is damaged"
        ));
    }
    let w = (1.0 - square).max(0.0).sqrt();
    Ok([
        [
            1.0 - 2.0 * (y * y + z * z),
            2.0 * (x * y - z * w),
            2.0 * (x * z + y * w),
        ],
        [
            2.0 * (x * y + z * w),
            1.0 - 2.0 * (x * x + z * z),
            2.0 * (y * z - x * w),
        ],
        [
            2.0 * (x * z - y * w),
            2.0 * (y * z + x * w),
            1.0 - 2.0 * (x * x + y * y),
        ],
    ])
}
