//! Affine transforms in ITK's files: `.mat` (MATLAB 4) and `.txt` or `.tfm` (text).

use std::path::Path;

use super::itk_transform::ItkTransform;
use super::output::write_whole;
use crate::{Affine, Error, Result};

/// A transform file is never larger.
const LARGEST: u64 = 1 << 20;

/// Reads an affine transform that ITK or ANTs wrote, for images of rank 2 or 3.
///
/// The file holds `y = A (x - c) + c + t` in LPS, fixed points to moving points; the result is the same map in RAS mm.
/// Read are affine, rigid (Euler, versor) and translation transforms, in single or double precision.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Format`] when it holds something else or is damaged.
pub fn read_affine(path: impl AsRef<Path>, rank: usize) -> Result<Affine> {
    let path = path.as_ref();
    let about = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
    let bytes = if about.len() <= LARGEST {
        std::fs::read(path).map_err(|e| Error::io(path, "read", e))?
    } else {
        Vec::new()
    };
    let bad = |reason: String| Error::format(path, reason);
    if bytes.starts_with(b"\x89HDF") || path.extension().is_some_and(|e| e == "h5") {
        return Err(bad(
            "composite transforms (HDF5) are not supported; take it apart with ANTs' CompositeTransformUtil \
             --disassemble and give the .mat and the warp one by one"
                .into(),
        ));
    }
    if about.len() > LARGEST {
        return Err(bad(format!(
            "has {} bytes, too many for an affine transform; is it an image or a displacement field?",
            about.len()
        )));
    }
    let transform = if bytes.starts_with(b"#Insight Transform File") {
        from_text(&String::from_utf8_lossy(&bytes))
    } else {
        from_matlab(&bytes)
    }
    .map_err(bad)?;
    let map = transform.to_ras().map_err(bad)?;
    if transform.rank() != Some(rank) {
        return Err(bad(format!(
            "{} is a transform of another dimension; the images have rank {rank}",
            transform.kind
        )));
    }
    map.inverse()
        .map_err(|e| bad(format!("cannot be used as a transform: {e}")))?;
    Ok(map)
}

/// Writes an affine transform (RAS mm, fixed points to moving points) as ITK and ANTs read it, in double precision
/// with centre 0: `.mat` as MATLAB 4, `.txt` and `.tfm` as text.
///
/// # Errors
/// [`Error::InvalidArgument`] for another ending or a rank other than 2 and 3; [`Error::Io`] when it cannot be written.
pub fn write_affine(path: impl AsRef<Path>, affine: &Affine, rank: usize) -> Result<()> {
    let path = path.as_ref();
    if !(2..=3).contains(&rank) {
        return Err(Error::argument(
            "rank",
            format!("must be 2 or 3, got {rank}"),
        ));
    }
    let transform = ItkTransform::from_ras(affine, rank);
    let ending = path
        .extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let bytes = match ending.as_str() {
        "mat" => to_matlab(&transform),
        "txt" | "tfm" => to_text(&transform),
        _ => {
            return Err(Error::argument(
                path.display().to_string(),
                "affine transforms are written as .mat, .txt or .tfm",
            ))
        }
    };
    write_whole(path, |out| out.write_all(&bytes))
}

fn from_text(text: &str) -> Result<ItkTransform, String> {
    let mut found: Vec<ItkTransform> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let numbers = || -> Result<Vec<f64>, String> {
            value
                .split_whitespace()
                .map(|t| {
                    t.parse()
                        .map_err(|_| format!("line {}: expected a number, found {t:?}", number + 1))
                })
                .collect()
        };
        match (key.trim(), found.last_mut()) {
            ("Transform", _) => found.push(ItkTransform::named(value.trim())),
            ("Parameters", Some(last)) => last.parameters = numbers()?,
            ("FixedParameters", Some(last)) => last.fixed = numbers()?,
            _ => {}
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err("no `Transform:` line; the file is damaged".into()),
        n => Err(format!(
            "holds {n} transforms, expected one affine; give them one by one"
        )),
    }
}

fn to_text(transform: &ItkTransform) -> Vec<u8> {
    let list = |numbers: &[f64]| {
        numbers
            .iter()
            .map(f64::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    format!(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: {}\nParameters: {}\nFixedParameters: {}\n",
        transform.kind,
        list(&transform.parameters),
        list(&transform.fixed)
    )
    .into_bytes()
}

/// MATLAB 4: matrices one after another, each five 32-bit numbers (type, rows, columns, imaginary, length of the
/// name), the name ended by 0, the numbers column by column.
fn from_matlab(bytes: &[u8]) -> Result<ItkTransform, String> {
    let strange = || {
        "not a transform that ITK writes (MATLAB 4 .mat or \"#Insight Transform File\"); FSL and FreeSurfer matrices must \
         be converted first, for example with c3d_affine_tool or lta_convert"
            .to_owned()
    };
    let cut = || "the file was cut off; copy it again".to_owned();
    let mut transform: Option<ItkTransform> = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        let head = rest.first_chunk::<20>().ok_or_else(strange)?;
        let little = i32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let big = !(0..100).contains(&little);
        let word = |i: usize| {
            let raw = [
                head[4 * i],
                head[4 * i + 1],
                head[4 * i + 2],
                head[4 * i + 3],
            ];
            if big {
                i32::from_be_bytes(raw)
            } else {
                i32::from_le_bytes(raw)
            }
        };
        let kind = word(0);
        let (width, single) = match kind % 1000 {
            0 => (8, false),
            10 => (4, true),
            _ => return Err(strange()),
        };
        let (rows, columns, imaginary, name) = (word(1), word(2), word(3), word(4));
        let sane = (0..2000).contains(&kind)
            && (0..=64).contains(&rows)
            && (columns == 1 || rows == 0)
            && imaginary == 0
            && (1..=128).contains(&name);
        if !sane {
            return Err(strange());
        }
        let (name, rows) = (name as usize, rows as usize);
        let body = rest.get(20..20 + name + rows * width).ok_or_else(cut)?;
        rest = &rest[20 + body.len()..];
        let (name, numbers) = body.split_at(name);
        let name = String::from_utf8_lossy(name);
        let name = name.trim_end_matches('\0');
        let numbers: Vec<f64> = numbers
            .chunks_exact(width)
            .map(|b| {
                let mut raw = [0; 8];
                raw[..width].copy_from_slice(b);
                if big {
                    raw[..width].reverse();
                }
                if single {
                    f64::from(f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]))
                } else {
                    f64::from_le_bytes(raw)
                }
            })
            .collect();
        match (&mut transform, name) {
            (Some(transform), "fixed") => transform.fixed = numbers,
            (None, kind) if kind != "fixed" => {
                let mut first = ItkTransform::named(kind);
                first.parameters = numbers;
                transform = Some(first);
            }
            _ => {
                return Err(format!(
                    "holds more than one transform (then {name}); give them one by one"
                ))
            }
        }
    }
    transform.ok_or_else(strange)
}

fn to_matlab(transform: &ItkTransform) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, numbers) in [
        (transform.kind.as_str(), &transform.parameters),
        ("fixed", &transform.fixed),
    ] {
        for word in [0, numbers.len(), 1, 0, name.len() + 1] {
            out.extend((word as i32).to_le_bytes());
        }
        out.extend(name.as_bytes());
        out.push(0);
        out.extend(numbers.iter().flat_map(|v| v.to_le_bytes()));
    }
    out
}
