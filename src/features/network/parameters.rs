//! The trained numbers of a network, by name.

use candle_core::{DType, Device, Tensor, Var};

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

    /// Element type of the variables; none where there are none.
    pub fn dtype(&self) -> Option<DType> {
        self.entries.first().map(|(_, var)| var.dtype())
    }

    /// Sets every variable to the tensor of its name, converted to its element type.
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
            values.push(tensor.to_dtype(var.dtype())?);
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

/// Makes parameters from a seed.
pub(super) struct Maker {
    rng: Rng,
    dtype: DType,
    parameters: Parameters,
    /// Whether gradients flow to what is made.
    tracked: bool,
    /// Variables that are taken rather than made.
    given: Parameters,
}

impl Maker {
    pub(super) fn new(seed: u64, dtype: DType) -> Self {
        Self {
            rng: Rng::new(seed),
            dtype,
            parameters: Parameters::default(),
            tracked: true,
            given: Parameters::default(),
        }
    }

    /// One that takes the variables of a network of the same make.
    pub(super) fn over(parameters: Parameters) -> Self {
        let dtype = parameters.dtype().unwrap_or(DType::F32);
        Self {
            given: parameters,
            ..Self::new(0, dtype)
        }
    }

    /// One whose tensors follow their variables but take no part in graphs.
    pub(super) fn untracked(self) -> Self {
        Self {
            tracked: false,
            ..self
        }
    }

    /// Normal numbers with a variance of `gain / (numbers an output)`: with a gain of `2 / (1 + slope^2)` those of
    /// He et al. 2015, arXiv 1502.01852.
    pub(super) fn normal(&mut self, name: String, shape: &[usize], gain: f64) -> Result<Tensor> {
        if self.given.get(&name).is_some() {
            return self.constant(name, shape, 0.0);
        }
        let fan: usize = shape[1..].iter().product();
        let deviation = (gain / fan as f64).sqrt();
        let count = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|_| deviation * self.rng.normal()).collect();
        self.add(name, Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// The same number everywhere.
    pub(super) fn constant(&mut self, name: String, shape: &[usize], value: f64) -> Result<Tensor> {
        self.add(name, Tensor::full(value, shape, &Device::Cpu)?)
    }

    fn add(&mut self, name: String, value: Tensor) -> Result<Tensor> {
        let var = match self.given.get(&name) {
            Some(var) => var.clone(),
            None => Var::from_tensor(&value.to_dtype(self.dtype)?)?,
        };
        // a detached tensor shares the storage that assignments change
        let tensor = match self.tracked {
            true => var.as_tensor().clone(),
            false => var.as_tensor().detach(),
        };
        self.parameters.entries.push((name, var));
        Ok(tensor)
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn done(self) -> Parameters {
        self.parameters
    }
}
