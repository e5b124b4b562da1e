//! The 348 bytes of a NIfTI-1 header, in one byte order, and their meaning.

use super::element::ElementType;
use crate::{Affine, Grid};

const PIXDIM: usize = 76;
const QUATERNION: usize = 256;
const OFFSETS: usize = 268;
const SROW: usize = 280;

/// A NIfTI-1 header, kept whole so that what the library does not understand survives.
///
/// The bytes are little-endian whatever the file's order was.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NiftiHeader([u8; Self::BYTES]);

/// Fields of several bytes: offset, bytes each, how many.
const WIDE: [(usize, usize, usize); 13] = [
    (0, 4, 1),
    (32, 4, 1),
    (36, 2, 1),
    (40, 2, 8),
    (56, 4, 3),
    (68, 2, 4),
    (PIXDIM, 4, 8),
    (108, 4, 3),
    (120, 2, 1),
    (124, 4, 6),
    (252, 2, 2),
    (QUATERNION, 4, 6),
    (SROW, 4, 12),
];

impl NiftiHeader {
    pub const BYTES: usize = 348;

    /// A header from a file's first bytes, and whether the file is big-endian. The error says what they are instead.
    pub fn parse(bytes: &[u8]) -> Result<(Self, bool), String> {
        let Some(head) = bytes.first_chunk::<{ Self::BYTES }>() else {
            return Err(format!(
                "not a NIfTI file: {} bytes, a header needs {}; the file is empty or was cut off",
                bytes.len(),
                Self::BYTES
            ));
        };
        let size = [head[0], head[1], head[2], head[3]];
        let big = match (i32::from_le_bytes(size), i32::from_be_bytes(size)) {
            (348, _) => false,
            (_, 348) => true,
            (540, _) | (_, 540) => {
                return Err(
                    "a NIfTI-2 file; only NIfTI-1 is read: convert it, for example with \
                            `nifti_tool -convert2dtype` or nibabel's `Nifti1Image.from_image`"
                        .into(),
                )
            }
            (found, _) => {
                return Err(format!(
                    "not a NIfTI file: the first number is {found}, expected 348"
                ))
            }
        };
        let mut header = Self(*head);
        if big {
            for (offset, width, count) in WIDE {
                for field in header.0[offset..offset + width * count].chunks_exact_mut(width) {
                    field.reverse();
                }
            }
        }
        Ok((header, big))
    }

    /// A header for a new file on `grid`: sform and qform both of code 1, millimetres.
    pub fn for_grid(grid: &Grid) -> Self {
        let mut header = Self([0; Self::BYTES]);
        header.0[0..4].copy_from_slice(&348i32.to_le_bytes());
        header.0[38] = b'r';
        header.0[344..348].copy_from_slice(b"n+1\0");
        for axis in 0..8 {
            header.set_float(PIXDIM + 4 * axis, 1.0);
        }
        header.0[123] = 2;
        header.set_geometry(grid);
        header
    }

    pub fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    fn short(&self, offset: usize) -> i16 {
        i16::from_le_bytes([self.0[offset], self.0[offset + 1]])
    }

    fn set_short(&mut self, offset: usize, value: i16) {
        self.0[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn float(&self, offset: usize) -> f32 {
        let b = &self.0[offset..offset + 4];
        f32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }

    fn set_float(&mut self, offset: usize, value: f32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn text(&self, offset: usize, length: usize) -> String {
        let bytes = &self.0[offset..offset + length];
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(length);
        String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
    }

    pub fn magic(&self) -> [u8; 4] {
        [self.0[344], self.0[345], self.0[346], self.0[347]]
    }

    pub fn dims(&self) -> [i16; 8] {
        std::array::from_fn(|a| self.short(40 + 2 * a))
    }

    pub fn datatype(&self) -> i16 {
        self.short(70)
    }

    pub fn bitpix(&self) -> i16 {
        self.short(72)
    }

    pub fn pixdim(&self) -> [f32; 8] {
        std::array::from_fn(|a| self.float(PIXDIM + 4 * a))
    }

    pub fn vox_offset(&self) -> f32 {
        self.float(108)
    }

    /// Slope and intercept as they stand in the file.
    pub fn stored_scale(&self) -> (f32, f32) {
        (self.float(112), self.float(116))
    }

    /// Slope and intercept where they say something: not with a slope of 0 or one that is not finite.
    pub fn scale(&self) -> Option<(f64, f64)> {
        let (slope, inter) = self.stored_scale();
        let inter = if inter.is_finite() { inter } else { 0.0 };
        (slope.is_finite() && slope != 0.0 && (slope, inter) != (1.0, 0.0))
            .then_some((f64::from(slope), f64::from(inter)))
    }

    pub fn space_units(&self) -> u8 {
        self.0[123] & 7
    }

    pub fn intent(&self) -> i16 {
        self.short(68)
    }

    pub fn description(&self) -> String {
        self.text(148, 80)
    }

    pub fn qform_code(&self) -> i16 {
        self.short(252)
    }

    pub fn sform_code(&self) -> i16 {
        self.short(254)
    }

    /// The quaternion's parts b, c, d.
    pub fn quaternion(&self) -> [f64; 3] {
        std::array::from_fn(|a| f64::from(self.float(QUATERNION + 4 * a)))
    }

    pub fn qform_offset(&self) -> [f64; 3] {
        std::array::from_fn(|a| f64::from(self.float(OFFSETS + 4 * a)))
    }

    /// The sform: index to world.
    pub fn sform(&self) -> Affine {
        let entry = |r: usize, c: usize| f64::from(self.float(SROW + 16 * r + 4 * c));
        Affine::new(
            std::array::from_fn(|r| std::array::from_fn(|c| entry(r, c))),
            std::array::from_fn(|r| entry(r, 3)),
        )
    }

    /// Turns lengths in another unit into millimetres, wherever they stand.
    pub fn scale_lengths(&mut self, factor: f64) {
        let lengths = (1..4)
            .map(|a| PIXDIM + 4 * a)
            .chain((0..3).map(|a| OFFSETS + 4 * a))
            .chain((0..12).map(|a| SROW + 4 * a));
        for offset in lengths {
            self.set_float(offset, (f64::from(self.float(offset)) * factor) as f32);
        }
        self.0[123] = self.0[123] & !7 | 2;
    }

    /// Spacings of 0 become 1, as ITK reads them.
    pub fn mend_zero_spacing(&mut self) {
        for offset in (1..4).map(|a| PIXDIM + 4 * a) {
            if self.float(offset) == 0.0 {
                self.set_float(offset, 1.0);
            }
        }
    }

    /// Sets what depends on the numbers that follow: their type and shape; scale 1, data at byte 352.
    pub fn set_data(&mut self, dims: &[usize], element: ElementType) {
        self.set_short(40, dims.len() as i16);
        for axis in 0..7 {
            let size = dims.get(axis).copied().unwrap_or(1);
            // Sizes were checked against i16 by the writer.
            self.set_short(42 + 2 * axis, size as i16);
            if axis >= 3 {
                self.set_float(PIXDIM + 4 * (axis + 1), 1.0);
            }
        }
        self.set_short(70, code_of(element));
        self.set_short(72, 8 * element.bytes() as i16);
        self.set_float(108, 352.0);
        self.set_float(112, 1.0);
        self.set_float(116, 0.0);
        self.set_float(124, 0.0);
        self.set_float(128, 0.0);
        self.0[344..348].copy_from_slice(b"n+1\0");
    }

    pub fn set_intent(&mut self, code: i16) {
        for parameter in 0..3 {
            self.set_float(56 + 4 * parameter, 0.0);
        }
        self.set_short(68, code);
        self.0[328..344].fill(0);
    }

    /// Writes a grid into sform and qform; codes that were 0 become 1.
    pub fn set_geometry(&mut self, grid: &Grid) {
        let map = grid.index_to_world();
        for (axis, spacing) in grid.spacing().iter().enumerate() {
            self.set_float(PIXDIM + 4 * (axis + 1), *spacing as f32);
        }
        for r in 0..3 {
            for c in 0..3 {
                self.set_float(SROW + 16 * r + 4 * c, map.matrix[r][c] as f32);
            }
            self.set_float(SROW + 16 * r + 12, map.translation[r] as f32);
            self.set_float(OFFSETS + 4 * r, map.translation[r] as f32);
        }
        let mut rotation = grid.direction();
        let flipped = Affine::new(rotation, [0.0; 3]).determinant() < 0.0;
        if flipped {
            for row in &mut rotation {
                row[2] = -row[2];
            }
        }
        self.set_float(PIXDIM, if flipped { -1.0 } else { 1.0 });
        for (part, value) in quaternion_of(&rotation).into_iter().enumerate() {
            self.set_float(QUATERNION + 4 * part, value as f32);
        }
        for code in [252, 254] {
            let kept = self.short(code).max(1);
            self.set_short(code, kept);
        }
    }
}

/// The parts b, c, d of the unit quaternion with `a >= 0` of a rotation.
fn quaternion_of(r: &[[f64; 3]; 3]) -> [f64; 3] {
    // The largest of the four parts is taken from the diagonal, the others from sums and differences across it.
    let squares = [
        1.0 + r[0][0] + r[1][1] + r[2][2],
        1.0 + r[0][0] - r[1][1] - r[2][2],
        1.0 - r[0][0] + r[1][1] - r[2][2],
        1.0 - r[0][0] - r[1][1] + r[2][2],
    ];
    let largest = (0..4).fold(0, |a, b| if squares[b] > squares[a] { b } else { a });
    let w = 2.0 * squares[largest].sqrt();
    let (x, y, z) = (r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]);
    let (xy, xz, yz) = (r[0][1] + r[1][0], r[0][2] + r[2][0], r[1][2] + r[2][1]);
    let [a, b, c, d] = match largest {
        0 => [w / 4.0, x / w, y / w, z / w],
        1 => [x / w, w / 4.0, xy / w, xz / w],
        2 => [y / w, xy / w, w / 4.0, yz / w],
        _ => [z / w, xz / w, yz / w, w / 4.0],
    };
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    let length = (a * a + b * b + c * c + d * d).sqrt();
    [b, c, d].map(|v| sign * v / length)
}

/// The NIfTI code of a type.
fn code_of(element: ElementType) -> i16 {
    match element {
        ElementType::U8 => 2,
        ElementType::I16 => 4,
        ElementType::I32 => 8,
        ElementType::F32 => 16,
        ElementType::F64 => 64,
        ElementType::I8 => 256,
        ElementType::U16 => 512,
        ElementType::U32 => 768,
        ElementType::I64 => 1024,
        ElementType::U64 => 1280,
    }
}

/// The type of a NIfTI code; the error names what it is instead.
pub(super) fn element_of(code: i16) -> Result<ElementType, String> {
    Ok(match code {
        2 => ElementType::U8,
        4 => ElementType::I16,
        8 => ElementType::I32,
        16 => ElementType::F32,
        64 => ElementType::F64,
        256 => ElementType::I8,
        512 => ElementType::U16,
        768 => ElementType::U32,
        1024 => ElementType::I64,
        1280 => ElementType::U64,
        other => {
            let (name, remedy) = match other {
                128 => ("RGB24 (colour)", "convert it to grey first"),
                2304 => ("RGBA32 (colour)", "convert it to grey first"),
                32 | 1792 | 2048 => ("complex", "take its magnitude or real part first"),
                1536 => ("128-bit float", "convert it to float32 first"),
                1 => ("1-bit binary", "convert it to uint8 first"),
                0 => ("unknown", "the header is damaged or was never filled in"),
                _ => ("no type that NIfTI-1 defines", "the header is damaged"),
            };
            return Err(format!(
                "datatype {other} is {name}; integers of 8 to 64 bits, float32 and float64 are read: {remedy}"
            ));
        }
    })
}
