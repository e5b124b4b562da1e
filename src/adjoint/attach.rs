//! An optimum as part of the tensor engine's graph.

use std::sync::{Arc, Mutex};

use candle_core::Tensor;

use super::policy::{Adjoint, AdjointInfo};
use crate::ops::record2;
use crate::problem::ImplicitProblem;
use crate::{Error, Result};

/// What the adjoint of an attached optimum reported, once `backward` has passed it.
#[derive(Debug, Clone, Default)]
pub struct AdjointRecord(Arc<Mutex<Option<AdjointInfo>>>);

impl AdjointRecord {
    /// The report of the last backward pass; none before the first.
    pub fn info(&self) -> Option<AdjointInfo> {
        *self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn set(&self, info: AdjointInfo) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = Some(info);
    }
}

/// The optimum `theta` of a problem as a function of its data: the same values, with the derivative of the implicit function.
///
/// `data` are the tensors of the graph from which the problem's data were made, in the order of
/// [`ImplicitProblem::data_pullback`]; `None` for one that needs no gradient, and later ones may be left out. Their elements
/// have the type of `theta`. `backward` solves one linear system, however many data there are, and keeps nothing but
/// the problem and its optimum. The gradient with respect to the point where the solve began is zero.
///
/// # Errors
/// Those of the tensor engine; in `backward`, those of [`Adjoint::pullback`] and [`Error::Shape`] where a tensor has not the
/// shape of its cotangent.
pub fn attach(
    problem: Arc<dyn ImplicitProblem>,
    theta: &Tensor,
    data: &[Option<&Tensor>],
    adjoint: Adjoint,
) -> Result<(Tensor, AdjointRecord)> {
    let theta = theta.detach().contiguous()?;
    let record = AdjointRecord::default();
    let tracked: Vec<(usize, Tensor)> = data
        .iter()
        .enumerate()
        .filter_map(|(k, tensor)| Some((k, (*tensor)?.clone())))
        .filter(|(_, tensor)| tensor.track_op())
        .collect();
    // backward meets the outermost link first: it solves for all, the others take what is theirs
    let cotangents: Arc<Mutex<Vec<Option<Tensor>>>> = Arc::default();
    let mut out = theta.clone();
    for (link, (k, tensor)) in tracked.iter().enumerate() {
        let (k, inner, outermost) = (*k, link > 0, link + 1 == tracked.len());
        let shape = tensor.dims().to_vec();
        let (problem, theta, cotangents, record) = (
            problem.clone(),
            theta.clone(),
            cotangents.clone(),
            record.clone(),
        );
        let value = theta.clone();
        out = record2("attach", (&out, tensor), value, move |g| {
            let mut shared = cotangents.lock().unwrap_or_else(|e| e.into_inner());
            if outermost {
                let (data, info) = adjoint.pullback(&*problem, &theta, g)?;
                record.set(info);
                *shared = data.into_iter().map(Some).collect();
            }
            let own = shared.get_mut(k).and_then(Option::take).ok_or_else(|| {
                Error::argument("data", format!("the problem has no data tensor {k}"))
            })?;
            if own.dims() != shape {
                return Err(Error::Shape {
                    what: "data tensor of an attached optimum",
                    expected: own.dims().to_vec(),
                    got: shape.clone(),
                });
            }
            Ok([inner.then(|| g.clone()), Some(own)])
        })?;
    }
    Ok((out, record))
}
