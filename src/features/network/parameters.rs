//! The trained numbers of a network, by name.

use candle_core::{DType, Device, Tensor, Var};

use crate::ops::combine;
use crate::{Error, Result, Rng};

/// Named variables in the order in which a network makes them. A clone shares the variables.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    entries: Vec<(String, Var)>,
}

impl Parameters {
    /// Variables with names that nothing else of theirs has.
    pub(crate) fn of(entries: Vec<(String, Var)>) -> Self {
        Self { entries }
    }

    /// These and others.
    pub(crate) fn joined(&self, others: &Self) -> Self {
        Self {
            entries: [self.entries.as_slice(), &others.entries].concat(),
        }
    }

    /// Names and variables, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.entries.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The variables alone, for an optimiser.
    pub fn variables(&self) -> Vec<Var> {
        self.entries.iter().map(|(_, var)| var.clone()).collect()
    }

    /// The variable of a name.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.iter().find(|(n, _)| *n == name).map(|(_, var)| var)
    }

    /// Numbers in all variables together.
    pub fn count(&self) -> usize {
        self.entries.iter().map(|(_, v)| v.elem_count()).sum()
    }

    /// Where the variables lie; none where there are none.
    pub fn device(&self) -> Option<&Device> {
        self.entries.first().map(|(_, var)| var.device())
    }

    /// Element type of the variables; none where there are none.
    pub fn dtype(&self) -> Option<DType> {
        self.entries.first().map(|(_, var)| var.dtype())
    }

    /// Sets every variable to the tensor of its name, converted to its element type and carried to its device.
    ///
    /// # Errors
    /// [`Error::Data`] under the name `what` when a tensor is missing, left over, or has another shape; nothing is
    /// changed then.
    pub fn assign(&self, what: &str, tensors: &[(String, Tensor)]) -> Result<()> {
        let mut values = Vec::with_capacity(self.entries.len());
        for (name, var) in self.iter() {
            let Some((_, tensor)) = tensors.iter().find(|(n, _)| n == name) else {
                return Err(Error::data(
                    what,
                    format!("has no tensor '{name}', which this architecture needs"),
                ));
            };
            if tensor.dims() != var.dims() {
                return Err(Error::data(
                    what,
                    format!(
                        "tensor '{name}': expected shape {:?}, found {:?}",
                        var.dims(),
                        tensor.dims()
                    ),
                ));
            }
            values.push(tensor.to_dtype(var.dtype())?.to_device(var.device())?);
        }
        if let Some((name, _)) = tensors.iter().find(|(n, _)| self.get(n).is_none()) {
            return Err(Error::data(
                what,
                format!("has a tensor '{name}', which this architecture does not know"),
            ));
        }
        for ((_, var), value) in self.iter().zip(&values) {
            var.set(value)?;
        }
        Ok(())
    }
}

/// A parameter as layers read it: outside all graphs, with the values of its variable at any time.
#[derive(Debug)]
pub(super) struct Parameter {
    /// Which of the network's parameters it is.
    pub place: usize,
    pub value: Tensor,
}

/// Makes parameters from a seed.
pub(super) struct Maker {
    rng: Rng,
    dtype: DType,
    device: Device,
    parameters: Parameters,
}

impl Maker {
    pub(super) fn new(seed: u64, dtype: DType, device: &Device) -> Self {
        Self {
            rng: Rng::new(seed),
            dtype,
            device: device.clone(),
            parameters: Parameters::default(),
        }
    }

    /// Normal numbers with a variance of `gain / (numbers an output)`: with a gain of `2 / (1 + slope^2)` those of
    /// He et al. 2015, arXiv 1502.01852.
    pub(super) fn normal(&mut self, name: String, shape: &[usize], gain: f64) -> Result<Parameter> {
        let fan: usize = shape[1..].iter().product();
        let deviation = (gain / fan as f64).sqrt();
        let count = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|_| deviation * self.rng.normal()).collect();
        self.add(name, Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// The same number everywhere.
    pub(super) fn constant(
        &mut self,
        name: String,
        shape: &[usize],
        value: f64,
    ) -> Result<Parameter> {
        self.add(name, Tensor::full(value, shape, &Device::Cpu)?)
    }

    fn add(&mut self, name: String, value: Tensor) -> Result<Parameter> {
        let value = value.to_dtype(self.dtype)?.to_device(&self.device)?;
        let var = Var::from_tensor(&value)?;
        let parameter = Parameter {
            place: self.parameters.entries.len(),
            // a detached tensor shares the storage that assignments change
            value: var.as_tensor().detach(),
        };
        self.parameters.entries.push((name, var));
        Ok(parameter)
    }

    pub(super) fn done(self) -> Parameters {
        self.parameters
    }
}

/// A gradient a parameter, in their order; none of those that have had no part.
#[derive(Debug)]
pub(super) struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![None; count])
    }

    /// Adds to what a parameter has so far.
    pub(super) fn add(&mut self, parameter: &Parameter, part: Tensor) -> Result<()> {
        let sum = &mut self.0[parameter.place];
        *sum = plus(sum.take(), Some(part))?;
        Ok(())
    }

    pub(super) fn done(self) -> Vec<Option<Tensor>> {
        self.0
    }
}

/// The sum of what there is, in the place of the first; outside all graphs.
pub(crate) fn plus(sum: Option<Tensor>, part: Option<Tensor>) -> Result<Option<Tensor>> {
    if let (Some(sum), Some(part)) = (&sum, &part) {
        combine(1.0, part, 1.0, sum)?;
    }
    Ok(sum.or(part))
}
