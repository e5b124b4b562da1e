//! Where a NIfTI header says its voxels lie: our reading, ITK's reading, and whether they agree.

use super::nifti_header::NiftiHeader;
use crate::{Affine, Grid, Result};

/// Readings further apart than this share of a voxel are told to the user.
const DISAGREEMENT: f64 = 0.1;

/// Cosines between axes beyond this are a shear.
const SHEAR: f64 = 1e-3;

/// ITK bears less (measured with 5.4).
const ITK_SHEAR: f64 = 1e-4;

/// A map from index to world, and the part of the header that it was taken from.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub map: Affine,
    pub from: String,
}

/// Both readings of one header, and the grid of ours.
pub(super) struct Geometry {
    pub grid: Grid,
    pub own: Reading,
    pub itk: Result<Reading, String>,
    pub warnings: Vec<String>,
}

/// Lengths in metres or micrometres become millimetres, in the header itself. Returns what was done.
pub(super) fn to_millimetres(header: &mut NiftiHeader) -> Option<String> {
    let (unit, factor) = match header.space_units() {
        1 => ("metres", 1e3),
        3 => ("micrometres", 1e-3),
        _ => return None,
    };
    header.scale_lengths(factor);
    Some(format!(
        "the header gives lengths in {unit} (xyzt_units); they were converted to mm, and outputs are in mm"
    ))
}

/// The grid of a header whose lengths are millimetres. `size` has the rank's length.
///
/// The error names what is wrong and the remedy, not the file.
pub(super) fn geometry(header: &NiftiHeader, size: &[usize]) -> Result<Geometry, String> {
    let rank = size.len();
    let mut warnings = Vec::new();
    let own = own_reading(header, rank, &mut warnings)?;
    let (spacing, direction, origin) = split(&own.map, rank);
    let in_plane = rank == 3 || is_in_plane(&own.map);
    let (direction, origin) = if in_plane {
        (direction, origin)
    } else {
        warnings.push(format!(
            "the slice does not lie in the x-y plane of the world ({}); it is registered in a plane of its own, \
             with its first axis as x and its second as y",
            show(&own.map.matrix)
        ));
        let along = |axis: usize| {
            (0..3)
                .map(|r| direction[r][axis] * own.map.translation[r])
                .sum()
        };
        (Affine::identity().matrix, [along(0), along(1), 0.0])
    };
    let grid = Grid::new(size, &spacing, origin, direction)
        .map_err(|error| format!("geometry: {error}"))?;
    if let Some(axis) = (0..rank).find(|a| !(1e-7..=1e5).contains(&spacing[*a])) {
        return Err(format!(
            "absurd geometry: the spacing along axis {axis} is {} mm ({}); mend the header's pixdim, sform or units",
            spacing[axis], own.from
        ));
    }
    let itk = itk_reading(header, rank);
    match &itk {
        Ok(itk) if in_plane => {
            let apart = corner_distance(&own.map, &itk.map, size);
            let smallest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
            if apart > DISAGREEMENT * smallest {
                warnings.push(format!(
                    "the header can be read in two ways: stillpoint uses the {}, ITK and ANTs use the {}; \
                     voxels lie up to {apart:.3} mm apart",
                    own.from, itk.from
                ));
            }
        }
        Ok(_) => {}
        Err(why) => warnings.push(format!(
            "stillpoint uses the {}; ITK and ANTs cannot read this geometry: {why}",
            own.from
        )),
    }
    Ok(Geometry {
        grid,
        own,
        itk,
        warnings,
    })
}

/// sform if its code is positive, else qform, else spacing alone.
fn own_reading(
    header: &NiftiHeader,
    rank: usize,
    warnings: &mut Vec<String>,
) -> Result<Reading, String> {
    if header.sform_code() > 0 {
        let map = header.sform();
        let Err(why) = check(&map, rank, SHEAR) else {
            return Ok(Reading {
                map,
                from: format!("sform (code {})", header.sform_code()),
            });
        };
        let why = format!(
            "the sform (code {}) {why}: {}",
            header.sform_code(),
            show(&map.matrix)
        );
        if header.qform_code() > 0 {
            if let Ok(map) = qform(header, rank) {
                warnings.push(format!(
                    "{why}; the qform (code {}) is used instead",
                    header.qform_code()
                ));
                return Ok(Reading {
                    map,
                    from: format!("qform (code {})", header.qform_code()),
                });
            }
        }
        return Err(format!(
            "{why}; a grid needs orthogonal axes: resample the image to an orthogonal grid first, or give it a valid qform"
        ));
    }
    if header.qform_code() > 0 {
        return Ok(Reading {
            map: qform(header, rank)?,
            from: format!("qform (code {})", header.qform_code()),
        });
    }
    let spacing = pixdim(header, rank)?;
    Ok(Reading {
        map: Affine::new(
            std::array::from_fn(|r| std::array::from_fn(|c| if r == c { spacing[r] } else { 0.0 })),
            [0.0; 3],
        ),
        from: "spacing alone (sform and qform codes are 0)".into(),
    })
}

/// What ITK 5.4 makes of a header; the error says why it refuses.
///
/// Spacing is always that of pixdim (0 means 1), also under an sform with another one.
fn itk_reading(header: &NiftiHeader, rank: usize) -> Result<Reading, String> {
    let mut header = header.clone();
    header.mend_zero_spacing();
    let header = &header;
    let spacing = pixdim(header, rank)?;
    let (scode, qcode) = (header.sform_code(), header.qform_code());
    let with_spacing = |direction: [[f64; 3]; 3], origin| {
        Affine::new(
            std::array::from_fn(|r| std::array::from_fn(|c| direction[r][c] * spacing[c])),
            origin,
        )
    };
    if scode <= 0 && qcode <= 0 {
        let lps = [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]];
        return Ok(Reading {
            map: with_spacing(lps, [0.0; 3]),
            from: "spacing alone with axes along L, P and S (codes are 0)".into(),
        });
    }
    let sform = header.sform();
    let orthonormal = scode > 0 && check(&sform, 3, ITK_SHEAR).is_ok();
    let quaternion = (qcode > 0).then(|| qform(header, rank));
    let agree = || matches!(&quaternion, Some(Ok(q)) if itk_agrees(&sform, q));
    if orthonormal && (quaternion.is_none() || scode == 1 || agree()) {
        let (_, direction, _) = split(&sform, rank);
        return Ok(Reading {
            map: with_spacing(direction, sform.translation),
            from: format!("sform (code {scode}) with the header's pixdim"),
        });
    }
    match quaternion {
        Some(Ok(map)) => Ok(Reading {
            map,
            from: format!("qform (code {qcode})"),
        }),
        Some(Err(why)) => Err(why),
        None => Err("its sform is not orthonormal and it has no qform".into()),
    }
}

/// Whether ITK takes two maps for the same: it compares offsets, spacings and axes, but not the axes' signs
/// (it looks at left singular vectors only).
fn itk_agrees(a: &Affine, b: &Affine) -> bool {
    let near = |x: f64, y: f64| (x - y).abs() <= 1e-4;
    let (length_a, length_b) = (lengths(a), lengths(b));
    (0..3).all(|c| {
        let cosine: f64 = (0..3).map(|r| a.matrix[r][c] * b.matrix[r][c]).sum();
        near(a.translation[c], b.translation[c])
            && near(length_a[c], length_b[c])
            && (0..3).all(|r| {
                near(
                    a.matrix[r][c] / length_a[c] * cosine.signum(),
                    b.matrix[r][c] / length_b[c],
                )
            })
    })
}

fn qform(header: &NiftiHeader, rank: usize) -> Result<Affine, String> {
    let spacing = pixdim(header, rank)?;
    let [mut b, mut c, mut d] = header.quaternion();
    let offset = header.qform_offset();
    if ![b, c, d].iter().chain(&offset).all(|v| v.is_finite()) {
        return Err(format!(
            "the qform (code {}) is not finite: quaternion {:?}, offset {offset:?}; mend the header or set a valid sform",
            header.qform_code(),
            [b, c, d]
        ));
    }
    let mut a = 1.0 - (b * b + c * c + d * d);
    if a < 1e-7 {
        // A half turn, or a quaternion longer than 1 through rounding.
        let length = (b * b + c * c + d * d).sqrt();
        (a, b, c, d) = (0.0, b / length, c / length, d / length);
    } else {
        a = a.sqrt();
    }
    let handed = if header.pixdim()[0] < 0.0 { -1.0 } else { 1.0 };
    let rotation = [
        [
            a * a + b * b - c * c - d * d,
            2.0 * (b * c - a * d),
            2.0 * (b * d + a * c),
        ],
        [
            2.0 * (b * c + a * d),
            a * a + c * c - b * b - d * d,
            2.0 * (c * d - a * b),
        ],
        [
            2.0 * (b * d - a * c),
            2.0 * (c * d + a * b),
            a * a + d * d - c * c - b * b,
        ],
    ];
    let factor = [spacing[0], spacing[1], handed * spacing[2]];
    Ok(Affine::new(
        rotation.map(|row| std::array::from_fn(|c| row[c] * factor[c])),
        offset,
    ))
}

/// The three spacings; beyond the rank, where many files hold nonsense, 1.
fn pixdim(header: &NiftiHeader, rank: usize) -> Result<[f64; 3], String> {
    let found = header.pixdim();
    let mut spacing = [1.0; 3];
    for axis in 0..rank {
        let value = f64::from(found[axis + 1]);
        if !value.is_finite() || !(1e-7..=1e5).contains(&value) {
            return Err(format!(
                "absurd pixdim: the spacing along axis {axis} is {value} mm in pixdim {:?}, expected a positive length; \
                 mend the header",
                &found[1..=rank]
            ));
        }
        spacing[axis] = value;
    }
    Ok(spacing)
}

/// Whether the first `rank` columns are finite, not zero and orthogonal.
fn check(map: &Affine, rank: usize, shear: f64) -> Result<(), String> {
    let finite = map
        .matrix
        .iter()
        .flatten()
        .chain(&map.translation)
        .all(|v| v.is_finite());
    if !finite {
        return Err("is not finite".into());
    }
    let lengths = lengths(map);
    if (0..rank).any(|c| lengths[c] < 1e-9) {
        return Err("is singular (an axis has length 0)".into());
    }
    for a in 0..rank {
        for b in 0..a {
            let dot: f64 = map.matrix.iter().map(|row| row[a] * row[b]).sum();
            let cosine = dot / (lengths[a] * lengths[b]);
            if cosine.abs() > 1.0 - 1e-6 {
                return Err(format!("is singular (axes {b} and {a} are parallel)"));
            }
            if cosine.abs() > shear {
                return Err(format!(
                    "has a shear (axes {b} and {a} meet at {:.2} degrees)",
                    cosine.acos().to_degrees()
                ));
            }
        }
    }
    if rank == 3 {
        let volume = map.determinant() / lengths.iter().product::<f64>();
        if volume.abs() < 0.5 {
            return Err("is singular".into());
        }
    }
    Ok(())
}

fn lengths(map: &Affine) -> [f64; 3] {
    std::array::from_fn(|c| {
        map.matrix
            .iter()
            .map(|row| row[c] * row[c])
            .sum::<f64>()
            .sqrt()
    })
}

fn is_in_plane(map: &Affine) -> bool {
    let lengths = lengths(map);
    (0..2).all(|c| (map.matrix[2][c] / lengths[c]).abs() < SHEAR)
}

/// Spacing, direction and origin of a map; in the plane for rank 2.
fn split(map: &Affine, rank: usize) -> (Vec<f64>, [[f64; 3]; 3], [f64; 3]) {
    let lengths = lengths(map);
    let mut direction = map
        .matrix
        .map(|row| std::array::from_fn(|c| row[c] / lengths[c]));
    let mut origin = map.translation;
    if rank == 2 && is_in_plane(map) {
        for a in 0..3 {
            direction[2][a] = 0.0;
            direction[a][2] = 0.0;
        }
        direction[2][2] = 1.0;
        origin[2] = 0.0;
    }
    (lengths[..rank].to_vec(), direction, origin)
}

/// The largest distance between the corners of a box of voxels under two maps, in the plane for rank 2.
fn corner_distance(a: &Affine, b: &Affine, size: &[usize]) -> f64 {
    (0..1usize << size.len())
        .map(|bits| {
            let corner = std::array::from_fn(|axis| match size.get(axis) {
                Some(n) if bits >> axis & 1 == 1 => (n - 1) as f64,
                _ => 0.0,
            });
            let (p, q) = (a.apply(corner), b.apply(corner));
            (0..size.len())
                .map(|r| (p[r] - q[r]).powi(2))
                .sum::<f64>()
                .sqrt()
        })
        .fold(0.0, f64::max)
}

/// The letters of the axes' directions, such as RAS or LPI.
pub(super) fn orientation(grid: &Grid) -> String {
    let direction = grid.direction();
    (0..grid.rank())
        .map(|axis| {
            let row = (0..3).fold(0, |best, r| {
                if direction[r][axis].abs() > direction[best][axis].abs() {
                    r
                } else {
                    best
                }
            });
            let letters = [['L', 'R'], ['P', 'A'], ['I', 'S']][row];
            letters[usize::from(direction[row][axis] > 0.0)]
        })
        .collect()
}

fn show(matrix: &[[f64; 3]; 3]) -> String {
    let rows: Vec<String> = matrix
        .iter()
        .map(|r| format!("[{:.5}, {:.5}, {:.5}]", r[0], r[1], r[2]))
        .collect();
    format!("matrix [{}]", rows.join(", "))
}
