//! Room for sums.

use candle_core::{DType, Tensor};

use super::{Argument, Launcher};
use crate::Result;

/// Doubles that one kernel leaves for another.
pub(in crate::ops) struct Doubles(Tensor);

impl Doubles {
    /// Room for so many, which a kernel must fill.
    pub fn new(launcher: &Launcher, count: usize) -> Result<Self> {
        Ok(Self(launcher.empty(&[count], DType::F64)?))
    }

    /// To be read.
    pub fn input(&self) -> Result<Argument> {
        Argument::input_of(&self.0, DType::F64, self.0.elem_count())
    }

    /// To be written.
    pub fn output(&self) -> Result<Argument> {
        Argument::output_of(&self.0, DType::F64, self.0.elem_count())
    }
}
