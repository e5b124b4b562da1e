//! What a part of a step teaches.

use candle_core::Tensor;

use crate::features::Parameters;
use crate::ops::dot;
use crate::{Error, Result};

/// What a pair teaches, or an image.
#[derive(Debug)]
pub(super) struct Lesson {
    /// A gradient a parameter; none where it has no part in the loss.
    pub gradients: Vec<Option<Tensor>>,
    /// The loss of all levels.
    pub loss: f64,
    /// That of each.
    pub levels: Vec<f64>,
    /// Level solves that ended of their own accord, and all.
    pub converged: [usize; 2],
}

/// The gradients of a loss with respect to parameters; `what` has the loss, for messages.
pub(super) fn gradients(
    loss: &Tensor,
    parameters: &Parameters,
    what: &str,
) -> Result<Vec<Option<Tensor>>> {
    let store = loss.backward()?;
    let gradients: Vec<Option<Tensor>> = parameters
        .iter()
        .map(|(_, var)| store.get(var).cloned())
        .collect();
    finite(&gradients, what)?;
    Ok(gradients)
}

/// An error where gradients are not finite; `what` has the loss, for messages.
pub(super) fn finite(gradients: &[Option<Tensor>], what: &str) -> Result<()> {
    for gradient in gradients.iter().flatten() {
        let gradient = gradient.contiguous()?;
        if !dot(&gradient, &gradient)?.is_finite() {
            return Err(Error::data(what, "the gradient is not finite"));
        }
    }
    Ok(())
}

/// The mean gradient of each parameter.
pub(super) fn mean_gradients(lessons: &[Lesson]) -> Result<Vec<Option<Tensor>>> {
    let share = 1.0 / lessons.len() as f64;
    let count = lessons.first().map_or(0, |l| l.gradients.len());
    (0..count)
        .map(|place| {
            let mut sum: Option<Tensor> = None;
            for gradient in lessons.iter().filter_map(|l| l.gradients[place].as_ref()) {
                let gradient = (gradient * share)?;
                sum = Some(match sum {
                    Some(sum) => (sum + gradient)?,
                    None => gradient,
                });
            }
            Ok(sum)
        })
        .collect()
}
