//! In which precision elements are stored.

use candle_core::{DType, Tensor};

use super::{Argument, Launcher};
use crate::{Error, Result};

/// How a kernel's tensors are stored, which is part of its name: in the precision that it computes in, or in half of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) struct Stored {
    dtype: DType,
    /// Whether in half of the precision.
    pub half: bool,
}

impl Launcher {
    /// How a tensor is stored.
    ///
    /// # Errors
    /// [`Error::NotOnDevice`] for elements of neither type.
    pub fn stored(&self, tensor: &Tensor) -> Result<Stored> {
        let dtype = tensor.dtype();
        let precision = self.precision();
        if dtype != precision.dtype() && dtype != precision.half() {
            return Err(Error::on_device(format!(
                "an operator on elements of {dtype:?} beside {:?}",
                precision.dtype()
            )));
        }
        Ok(Stored {
            dtype,
            half: dtype == precision.half(),
        })
    }
}

impl Stored {
    /// The word in the names of kernels.
    pub fn name(self) -> &'static str {
        match self.half {
            false => "full",
            true => "half",
        }
    }

    /// A tensor of this storage that is read.
    pub fn input(self, tensor: &Tensor, elements: usize) -> Result<Argument> {
        Argument::input_of(tensor, self.dtype, elements)
    }

    /// A tensor of this storage that is written.
    pub fn output(self, tensor: &Tensor, elements: usize) -> Result<Argument> {
        Argument::output_of(tensor, self.dtype, elements)
    }
}
