//! Which device a user asks for.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::{Error, Result};

/// Where a registration is solved: `cpu`, `cuda`, `cuda:1` or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// The GPU of this number, counted from 0.
    Cuda(usize),
    /// The first GPU, or the processor where none can be used.
    Auto,
}

/// A device that is ready.
#[derive(Debug)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// Why it is not a GPU though one would have been taken.
    pub instead: Option<Error>,
}

impl DeviceChoice {
    /// Makes the device ready: for a GPU, compiles and runs a first kernel on it.
    ///
    /// # Errors
    /// For a GPU that was asked for by number, and never for the others: [`Error::CudaNotBuilt`], [`Error::NoCudaDevice`],
    /// [`Error::CudaIndex`], [`Error::CudaDriver`] and [`Error::CudaKernel`].
    pub fn open(self) -> Result<Opened> {
        let cpu = |instead| Opened {
            device: Device::Cpu,
            instead,
        };
        match self {
            Self::Cpu => Ok(cpu(None)),
            Self::Cuda(index) => Ok(Opened {
                device: gpu(index)?,
                instead: None,
            }),
            Self::Auto => Ok(match gpu(0) {
                Ok(device) => Opened {
                    device,
                    instead: None,
                },
                Err(error) => cpu(Some(error)),
            }),
        }
    }
}

#[cfg(feature = "cuda")]
fn gpu(index: usize) -> Result<Device> {
    super::cuda::open(index)
}

#[cfg(not(feature = "cuda"))]
fn gpu(_index: usize) -> Result<Device> {
    Err(Error::CudaNotBuilt)
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = match text {
            "cpu" => return Ok(Self::Cpu),
            "auto" => return Ok(Self::Auto),
            "cuda" => return Ok(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        index
            .map(Self::Cuda)
            .ok_or_else(|| "expected cpu, cuda, cuda:N or auto".into())
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        for (word, choice) in [
            ("cpu", DeviceChoice::Cpu),
            ("auto", DeviceChoice::Auto),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:12", DeviceChoice::Cuda(12)),
        ] {
            assert_eq!(word.parse(), Ok(choice));
            assert_eq!(choice.to_string(), word);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for bad in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(bad.parse::<DeviceChoice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_there_is_named_or_made_do_without() {
        let auto = DeviceChoice::Auto.open().unwrap();
        assert_eq!(auto.instead.is_some(), auto.device.is_cpu());
        assert!(DeviceChoice::Cpu.open().unwrap().instead.is_none());
        let far = DeviceChoice::Cuda(10_000).open().unwrap_err();
        assert!(
            matches!(
                far,
                Error::CudaNotBuilt | Error::NoCudaDevice { .. } | Error::CudaIndex { .. }
            ),
            "{far}"
        );
    }
}
