//! The one error type of the crate.

use std::path::{Path, PathBuf};

/// Result with the crate's [`Error`] as default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, with what was expected, what was found and a remedy.
///
/// A solve that does not converge is *not* an error; it is a [`Status`](crate::Status).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has another shape than the operation needs.
    #[error("{what}: expected shape {expected:?}, got {got:?}")]
    Shape {
        /// Name of the argument.
        what: &'static str,
        /// Shape that was needed.
        expected: Vec<usize>,
        /// Shape that was found.
        got: Vec<usize>,
    },
    /// Two things that must lie on one grid do not.
    #[error("{what}: the grids differ: expected {expected}, got {got}; resample one onto the other first")]
    GridMismatch {
        /// What was compared.
        what: String,
        /// Description of the grid that was needed.
        expected: String,
        /// Description of the grid that was found.
        got: String,
    },
    /// An argument has a value that makes no sense.
    #[error("{name}: {reason}")]
    InvalidArgument {
        /// Name of the argument or flag.
        name: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A file could not be read, written, created or renamed.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done ("read", "write", ...).
        action: &'static str,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A file was read but its contents are not what its format promises.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Expected, found and remedy.
        reason: String,
    },
    /// Image contents that cannot be registered (NaN, constant, no overlap, empty mask).
    #[error("{what}: {reason}")]
    Data {
        /// Which image, mask or file.
        what: String,
        /// Expected, found and remedy.
        reason: String,
    },
    /// A computation would not fit into memory.
    #[error("{what}: needs {needed} bytes, {limit} allowed")]
    Memory {
        /// What was to be allocated.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A GPU was asked of a program that was built without support for it.
    #[error("device cuda: this program was built without CUDA; build it with --features cuda, or use --device cpu")]
    CudaNotBuilt,
    /// There is no GPU, or what its use needs is not installed.
    #[error("device cuda: no usable GPU: {reason}; see what nvidia-smi says, or use --device cpu")]
    NoCudaDevice {
        /// What was found.
        reason: String,
    },
    /// There are fewer GPUs.
    #[error("device cuda:{index}: there is no such GPU: {count} are here, counted from 0")]
    CudaIndex {
        /// The GPU that was asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The driver is older than the compiler of the kernels.
    #[error("device cuda:{index}: the driver knows CUDA {driver}, NVRTC compiles for {compiler}; update the driver, install an older NVRTC, or use --device cpu")]
    CudaDriver {
        /// The GPU that was asked for.
        index: usize,
        /// The newest version that the driver knows.
        driver: String,
        /// The version of the compiler.
        compiler: String,
    },
    /// A kernel could not be compiled, loaded or launched.
    #[error("CUDA kernel {kernel}: {reason}")]
    CudaKernel {
        /// Which one.
        kernel: String,
        /// The compiler's or the driver's own words.
        reason: String,
    },
    /// Memory ran out on a GPU.
    #[error(
        "device {device}: out of memory; use a coarser last level (--levels 4x2), or --device cpu"
    )]
    CudaMemory {
        /// Which GPU.
        device: String,
        /// What the tensor engine says.
        source: candle_core::Error,
    },
    /// Something has no twin for GPUs.
    #[error("{what} cannot run on a GPU yet; use --device cpu")]
    NotOnDevice {
        /// What was asked for.
        what: String,
    },
    /// The user asked to stop (Ctrl-C); no output was left half-written.
    #[error("interrupted")]
    Interrupted,
    /// An error of the tensor engine.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// [`Error::InvalidArgument`] in one word.
    pub fn argument(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument {
            name: name.into(),
            reason: reason.into(),
        }
    }

    /// [`Error::Format`] in one word.
    pub fn format(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Format {
            path: path.as_ref().to_path_buf(),
            reason: reason.into(),
        }
    }

    /// [`Error::Data`] in one word.
    pub fn data(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Data {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// [`Error::NotOnDevice`] in one word.
    pub fn on_device(what: impl Into<String>) -> Self {
        Self::NotOnDevice { what: what.into() }
    }

    /// [`Error::Io`] in one word.
    pub fn io(path: impl AsRef<Path>, action: &'static str, source: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_path_buf(),
            action,
            source,
        }
    }
}
