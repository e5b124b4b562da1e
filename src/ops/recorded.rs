//! Results with hand-written derivatives in the tensor engine's graph.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Storage, Tensor};

use crate::{Error, Result};

/// Carries a cotangent of the result to those of the arguments.
type Pullback<const N: usize> = Box<dyn Fn(&Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync>;

/// A result until the forward pass takes it.
pub(super) struct Ready(Mutex<Option<(Storage, Shape)>>);

impl Ready {
    pub(super) fn new(name: &'static str, result: &Tensor) -> Result<Self> {
        let result = result.contiguous()?;
        let (storage, layout) = result.storage_and_layout();
        if layout.start_offset() != 0 {
            return Err(Error::argument(name, "expected a tensor of its own"));
        }
        let result = (storage.try_clone(layout)?, layout.shape().clone());
        Ok(Self(Mutex::new(Some(result))))
    }

    pub(super) fn take(&self, name: &str) -> candle_core::Result<(CpuStorage, Shape)> {
        match self.taken(name)? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => Err(elsewhere(name)),
        }
    }

    /// [`Ready::take`] for a result on a GPU.
    #[cfg(feature = "cuda")]
    pub(super) fn take_on_gpu(
        &self,
        name: &str,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        match self.taken(name)? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => Err(elsewhere(name)),
        }
    }

    fn taken(&self, name: &str) -> candle_core::Result<(Storage, Shape)> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take()
            .ok_or_else(|| candle_core::Error::Msg(format!("{name}: used twice")))
    }
}

fn elsewhere(name: &str) -> candle_core::Error {
    candle_core::Error::Msg(format!("{name}: argument and result lie on two devices"))
}

struct Recorded<const N: usize> {
    name: &'static str,
    result: Ready,
    pullback: Pullback<N>,
}

impl<const N: usize> Recorded<N> {
    fn new(name: &'static str, result: &Tensor, pullback: Pullback<N>) -> Result<Self> {
        Ok(Self {
            name,
            result: Ready::new(name, result)?,
            pullback,
        })
    }

    fn backward(&self, cotangent: &Tensor) -> candle_core::Result<[Option<Tensor>; N]> {
        let cotangent = cotangent.contiguous()?;
        (self.pullback)(&cotangent).map_err(candle_core::Error::wrap)
    }
}

impl CustomOp1 for Recorded<1> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        self.result.take(self.name)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        self.result.take_on_gpu(self.name)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let [x] = self.backward(g)?;
        Ok(x)
    }
}

impl CustomOp2 for Recorded<2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.result.take(self.name)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        self.result.take_on_gpu(self.name)
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, y] = self.backward(g)?;
        Ok((x, y))
    }
}

/// `result` as a function of `x`, with the derivative that `pullback` gives: the cotangent of `x` from that of the result.
///
/// Where `x` is not part of a graph this is `result` itself.
pub(crate) fn record(
    name: &'static str,
    x: &Tensor,
    result: Tensor,
    pullback: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !x.track_op() {
        return Ok(result);
    }
    let op = Recorded::new(name, &result, Box::new(move |g| Ok([Some(pullback(g)?)])))?;
    Ok(x.apply_op1(op)?)
}

/// [`record`] for a function of two tensors. `pullback` gives no cotangent for an argument that has no graph.
pub(crate) fn record2(
    name: &'static str,
    (x, y): (&Tensor, &Tensor),
    result: Tensor,
    pullback: impl Fn(&Tensor) -> Result<[Option<Tensor>; 2]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !x.track_op() && !y.track_op() {
        return Ok(result);
    }
    let op = Recorded::new(name, &result, Box::new(pullback))?;
    Ok(x.apply_op2(y, op)?)
}
