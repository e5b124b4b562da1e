//! Where a tensor lies decides which twin of an operator runs: the one for the CPU, or the one for a GPU.
//!
//! A twin for GPUs is a kernel in `kernels/` and the Rust that launches it, `cuda.rs` in the operator's folder. It is built
//! with the feature `cuda`, and in tests, where the kernels run on the host.

mod choice;

#[cfg(any(feature = "cuda", test))]
mod argument;
#[cfg(any(feature = "cuda", test))]
mod cache;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(feature = "cuda", test))]
mod doubles;
#[cfg(test)]
mod emulator;
#[cfg(any(feature = "cuda", test))]
mod geometry;
#[cfg(any(feature = "cuda", test))]
mod launcher;
#[cfg(test)]
mod nvrtc;
#[cfg(any(feature = "cuda", test))]
mod pieces;
#[cfg(feature = "cuda")]
mod pool;
#[cfg(any(feature = "cuda", test))]
mod precision;
#[cfg(any(feature = "cuda", test))]
mod source;
#[cfg(test)]
mod stage;
#[cfg(any(feature = "cuda", test))]
mod stored;

use candle_core::{Device, DeviceLocation};

use crate::{Error, Result};

pub use choice::{DeviceChoice, Opened};

#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use argument::{Argument, Plain};
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use doubles::Doubles;
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use geometry::{rank, Size, Weights};
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use launcher::Launcher;
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use pieces::Pieces;
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use precision::{with_precision, Precision};
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use source::Source;
#[cfg(test)]
pub(crate) use stage::{noise, noise_in, Stage, PRECISIONS};
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use stored::Stored;

/// Returns what the twin for GPUs says where `$tensor` lies on one.
macro_rules! twin {
    ($tensor:expr, $launcher:ident => $work:expr) => {
        #[cfg(any(feature = "cuda", test))]
        if let Some($launcher) = $crate::ops::device::Launcher::of($tensor) {
            return $work;
        }
    };
}
pub(in crate::ops) use twin;

/// Whether the twins for the CPU run for tensors of a device.
pub(crate) fn is_cpu(device: &Device) -> bool {
    #[cfg(test)]
    if emulator::is_on() {
        return false;
    }
    matches!(device, Device::Cpu)
}

/// Calls `work`, which takes tensors of the CPU alone, beside work on a device: there the twins for the CPU run.
pub(crate) fn on_host<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(test)]
    return emulator::suspended(work);
    #[cfg(not(test))]
    work()
}

/// The name of a device, as on the command line.
pub(crate) fn device_name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// The error itself, or [`Error::CudaMemory`] where it says that memory ran out on the device.
pub(crate) fn of_device(error: Error, device: &Device) -> Error {
    match error {
        Error::Tensor(source) if source.to_string().contains("OUT_OF_MEMORY") => {
            Error::CudaMemory {
                device: device_name(device),
                source,
            }
        }
        other => other,
    }
}

/// Whether `what` would fit into the memory that is free on a device, as far as that is known.
///
/// # Errors
/// [`Error::Memory`], with the remedy, when it would not.
pub(crate) fn check_memory(device: &Device, what: &str, remedy: &str, needed: u64) -> Result<()> {
    match free_memory(device) {
        Some(free) => fits(&device_name(device), what, remedy, needed, free),
        None => Ok(()),
    }
}

fn fits(device: &str, what: &str, remedy: &str, needed: u64, free: u64) -> Result<()> {
    if needed <= free {
        return Ok(());
    }
    Err(Error::Memory {
        what: format!("{what} on {device} ({remedy})"),
        needed,
        limit: free,
    })
}

/// Memory that is free on a device, in bytes; none where it is not known.
pub(crate) fn free_memory(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => pool::free_memory(device),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said_before() {
        assert!(fits("cuda:0", "a level", "use less", 10, 10).is_ok());
        let error = fits("cuda:1", "a level", "use less", 11, 10).unwrap_err();
        assert!(matches!(
            error,
            Error::Memory {
                needed: 11,
                limit: 10,
                ..
            }
        ));
        for word in ["cuda:1", "a level", "use less"] {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
