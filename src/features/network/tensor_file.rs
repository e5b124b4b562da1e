//! Named tensors in a file, with a description: the safetensors format.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{SafeTensorError, TensorView};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::image::write_bytes;
use crate::ops::read;
use crate::{Error, Result};

/// The one entry of the file's metadata: a JSON text. One entry, because several would change order from file to file.
const KEY: &str = "stillpoint";

/// Writes tensors of single or double precision and a description as a safetensors file: whole or not at all, and the
/// same bytes for the same contents.
///
/// The description is the entry `stillpoint` of the file's metadata, as JSON.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written, [`Error::InvalidArgument`] for other element types.
pub fn write_tensors(
    path: impl AsRef<Path>,
    tensors: &[(String, Tensor)],
    description: &Value,
) -> Result<()> {
    let path = path.as_ref();
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let tensor = tensor.contiguous()?.to_device(&Device::Cpu)?;
        let (kind, bytes) = match tensor.dtype() {
            DType::F32 => (
                Dtype::F32,
                read::<f32, _>(&tensor, |v| little_endian(v, |v| v.to_le_bytes()))?,
            ),
            DType::F64 => (
                Dtype::F64,
                read::<f64, _>(&tensor, |v| little_endian(v, |v| v.to_le_bytes()))?,
            ),
            other => {
                return Err(Error::argument(
                    name.as_str(),
                    format!("expected elements of F32 or F64, got {other:?}"),
                ))
            }
        };
        stored.push((name, kind, tensor.dims().to_vec(), bytes));
    }
    let broken = |e: SafeTensorError| Error::format(path, format!("cannot be written: {e}"));
    let views = stored
        .iter()
        .map(|(name, kind, dims, bytes)| {
            Ok((name.as_str(), TensorView::new(*kind, dims.clone(), bytes)?))
        })
        .collect::<std::result::Result<Vec<_>, SafeTensorError>>()
        .map_err(broken)?;
    let metadata = HashMap::from([(KEY.to_owned(), description.to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(broken)?;
    write_bytes(path, &bytes)
}

/// Reads a file whose description says `format` and holds a `D`; `kind` is what the file is to be, for messages.
pub(crate) fn read_described<D: DeserializeOwned>(
    path: &Path,
    format: &str,
    kind: &str,
) -> Result<(Vec<(String, Tensor)>, D)> {
    parse_described(path, &contents(path)?, format, kind)
}

/// [`read_described`] of a file's bytes.
pub(crate) fn parse_described<D: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    format: &str,
    kind: &str,
) -> Result<(Vec<(String, Tensor)>, D)> {
    let (tensors, description) = parse_tensors(path, bytes)?;
    if description.get("format").and_then(|f| f.as_str()) != Some(format) {
        return Err(Error::format(
            path,
            format!("its description does not say '{format}': not a {kind}"),
        ));
    }
    let description = serde_json::from_value(description)
        .map_err(|e| Error::format(path, format!("its description cannot be understood: {e}")))?;
    Ok((tensors, description))
}

/// The first entry in which two descriptions differ, by its path, with the expected value and the found one.
pub(crate) fn difference(expected: &Value, found: &Value) -> Option<(String, String, String)> {
    let (Some(a), Some(b)) = (expected.as_object(), found.as_object()) else {
        return (expected != found)
            .then(|| (String::new(), expected.to_string(), found.to_string()));
    };
    a.keys().chain(b.keys()).find_map(|key| {
        let (inner, expected, found) = difference(&expected[key.as_str()], &found[key.as_str()])?;
        let name = match inner.as_str() {
            "" => key.clone(),
            inner => format!("{key}.{inner}"),
        };
        Some((name, expected, found))
    })
}

fn little_endian<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&v| bytes(v)).collect()
}

/// Reads what [`write_tensors`] wrote: tensors in the order of their names, and the description.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Format`] when it is cut off, is not a safetensors file, has no
/// description, or holds numbers that are not finite.
pub fn read_tensors(path: impl AsRef<Path>) -> Result<(Vec<(String, Tensor)>, Value)> {
    let path = path.as_ref();
    parse_tensors(path, &contents(path)?)
}

fn contents(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(path, "read", e))
}

/// [`read_tensors`] of a file's bytes.
fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<(Vec<(String, Tensor)>, Value)> {
    let fail = |reason: String| Err(Error::format(path, reason));
    let (header, metadata) = match SafeTensors::read_metadata(bytes) {
        Ok(found) => found,
        Err(error) => return fail(refusal(&error, bytes)),
    };
    let expected = 8 + header + metadata.data_len();
    if bytes.len() != expected {
        return fail(format!(
            "is cut off or was added to: expected {expected} bytes, found {}; copy or write it again",
            bytes.len()
        ));
    }
    let entry = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let Some(text) = entry else {
        return fail(format!(
            "has no entry '{KEY}' in its metadata: not written by this program"
        ));
    };
    let description = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(e) => {
            return fail(format!(
                "the entry '{KEY}' of its metadata is not JSON: {e}"
            ))
        }
    };
    let file = match SafeTensors::deserialize(bytes) {
        Ok(file) => file,
        Err(error) => return fail(refusal(&error, bytes)),
    };
    let mut tensors = Vec::with_capacity(file.len());
    for (name, view) in file.tensors() {
        let values: Vec<f64> = match view.dtype() {
            Dtype::F32 => view
                .data()
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                .collect(),
            Dtype::F64 => view
                .data()
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                .collect(),
            other => {
                return fail(format!(
                    "tensor '{name}': expected elements of F32 or F64, found {other:?}"
                ))
            }
        };
        if values.iter().any(|v| !v.is_finite()) {
            return fail(format!("tensor '{name}' holds numbers that are not finite"));
        }
        let kind = if view.dtype() == Dtype::F32 {
            DType::F32
        } else {
            DType::F64
        };
        let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu)?.to_dtype(kind)?;
        tensors.push((name, tensor));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((tensors, description))
}

/// Why the header cannot be read.
fn refusal(error: &SafeTensorError, bytes: &[u8]) -> String {
    let promised = bytes
        .first_chunk::<8>()
        .map(|b| u64::from_le_bytes(*b).saturating_add(8));
    match (error, promised) {
        (SafeTensorError::HeaderTooSmall, _) => {
            format!("is cut off: only {} bytes", bytes.len())
        }
        (SafeTensorError::InvalidHeaderLength, Some(promised)) => format!(
            "is cut off, or is not a safetensors file: a header of {promised} bytes is promised, the file has {}",
            bytes.len()
        ),
        (SafeTensorError::MetadataIncompleteBuffer, _) => {
            "is cut off or was added to: its tensors do not fill it; copy or write it again".into()
        }
        _ => format!("is not a safetensors file: {error}"),
    }
}
