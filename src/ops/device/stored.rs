//! In which precision elements are stored.

use candle_core::{DType, Tensor};

use super::Argument;
use crate::{Error, Result};

/// How a kernel's tensors are stored, which is part of its name; single precision computes either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Stored {
    /// Single precision.
    Full,
    /// Half precision: `Half` of kernels/prelude.cuh.
    Half,
}

impl Stored {
    /// That of a tensor.
    ///
    /// # Errors
    /// [`Error::NotOnDevice`] for any other.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        match tensor.dtype() {
            DType::F32 => Ok(Self::Full),
            DType::F16 => Ok(Self::Half),
            other => Err(Error::on_device(format!(
                "an operator on elements of {other:?}"
            ))),
        }
    }

    /// The word in the names of kernels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Half => "half",
        }
    }

    /// A tensor of this storage that is read.
    pub fn input(self, tensor: &Tensor, elements: usize) -> Result<Argument> {
        Argument::input_of(tensor, self.dtype(), elements)
    }

    /// A tensor of this storage that is written.
    pub fn output(self, tensor: &Tensor, elements: usize) -> Result<Argument> {
        Argument::output_of(tensor, self.dtype(), elements)
    }

    fn dtype(self) -> DType {
        match self {
            Self::Full => DType::F32,
            Self::Half => DType::F16,
        }
    }
}
