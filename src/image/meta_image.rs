//! Reading MetaImage files (`.mha`, and `.mhd` with `.raw` or `.zraw`).

use std::collections::HashMap;
use std::path::Path;

use super::element::{self, ElementType, Encoding};
use super::gzip::MOST_PER_BYTE;
use super::labels::Labels;
use super::source::Source;
use super::values::{check_memory, no_label, non_finite};
use super::volume::{Image, ImageOptions};
use crate::{Error, Grid, Result};

/// A header longer than this is none.
const LONGEST_HEADER: usize = 1 << 16;

/// A checked MetaImage header.
pub(super) struct MetaImage<'a> {
    pub grid: Grid,
    pub encoding: Encoding,
    pub dims: Vec<usize>,
    /// Volumes, one behind the other in the file.
    pub volumes: usize,
    /// Numbers of one voxel, side by side in the file.
    pub components: usize,
    pub compressed: bool,
    data: Source<'a>,
    offset: u64,
    /// Bytes of the compressed data, where the header or the file's end tells.
    packed: Option<u64>,
}

/// Whether a file's first bytes are those of a MetaImage header.
pub(super) fn is_meta_image(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&head[..head.len().min(512)]);
    ["ObjectType", "NDims", "Comment"]
        .iter()
        .any(|key| text.trim_start().starts_with(key))
        && text.contains('=')
}

struct Fields<'p> {
    path: &'p Path,
    found: HashMap<String, String>,
}

impl Fields<'_> {
    fn text(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .find_map(|n| self.found.get(*n))
            .map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str> {
        self.text(&[name]).ok_or_else(|| {
            self.bad(format!(
                "MetaImage header without {name}; the header is damaged"
            ))
        })
    }

    fn bad(&self, reason: impl Into<String>) -> Error {
        Error::format(self.path, reason)
    }

    /// The numbers of the first of `names` that is there; `count` of them.
    fn numbers<T: std::str::FromStr>(
        &self,
        names: &[&str],
        count: usize,
    ) -> Result<Option<Vec<T>>> {
        let Some(text) = self.text(names) else {
            return Ok(None);
        };
        let numbers: Option<Vec<T>> = text.split_whitespace().map(|t| t.parse().ok()).collect();
        match numbers {
            Some(numbers) if numbers.len() == count => Ok(Some(numbers)),
            _ => Err(self.bad(format!(
                "MetaImage header: {} should be {count} numbers, found {text:?}",
                names[0]
            ))),
        }
    }

    fn flag(&self, names: &[&str]) -> bool {
        self.text(names)
            .is_some_and(|t| t.starts_with(['T', 't', 'Y', 'y', '1']))
    }
}

impl<'a> MetaImage<'a> {
    /// Reads and checks the header.
    pub fn open(mut source: Source<'a>) -> Result<Self> {
        let path = source.path.clone();
        let head = source.head(LONGEST_HEADER)?;
        let (fields, end) = parse(&path, &head)?;
        let rank = match fields.numbers::<usize>(&["NDims"], 1)? {
            Some(n) if (2..=4).contains(&n[0]) => n[0],
            other => {
                return Err(fields.bad(format!(
                    "MetaImage header: NDims should be 2, 3 or 4, found {other:?}"
                )))
            }
        };
        let dims = match fields.numbers::<usize>(&["DimSize"], rank)? {
            Some(d) if d.iter().all(|n| (1..1 << 20).contains(n)) => d,
            other => {
                return Err(fields.bad(format!(
                    "MetaImage header: DimSize should be {rank} positive sizes, found {other:?}"
                )))
            }
        };
        let components = fields
            .numbers::<usize>(&["ElementNumberOfChannels"], 1)?
            .map_or(1, |n| n[0]);
        if !(1..=1 << 15).contains(&components) {
            return Err(fields.bad(format!(
                "MetaImage header: ElementNumberOfChannels is {components}"
            )));
        }
        if fields.text(&["BinaryData"]).is_some() && !fields.flag(&["BinaryData"]) {
            return Err(fields.bad("MetaImage with its numbers as text (BinaryData = False) is not read; save it as binary"));
        }
        let encoding = Encoding {
            element: element_of(&fields)?,
            big_endian: fields.flag(&["ElementByteOrderMSB", "BinaryDataByteOrderMSB"]),
            scale: None,
        };
        let grid = grid(&fields, rank, &dims)?;
        let compressed = fields.flag(&["CompressedData"]);
        let header_size = fields
            .numbers::<i64>(&["HeaderSize"], 1)?
            .map_or(0, |n| n[0]);
        let mut packed = fields
            .numbers::<u64>(&["CompressedDataSize"], 1)?
            .map(|n| n[0]);
        let name = fields.required("ElementDataFile")?;
        let (data, mut offset) = if name.eq_ignore_ascii_case("LOCAL") {
            (source, end as u64)
        } else if name.starts_with("LIST") || name.contains('%') {
            return Err(fields.bad(format!(
                "MetaImage over several files (ElementDataFile = {name}) is not read; save it as one .mha"
            )));
        } else if source.is_file() {
            let beside = path.parent().unwrap_or(Path::new("")).join(name);
            (Source::open(&beside)?, header_size.max(0) as u64)
        } else {
            return Err(fields.bad(format!(
                "MetaImage with its numbers in another file ({name}), which cannot be read from memory"
            )));
        };
        let promised = dims.iter().map(|d| *d as u128).product::<u128>()
            * (components * encoding.element.bytes()) as u128;
        if promised > 1 << 48 {
            return Err(fields.bad(format!(
                "MetaImage header: DimSize {dims:?} promises {promised} bytes; the header is damaged"
            )));
        }
        if let Some(length) = data.length() {
            if header_size == -1 && !compressed {
                offset = length.saturating_sub(promised as u64);
            }
            let left = length.saturating_sub(offset);
            packed = Some(packed.map_or(left, |p| p.min(left)));
        }
        Ok(Self {
            grid,
            encoding,
            volumes: dims.get(3).copied().unwrap_or(1),
            dims,
            components,
            compressed,
            data,
            offset,
            packed,
        })
    }

    fn bad(&self, reason: String) -> Error {
        Error::format(&self.data.path, reason)
    }

    /// Which of the numbers at each voxel, or which volumes, to read: the first and how many.
    pub fn choose(&self, options: &ImageOptions) -> Result<(usize, usize)> {
        let parts = self.volumes * self.components;
        match options.volume {
            Some(volume) if volume < parts => Ok((volume, 1)),
            Some(volume) => Err(self.bad(format!(
                "volume {volume} was asked for, but it has {parts}, counted from 0"
            ))),
            None if parts == 1
                || options.channels && (self.volumes == 1 || self.components == 1) =>
            {
                Ok((0, parts))
            }
            None => Err(self.bad(format!(
                "holds {} volumes of {} numbers a voxel, expected one; name the volume to use \
                 (`--fixed-volume` or `--moving-volume` of `register`, `--volume` of `apply`)",
                self.volumes, self.components
            ))),
        }
    }

    /// The chosen numbers' bytes, planar.
    fn bytes(&mut self, (first, count): (usize, usize), memory_limit: u64) -> Result<Vec<u8>> {
        let width = self.encoding.element.bytes();
        let voxels = self.grid.voxels();
        let all = voxels * self.volumes * self.components * width;
        check_memory(
            &self.data.path,
            2 * all as u64 + 4 * (voxels * count) as u64,
            memory_limit,
        )?;
        let raw = if self.compressed {
            self.inflate(all)?
        } else {
            self.data.with_range(self.offset, all, <[u8]>::to_vec)?
        };
        if self.components == 1 {
            let each = voxels * width;
            return Ok(raw[first * each..(first + count) * each].to_vec());
        }
        let per_voxel = self.components * width;
        let mut planar = Vec::with_capacity(count * voxels * width);
        for part in first..first + count {
            let (volume, component) = (part / self.components, part % self.components);
            let place = component * width;
            for voxel in raw[volume * voxels * per_voxel..]
                .chunks_exact(per_voxel)
                .take(voxels)
            {
                planar.extend_from_slice(&voxel[place..place + width]);
            }
        }
        Ok(planar)
    }

    fn inflate(&mut self, expected: usize) -> Result<Vec<u8>> {
        let Some(packed) = self.packed else {
            return Err(
                self.bad("a compressed MetaImage inside gzip is not read; unpack it first".into())
            );
        };
        if expected as u64 > packed.saturating_mul(MOST_PER_BYTE) {
            return Err(self.bad(format!(
                "the header promises {expected} bytes, but {packed} compressed bytes cannot hold them; \
                 the header is damaged or the file was cut off"
            )));
        }
        let unpacked = self
            .data
            .with_range(self.offset, packed as usize, |bytes| {
                let mut out = vec![0; expected];
                libdeflater::Decompressor::new()
                    .zlib_decompress(bytes, &mut out)
                    .map(|length| (length, out))
            })?;
        match unpacked {
            Ok((length, out)) if length == expected => Ok(out),
            Ok((length, _)) => Err(self.bad(format!(
                "too short: the header promises {expected} bytes, the compressed data holds {length}"
            ))),
            Err(error) => Err(self.bad(format!(
                "corrupted or truncated compressed data ({error}); copy or download it again"
            ))),
        }
    }

    /// The values chosen by `which`, planar.
    pub fn values(&mut self, which: (usize, usize), options: &ImageOptions) -> Result<Vec<f32>> {
        let bytes = self.bytes(which, options.memory_limit)?;
        let (values, found) = element::to_f32(&bytes, self.encoding);
        if found.count > 0 && !options.allow_non_finite {
            return Err(non_finite(&self.data.path, &self.grid, found));
        }
        Ok(values)
    }

    /// Reads an image.
    pub fn image(mut self, options: &ImageOptions) -> Result<Image> {
        let which = self.choose(options)?;
        let values = self.values(which, options)?;
        Ok(Image::from_file(
            self.grid,
            which.1,
            values,
            None,
            Vec::new(),
        ))
    }

    /// Reads labels.
    pub fn labels(mut self, options: &ImageOptions) -> Result<Labels> {
        let which = self.choose(options)?;
        if which.1 > 1 {
            return Err(self.bad(format!(
                "holds {} numbers a voxel, expected one label; name the volume to use",
                which.1
            )));
        }
        let bytes = self.bytes(which, options.memory_limit)?;
        let values = element::to_labels(&bytes, self.encoding)
            .map_err(|offender| no_label(&self.data.path, &self.grid, offender))?;
        Ok(Labels::from_file(self.grid, values, None, Vec::new()))
    }
}

/// The header's fields, and the byte behind it.
fn parse<'p>(path: &'p Path, head: &[u8]) -> Result<(Fields<'p>, usize)> {
    let mut fields = Fields {
        path,
        found: HashMap::new(),
    };
    let mut start = 0;
    while let Some(length) = head[start..].iter().position(|b| *b == b'\n') {
        let line = String::from_utf8_lossy(&head[start..start + length]);
        start += length + 1;
        let Some((key, value)) = line.split_once('=') else {
            if line.trim().is_empty() {
                continue;
            }
            return Err(fields.bad(format!(
                "MetaImage header: expected `Key = Value`, found {:?}",
                line.chars().take(60).collect::<String>()
            )));
        };
        let key = key.trim().to_owned();
        let last = key == "ElementDataFile";
        fields.found.insert(key, value.trim().to_owned());
        if last {
            return Ok((fields, start));
        }
    }
    // Without a line end behind it, the last line can only name another file.
    let line = String::from_utf8_lossy(&head[start..]);
    if let Some(("ElementDataFile", name)) = line.split_once('=').map(|(k, v)| (k.trim(), v.trim()))
    {
        fields
            .found
            .insert("ElementDataFile".into(), name.to_owned());
        return Ok((fields, head.len()));
    }
    Err(fields.bad("MetaImage header without ElementDataFile; the file was cut off or is damaged"))
}

fn element_of(fields: &Fields<'_>) -> Result<ElementType> {
    Ok(match fields.required("ElementType")? {
        "MET_UCHAR" => ElementType::U8,
        "MET_CHAR" | "MET_ASCII_CHAR" => ElementType::I8,
        "MET_USHORT" => ElementType::U16,
        "MET_SHORT" => ElementType::I16,
        "MET_UINT" | "MET_ULONG" => ElementType::U32,
        "MET_INT" | "MET_LONG" => ElementType::I32,
        "MET_ULONG_LONG" => ElementType::U64,
        "MET_LONG_LONG" => ElementType::I64,
        "MET_FLOAT" => ElementType::F32,
        "MET_DOUBLE" => ElementType::F64,
        other => {
            return Err(fields.bad(format!(
                "MetaImage ElementType {other} is not read; integers of 8 to 64 bits, MET_FLOAT and MET_DOUBLE are"
            )))
        }
    })
}

/// The grid, from LPS as the file has it to RAS.
fn grid(fields: &Fields<'_>, rank: usize, dims: &[usize]) -> Result<Grid> {
    let spacing = fields
        .numbers::<f64>(&["ElementSpacing", "ElementSize"], rank)?
        .unwrap_or_else(|| vec![1.0; rank]);
    let offset = fields
        .numbers::<f64>(&["Offset", "Position", "Origin"], rank)?
        .unwrap_or_else(|| vec![0.0; rank]);
    let axes =
        fields.numbers::<f64>(&["TransformMatrix", "Rotation", "Orientation"], rank * rank)?;
    let space = rank.min(3);
    let flat = if dims.get(2).copied().unwrap_or(1) == 1 {
        2
    } else {
        3
    };
    let mut origin = [0.0; 3];
    let mut direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for r in 0..space {
        let flip = if r < 2 { -1.0 } else { 1.0 };
        origin[r] = flip * offset[r];
        for c in 0..space {
            // The file lists axis by axis: column c of the direction is its row c.
            let cosine = axes
                .as_ref()
                .map_or(f64::from(u8::from(r == c)), |a| a[c * rank + r]);
            direction[r][c] = flip * cosine;
        }
    }
    if flat == 2 {
        // A slice of a volume lies in the plane of its own axes, as far as they are x and y.
        origin[2] = 0.0;
        for a in 0..3 {
            direction[2][a] = 0.0;
            direction[a][2] = 0.0;
        }
        direction[2][2] = 1.0;
    }
    Grid::new(&dims[..flat], &spacing[..flat], origin, direction)
        .map_err(|e| fields.bad(format!("geometry: {e}")))
}
