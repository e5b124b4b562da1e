//! Separable linear filters: smoothing, resizing and their adjoints, one table of weights an axis.

mod cpu;
mod table;

use candle_core::Tensor;

use super::recorded::record;
use super::storage::{read, with_real, write};
use crate::Result;

pub(crate) use table::Table;

/// Applies one table an axis (fastest first; none leaves the axis alone) to the spatial axes of a tensor
/// `[channels, (nz,) ny, nx]`. Part of the graph where the tensor is.
pub(crate) fn separable(x: &Tensor, tables: &[Option<Table>]) -> Result<Tensor> {
    let out = filtered(&x.detach(), tables)?;
    let tables = tables.to_vec();
    record("separable filter", x, out, move |g| {
        let transposed: Vec<_> = tables
            .iter()
            .map(|table| table.as_ref().map(Table::transposed))
            .collect();
        filtered(g, &transposed)
    })
}

fn filtered(x: &Tensor, tables: &[Option<Table>]) -> Result<Tensor> {
    let mut x = x.contiguous()?;
    let rank = tables.len();
    // shrinking axes first, slowest first: the strided passes then leave less for the others
    let mut order: Vec<usize> = (0..rank).rev().collect();
    order.sort_by_key(|&a| tables[a].as_ref().is_some_and(|t| t.outputs() > t.inputs()));
    for axis in order {
        if let Some(table) = &tables[axis] {
            let dim = x.rank() - 1 - axis;
            let dims = x.dims().to_vec();
            if dims[dim] != table.inputs() {
                return Err(crate::Error::Shape {
                    what: "separable filter",
                    expected: vec![table.inputs()],
                    got: vec![dims[dim]],
                });
            }
            let mut shape = dims.clone();
            shape[dim] = table.outputs();
            let out = Tensor::zeros(shape, x.dtype(), x.device())?;
            let inner: usize = dims[dim + 1..].iter().product();
            with_real!(x.dtype(), T => {
                read::<T, _>(&x, |x| write::<T, _>(&out, |o| cpu::along_axis(x, inner, table, o)))?
            })?;
            x = out;
        }
    }
    Ok(x)
}

/// Gaussian smoothing with `sigma` voxels an axis (0 leaves the axis alone), cut at 3 sigma, weights renormalised at
/// the border so that constants stay.
pub fn smooth(x: &Tensor, sigma: &[f64]) -> Result<Tensor> {
    let tables: Vec<_> = (0..sigma.len())
        .map(|a| (sigma[a] > 0.0).then(|| Table::gaussian(x.dims()[x.rank() - 1 - a], sigma[a])))
        .collect();
    separable(x, &tables)
}

/// The adjoint of [`smooth`].
pub fn smooth_adjoint(x: &Tensor, sigma: &[f64]) -> Result<Tensor> {
    let tables: Vec<_> = (0..sigma.len())
        .map(|a| {
            (sigma[a] > 0.0)
                .then(|| Table::gaussian(x.dims()[x.rank() - 1 - a], sigma[a]).transposed())
        })
        .collect();
    separable(x, &tables)
}

/// Resizes the spatial axes to `size` (fastest first) over the same field of view, as [`Grid::resized`](crate::Grid::resized).
///
/// Enlarging interpolates linearly; shrinking by a factor `f` smooths with a Gaussian of `0.5 sqrt(f^2 - 1)` voxels
/// on the way, which keeps what the new grid can carry.
pub fn resize(x: &Tensor, size: &[usize]) -> Result<Tensor> {
    separable(x, &resize_tables(x, size, false))
}

/// The adjoint of [`resize`] from `size` (fastest first) to the spatial shape of `x`.
pub fn resize_adjoint(x: &Tensor, size: &[usize]) -> Result<Tensor> {
    separable(x, &resize_tables(x, size, true))
}

fn resize_tables(x: &Tensor, size: &[usize], adjoint: bool) -> Vec<Option<Table>> {
    (0..size.len())
        .map(|a| {
            let here = x.dims()[x.rank() - 1 - a];
            (here != size[a]).then(|| {
                if adjoint {
                    Table::resize(size[a], here).transposed()
                } else {
                    Table::resize(here, size[a])
                }
            })
        })
        .collect()
}
