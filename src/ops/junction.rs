//! Several results of several arguments that share one derivative, in the tensor engine's graph.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};

use super::recorded::Ready;
use crate::Result;

/// A result and its cotangent.
pub(crate) struct Cotangent {
    pub result: Tensor,
    pub cotangent: Tensor,
}

/// Carries the cotangents of several results, none for what nothing depends on, to those of the arguments.
type SharedPullback = dyn Fn(Vec<Option<Cotangent>>) -> Result<Vec<Option<Tensor>>> + Send + Sync;

/// What the parts of a function of several arguments with several results share.
struct Junction {
    name: &'static str,
    pullback: Box<SharedPullback>,
    passing: Mutex<Passing>,
}

/// A backward pass on its way through a junction.
struct Passing {
    /// Those that have arrived, one a result.
    arrived: Vec<Option<Cotangent>>,
    /// Those of the arguments that have not been fetched.
    pulled: Vec<Option<Tensor>>,
}

impl Junction {
    fn passing(&self) -> MutexGuard<'_, Passing> {
        self.passing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cotangent of an argument; the last one, which is fetched first, finds all that will arrive.
    fn pull(&self, argument: usize, last: bool) -> Result<Option<Tensor>> {
        let mut passing = self.passing();
        if last {
            let arrived = passing.arrived.iter_mut().map(Option::take).collect();
            passing.pulled = (self.pullback)(arrived)?;
        }
        Ok(passing.pulled.get_mut(argument).and_then(Option::take))
    }
}

/// A number that stands for nothing: it leads the backward pass from the results to the arguments, last one first.
fn token() -> (CpuStorage, Shape) {
    (CpuStorage::F32(vec![0.0]), Shape::from(()))
}

/// [`token`] on a GPU.
#[cfg(feature = "cuda")]
fn token_on_gpu(
    beside: &candle_core::CudaStorage,
) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
    use candle_core::backend::{BackendDevice, BackendStorage};
    let shape = Shape::from(());
    let token = beside
        .device()
        .zeros_impl(&shape, candle_core::DType::F32)?;
    Ok((token, shape))
}

/// An argument of a junction.
struct Entry {
    junction: Arc<Junction>,
    argument: usize,
    last: bool,
}

impl Entry {
    fn pull(&self) -> candle_core::Result<Option<Tensor>> {
        self.junction
            .pull(self.argument, self.last)
            .map_err(candle_core::Error::wrap)
    }
}

impl CustomOp1 for Entry {
    fn name(&self) -> &'static str {
        self.junction.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(token())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        token_on_gpu(x)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.pull()
    }
}

impl CustomOp2 for Entry {
    fn name(&self) -> &'static str {
        self.junction.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(token())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        x: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        token_on_gpu(x)
    }

    fn bwd(
        &self,
        token: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(token.zeros_like()?), self.pull()?))
    }
}

/// A result of a junction.
struct Exit {
    junction: Arc<Junction>,
    result: usize,
    value: Ready,
}

impl CustomOp1 for Exit {
    fn name(&self) -> &'static str {
        self.junction.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        self.value.take(self.junction.name)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        self.value.take_on_gpu(self.junction.name)
    }

    fn bwd(
        &self,
        token: &Tensor,
        result: &Tensor,
        g: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        self.junction.passing().arrived[self.result] = Some(Cotangent {
            result: result.detach(),
            cotangent: g.contiguous()?,
        });
        Ok(Some(token.zeros_like()?))
    }
}

/// [`record`](super::record) for several results of several arguments, in single or double precision, of which one pass over all gives the
/// derivatives. `pullback` gives a cotangent, or none, for each argument; it is called once in a backward pass.
pub(crate) fn record_all(
    name: &'static str,
    arguments: &[&Tensor],
    results: Vec<Tensor>,
    pullback: impl Fn(Vec<Option<Cotangent>>) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Result<Vec<Tensor>> {
    let tracked = arguments.iter().enumerate().filter(|(_, x)| x.track_op());
    let tracked: Vec<(usize, &Tensor)> = tracked.map(|(at, &x)| (at, x)).collect();
    let Some(&(end, _)) = tracked.last() else {
        return Ok(results);
    };
    let junction = Arc::new(Junction {
        name,
        pullback: Box::new(pullback),
        passing: Mutex::new(Passing {
            arrived: results.iter().map(|_| None).collect(),
            pulled: Vec::new(),
        }),
    });
    let mut token: Option<Tensor> = None;
    for (argument, x) in tracked {
        let entry = Entry {
            junction: junction.clone(),
            argument,
            last: argument == end,
        };
        token = Some(match token {
            Some(token) => token.apply_op2(x, entry)?,
            None => x.apply_op1(entry)?,
        });
    }
    let Some(token) = token else {
        return Ok(results);
    };
    let exits = results.iter().enumerate().map(|(result, value)| {
        Ok(token.apply_op1(Exit {
            junction: junction.clone(),
            result,
            value: Ready::new(name, value)?,
        })?)
    });
    exits.collect()
}

/// [`record_all`] for one result, whose cotangent `pullback` is given.
pub(crate) fn record_one(
    name: &'static str,
    arguments: &[&Tensor],
    result: Tensor,
    pullback: impl Fn(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Result<Tensor> {
    let count = arguments.len();
    let mut results = record_all(name, arguments, vec![result], move |g| {
        match g.into_iter().flatten().next() {
            Some(g) => pullback(&g.cotangent),
            None => Ok(vec![None; count]),
        }
    })?;
    Ok(results.remove(0))
}
