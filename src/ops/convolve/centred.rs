//! Kernels in the middle of larger ones.

use candle_core::Tensor;

use crate::ops::device::twin;
use crate::ops::storage::{read, with_real, write};
use crate::Result;

/// Adds the kernels `small` to the middle of as many larger ones in their place: `[outputs, inputs, (kz,) ky, kx]`, odd sizes.
pub(crate) fn add_centred(small: &Tensor, wide: &Tensor) -> Result<()> {
    let (inner, outer) = (small.dims()[2..].to_vec(), wide.dims()[2..].to_vec());
    let places = places(&inner, &outer);
    let entries: usize = outer.iter().product();
    twin!(wide, _launcher => {
        let mut padded = small.clone();
        for (dim, (&inner, &outer)) in inner.iter().zip(&outer).enumerate() {
            let beside = (outer - inner) / 2;
            padded = padded.pad_with_zeros(dim + 2, beside, beside)?;
        }
        crate::ops::combine(1.0, &padded.contiguous()?, 1.0, wide)
    });
    with_real!(wide.dtype(), T => {
        read::<T, _>(&small.contiguous()?, |small| write::<T, _>(wide, |wide| {
            let kernels = wide.chunks_exact_mut(entries).zip(small.chunks_exact(places.len()));
            for (wide, small) in kernels {
                for (&place, &value) in places.iter().zip(small) {
                    wide[place] += value;
                }
            }
        }))?
    })
}

/// The middle of kernels, `cut` entries less on either side of every axis: the adjoint of [`add_centred`].
pub(crate) fn centre(wide: &Tensor, cut: usize) -> Result<Tensor> {
    let mut inner = wide.clone();
    for dim in 2..wide.rank() {
        inner = inner.narrow(dim, cut, wide.dims()[dim] - 2 * cut)?;
    }
    Ok(inner.contiguous()?)
}

/// Where the entries of a small kernel lie in one of `outer` (slowest axis first).
fn places(inner: &[usize], outer: &[usize]) -> Vec<usize> {
    let mut places = vec![0];
    for (&inner, &outer) in inner.iter().zip(outer) {
        let first = (outer - inner) / 2;
        let rows = places.iter();
        places = rows
            .flat_map(|row| (first..first + inner).map(move |k| row * outer + k))
            .collect();
    }
    places
}
