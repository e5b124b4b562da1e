//! The numbers in an image file: their types, and their conversion to what the library computes with.

use rayon::prelude::*;

/// The type of the numbers in an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementType {
    /// 8-bit unsigned.
    U8,
    /// 8-bit signed.
    I8,
    /// 16-bit unsigned.
    U16,
    /// 16-bit signed.
    I16,
    /// 32-bit unsigned.
    U32,
    /// 32-bit signed.
    I32,
    /// 64-bit unsigned.
    U64,
    /// 64-bit signed.
    I64,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl ElementType {
    /// Bytes of one number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The type's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// The smallest of u8, i16, u16 and i32 that holds all of these values, if they are whole and one of them does.
    pub(super) fn for_whole(values: &[f32]) -> Option<Self> {
        let (low, high) = values
            .par_chunks(CHUNK)
            .map(|part| {
                part.iter()
                    .fold((0.0f32, 0.0f32), |(low, high), v| match v.fract() == 0.0 {
                        true => (low.min(*v), high.max(*v)),
                        false => (f32::NEG_INFINITY, f32::INFINITY),
                    })
            })
            .reduce(|| (0.0, 0.0), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        [
            (Self::U8, 0.0, 255.0),
            (Self::I16, -32768.0, 32767.0),
            (Self::U16, 0.0, 65535.0),
            // The largest single-precision number below 2^31.
            (Self::I32, -2_147_483_648.0, 2_147_483_520.0),
        ]
        .into_iter()
        .find(|(_, least, most)| low >= *least && high <= *most)
        .map(|(kind, ..)| kind)
    }

    /// The smallest of u8, i16, u16, i32 and u32 that holds every label up to `largest`.
    pub(super) const fn for_labels(largest: u32) -> Self {
        match largest {
            0..=0xff => Self::U8,
            0x100..=0x7fff => Self::I16,
            0x8000..=0xffff => Self::U16,
            0x1_0000..=0x7fff_ffff => Self::I32,
            _ => Self::U32,
        }
    }
}

/// How stored bytes become values: type, byte order, and `value = slope * stored + intercept` where a scale is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoding {
    pub element: ElementType,
    pub big_endian: bool,
    pub scale: Option<(f64, f64)>,
}

/// Values that are NaN or infinite: how many, and where the first one is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NonFinite {
    pub count: usize,
    pub first: usize,
}

trait Element: Copy {
    const WIDTH: usize;
    fn little(bytes: &[u8]) -> Self;
    fn big(bytes: &[u8]) -> Self;
    fn single(self) -> f32;
    fn double(self) -> f64;
}

macro_rules! element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            const WIDTH: usize = size_of::<$t>();
            #[inline]
            fn little(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$t>()];
                raw.copy_from_slice(bytes);
                Self::from_le_bytes(raw)
            }
            #[inline]
            fn big(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$t>()];
                raw.copy_from_slice(bytes);
                Self::from_be_bytes(raw)
            }
            #[inline]
            fn single(self) -> f32 {
                self as f32
            }
            #[inline]
            fn double(self) -> f64 {
                self as f64
            }
        }
    )*};
}
element!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

macro_rules! by_type {
    ($element:expr, $f:ident ( $($arg:expr),* )) => {
        match $element {
            ElementType::U8 => $f::<u8>($($arg),*),
            ElementType::I8 => $f::<i8>($($arg),*),
            ElementType::U16 => $f::<u16>($($arg),*),
            ElementType::I16 => $f::<i16>($($arg),*),
            ElementType::U32 => $f::<u32>($($arg),*),
            ElementType::I32 => $f::<i32>($($arg),*),
            ElementType::U64 => $f::<u64>($($arg),*),
            ElementType::I64 => $f::<i64>($($arg),*),
            ElementType::F32 => $f::<f32>($($arg),*),
            ElementType::F64 => $f::<f64>($($arg),*),
        }
    };
}

const CHUNK: usize = 1 << 16;

/// Single-precision values of the stored bytes, and a count of those that are not finite.
pub(super) fn to_f32(bytes: &[u8], encoding: Encoding) -> (Vec<f32>, NonFinite) {
    by_type!(encoding.element, to_f32_of(bytes, encoding))
}

fn to_f32_of<T: Element>(bytes: &[u8], encoding: Encoding) -> (Vec<f32>, NonFinite) {
    let mut values = vec![0.0f32; bytes.len() / T::WIDTH];
    let found = values
        .par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * T::WIDTH))
        .enumerate()
        .map(|(chunk, (out, bytes))| {
            let stored = bytes.chunks_exact(T::WIDTH);
            match (encoding.big_endian, encoding.scale) {
                (false, None) => out
                    .iter_mut()
                    .zip(stored)
                    .for_each(|(v, b)| *v = T::little(b).single()),
                (true, None) => out
                    .iter_mut()
                    .zip(stored)
                    .for_each(|(v, b)| *v = T::big(b).single()),
                (false, Some((slope, inter))) => out
                    .iter_mut()
                    .zip(stored)
                    .for_each(|(v, b)| *v = (slope * T::little(b).double() + inter) as f32),
                (true, Some((slope, inter))) => out
                    .iter_mut()
                    .zip(stored)
                    .for_each(|(v, b)| *v = (slope * T::big(b).double() + inter) as f32),
            }
            // The sum of v * 0 is 0, unless one v is not finite: a test that vectorises.
            if out.iter().fold(0.0f32, |sum, v| sum + v * 0.0) == 0.0 {
                return NonFinite::default();
            }
            NonFinite {
                count: out.iter().filter(|v| !v.is_finite()).count(),
                first: chunk * CHUNK + out.iter().position(|v| !v.is_finite()).unwrap_or(out.len()),
            }
        })
        .reduce(NonFinite::default, |a, b| match (a.count, b.count) {
            (_, 0) => a,
            (0, _) => b,
            _ => NonFinite {
                count: a.count + b.count,
                first: a.first.min(b.first),
            },
        });
    (values, found)
}

/// Label numbers of the stored bytes, or the first value that is none: its position and itself.
pub(super) fn to_labels(bytes: &[u8], encoding: Encoding) -> Result<Vec<u32>, (usize, f64)> {
    by_type!(encoding.element, to_labels_of(bytes, encoding))
}

fn to_labels_of<T: Element>(bytes: &[u8], encoding: Encoding) -> Result<Vec<u32>, (usize, f64)> {
    let (slope, inter) = encoding.scale.unwrap_or((1.0, 0.0));
    let mut labels = vec![0u32; bytes.len() / T::WIDTH];
    let offender = labels
        .par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * T::WIDTH))
        .enumerate()
        .filter_map(|(chunk, (out, bytes))| {
            for (i, (label, b)) in out.iter_mut().zip(bytes.chunks_exact(T::WIDTH)).enumerate() {
                let stored = if encoding.big_endian {
                    T::big(b)
                } else {
                    T::little(b)
                };
                let value = slope * stored.double() + inter;
                *label = value as u32;
                if f64::from(*label) != value {
                    return Some((chunk * CHUNK + i, value));
                }
            }
            None
        })
        .min_by_key(|(index, _)| *index);
    offender.map_or(Ok(labels), Err)
}
