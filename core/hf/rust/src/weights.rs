//! Headers of safetensors files, read and written by the reference crate. The data stays with C++,
//! which maps the file: nothing here copies a tensor.

use std::collections::{HashMap, HashSet};
use std::fmt;

use safetensors::tensor::{Dtype, Metadata, SafeTensorError, TensorInfo};
use safetensors::SafeTensors;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Bytes before the header: its length.
const LENGTH_BYTES: usize = 8;

/// One tensor of a file, in bytes from the file's first.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    dtype: Dtype,
    shape: &'a [usize],
    begin: usize,
    end: usize,
}

/// Checks the whole layout of `file` and returns its tensors as a JSON list, in name order.
pub fn read_layout(file: &[u8]) -> Result<String, String> {
    let (header, metadata) =
        SafeTensors::read_metadata(file).map_err(|error| explain(file, &error))?;
    let first = LENGTH_BYTES + header;
    let _: UniqueNames =
        serde_json::from_slice(&file[LENGTH_BYTES..first]).map_err(|error| error.to_string())?;
    let tensors = metadata.tensors();
    let mut entries: Vec<Entry> = tensors
        .iter()
        .map(|(name, info)| Entry {
            name,
            dtype: info.dtype,
            shape: &info.shape,
            begin: first + info.data_offsets.0,
            end: first + info.data_offsets.1,
        })
        .collect();
    entries.sort_by_key(|entry| entry.name);
    serde_json::to_string(&entries).map_err(|error| error.to_string())
}

/// A header in which no name stands twice. The crate lets the last one win where all of their
/// offsets agree, other readers may take the first.
struct UniqueNames;

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNames)
    }
}

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
            if seen.contains(&name) {
                return Err(A::Error::custom(format!(
                    "two tensors have the name {name:?}"
                )));
            }
            seen.insert(name);
        }
        Ok(self)
    }
}

/// Adds the numbers that the crate's error leaves out.
fn explain(file: &[u8], error: &SafeTensorError) -> String {
    let size = file.len();
    match error {
        SafeTensorError::HeaderTooSmall => {
            format!("the file has {size} bytes, less than the {LENGTH_BYTES} of a header's length")
        }
        SafeTensorError::HeaderTooLarge => format!(
            "its header claims {} bytes, more than any safetensors file may have",
            header_length(file)
        ),
        SafeTensorError::InvalidHeaderLength => format!(
            "its header claims {} bytes, but the file ends after {size}: it was cut short or is \
             not a safetensors file",
            header_length(file)
        ),
        SafeTensorError::MetadataIncompleteBuffer => match expected_size(file) {
            Some(expected) if expected > size => {
                format!("it was cut short: its header describes {expected} bytes, it has {size}")
            }
            Some(expected) => format!("its header describes {expected} bytes, but it has {size}"),
            None => error.to_string(),
        },
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor {name:?} overlaps another one or leaves a gap before it")
        }
        SafeTensorError::TensorInvalidInfo => match first_wrong_size(file) {
            Some(message) => message,
            None => error.to_string(),
        },
        _ => error.to_string(),
    }
}

fn header_length(file: &[u8]) -> u64 {
    let bytes = file
        .first_chunk::<LENGTH_BYTES>()
        .copied()
        .unwrap_or_default();
    u64::from_le_bytes(bytes)
}

/// The header's text; only called where the crate has found it within the file.
fn header(file: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(header_length(file)).ok()?;
    file.get(LENGTH_BYTES..LENGTH_BYTES.checked_add(length)?)
}

fn expected_size(file: &[u8]) -> Option<usize> {
    let header = header(file)?;
    let metadata: Metadata = serde_json::from_slice(header).ok()?;
    Some(LENGTH_BYTES + header.len() + metadata.data_len())
}

fn first_wrong_size(file: &[u8]) -> Option<String> {
    let tensors: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(header(file)?).ok()?;
    tensors
        .into_iter()
        .filter(|(name, _)| name != "__metadata__")
        .find_map(|(name, info)| {
            let info: TensorInfo = serde_json::from_value(info).ok()?;
            let (begin, end) = info.data_offsets;
            let elements = info
                .shape
                .iter()
                .try_fold(1usize, |n, &size| n.checked_mul(size))?;
            let wanted = elements.checked_mul(info.dtype.bitsize())? / 8;
            (end.checked_sub(begin) != Some(wanted)).then(|| {
                format!(
                    "tensor {name:?} of type {:?} and shape {:?} needs {wanted} bytes, but its \
                 offsets are {begin} to {end}",
                    info.dtype, info.shape
                )
            })
        })
}

/// A tensor to be written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
}

/// The length and header of a file that holds `tensors` (a JSON list) back to back in that order.
pub fn write_header(tensors: &str) -> Result<Vec<u8>, String> {
    let planned: Vec<Planned> = serde_json::from_str(tensors).map_err(|error| error.to_string())?;
    let mut begin = 0usize;
    let infos = planned
        .into_iter()
        .map(|tensor| {
            let end = begin + tensor.bytes;
            let data_offsets = (begin, end);
            begin = end;
            (
                tensor.name,
                TensorInfo {
                    dtype: tensor.dtype,
                    shape: tensor.shape,
                    data_offsets,
                },
            )
        })
        .collect();
    // transformers refuses files without this entry.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), infos).map_err(|error| error.to_string())?;

    let mut header = serde_json::to_vec(&metadata).map_err(|error| error.to_string())?;
    // Readers map the file: the data has to start aligned.
    header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut header);
    Ok(bytes)
}
