//! One affine map for the whole grid.

use candle_core::{DType, Device, Tensor};

use super::Transform;
use crate::ops::{separable, separable_adjoint, separable_diagonal, Table};
use crate::{Grid, Result};

/// One affine map for the whole grid, found by the same solver as a field: the features decide, with their own energy, on all
/// levels, and gradients flow through it.
///
/// `theta` is `[rank, 1 + rank]`, in voxels: `u_a(x) = theta_a0 + sum_b theta_a(1+b) s_b(x)`, where `s_b` goes from -1 to 1
/// across the field of view along axis `b`. A regulariser of first derivatives lets translations be and resists turns and
/// stretches. The linear stages of a registration ([`align`](crate::align)) compare by correlation and search for their start.
#[derive(Debug, Clone, Copy, Default)]
pub struct GlobalAffine;

/// Constant and slope along each axis.
fn tables(grid: &Grid) -> Vec<Option<Table>> {
    let sizes = grid.size().iter();
    sizes.map(|&n| Some(Table::constant_and_slope(n))).collect()
}

/// Products of constants and slopes along all axes, of which only the constant and the slopes themselves are used: the place
/// of `theta`'s columns among them.
fn places(rank: usize) -> Vec<u32> {
    std::iter::once(0)
        .chain((0..rank).map(|axis| 1 << axis))
        .collect()
}

fn on_voxels(theta: &Tensor, grid: &Grid) -> Result<Tensor> {
    let rank = grid.rank();
    let none = theta.narrow(1, 0, 1)?.zeros_like()?;
    let places = places(rank);
    let columns: Vec<Tensor> = (0..1u32 << rank)
        .map(|at| match places.iter().position(|&p| p == at) {
            Some(column) => theta.narrow(1, column, 1),
            None => Ok(none.clone()),
        })
        .collect::<candle_core::Result<_>>()?;
    let shape = [&[rank][..], &vec![2; rank]].concat();
    let products = Tensor::cat(&columns, 1)?.reshape(shape)?.contiguous()?;
    separable(&products, &tables(grid))
}

/// The columns of `theta` among sums with all products.
fn columns(products: &Tensor) -> Result<Tensor> {
    let rank = products.dims()[0];
    let products = products.reshape((rank, 1 << rank))?;
    let places = Tensor::new(places(rank), products.device())?;
    Ok(products.index_select(&places, 1)?.contiguous()?)
}

impl Transform for GlobalAffine {
    fn name(&self) -> &'static str {
        "global-affine"
    }

    fn identity(&self, grid: &Grid, dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(Tensor::zeros(
            (grid.rank(), grid.rank() + 1),
            dtype,
            device,
        )?)
    }

    fn displacement(&self, theta: &Tensor, grid: &Grid) -> Result<Tensor> {
        on_voxels(theta, grid)
    }

    fn pushforward(&self, _theta: &Tensor, grid: &Grid, step: &Tensor) -> Result<Tensor> {
        on_voxels(step, grid)
    }

    fn pullback(&self, _theta: &Tensor, grid: &Grid, cotangent: &Tensor) -> Result<Tensor> {
        columns(&separable_adjoint(cotangent, &tables(grid))?)
    }

    fn pull_diagonal(&self, grid: &Grid, d: &Tensor) -> Result<Option<Tensor>> {
        columns(&separable_diagonal(d, &tables(grid))?).map(Some)
    }

    fn resample(&self, theta: &Tensor, from: &Grid, to: &Grid) -> Result<Tensor> {
        let rank = from.rank();
        let ratios: Vec<f64> = (0..rank)
            .map(|a| from.spacing()[a] / to.spacing()[a])
            .collect();
        let ratios = Tensor::from_vec(ratios, (rank, 1), theta.device())?;
        Ok(theta.broadcast_mul(&ratios.to_dtype(theta.dtype())?)?)
    }
}
