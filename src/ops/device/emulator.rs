//! Kernels on the host, for tests without a GPU: the same sources, compiled by a C++ compiler.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{c_int, c_void, CString};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use super::{Argument, Precision, Source};
use crate::{Error, Result};

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread takes the tensors of the CPU for those of a device.
pub(super) fn is_on() -> bool {
    ON.get()
}

/// Calls `work` with every tensor taken for one of a device: twins for GPUs run, those for the CPU refuse.
pub(super) fn emulated<R>(work: impl FnOnce() -> R) -> R {
    switched(true, work)
}

/// Calls `work` with the tensors of the CPU taken for what they are.
pub(super) fn suspended<R>(work: impl FnOnce() -> R) -> R {
    switched(false, work)
}

fn switched<R>(on: bool, work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }
    let _restore = Restore(ON.replace(on));
    work()
}

/// The C++ compiler, with the options that `CXX` gives it; none where there is none.
fn compiler() -> Option<Command> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    let command = |words: &str| {
        let mut words = words.split_whitespace();
        let mut command = Command::new(words.next()?);
        command.args(words);
        Some(command)
    };
    let find = || {
        let named = std::env::var("CXX").ok();
        let names = named
            .into_iter()
            .chain(["c++".into(), "g++".into(), "clang++".into()]);
        let runs = |name: &String| {
            let version = command(name).map(|mut command| command.arg("--version").output());
            version.is_some_and(|output| output.is_ok_and(|output| output.status.success()))
        };
        names.into_iter().find(runs)
    };
    command(FOUND.get_or_init(find).as_deref()?)
}

/// Whether kernels can be run here.
pub(super) fn is_available() -> bool {
    cfg!(unix) && compiler().is_some()
}

/// A kernel: its arguments and the number of blocks; not zero when its threads did not meet at a barrier.
type Kernel = unsafe extern "C" fn(*mut *mut c_void, u32) -> c_int;

/// A loaded library, for as long as the process lives.
#[derive(Clone, Copy)]
struct Library(usize);

pub(super) fn launch(
    (source, precision): (&'static Source, Precision),
    kernel: &str,
    blocks: usize,
    arguments: &[Argument],
) -> Result<()> {
    let fault = |reason| source.fault(kernel, reason);
    let kernel = loaded(source, precision).and_then(|library| library.kernel(kernel));
    let kernel = kernel.map_err(fault)?;
    let mut places: Vec<*mut c_void> = arguments
        .iter()
        .map(|argument| argument.words().as_ptr().cast_mut().cast())
        .collect();
    // SAFETY: the twins pass what the kernel declares, and tensors of the lengths that it reaches.
    match unsafe { kernel(places.as_mut_ptr(), blocks as u32) } {
        0 => Ok(()),
        _ => Err(fault("not all threads of a block came to a barrier".into())),
    }
}

fn loaded(source: &'static Source, precision: Precision) -> Result<Library, String> {
    type Key = (&'static str, Precision);
    static LOADED: Mutex<Option<HashMap<Key, Library>>> = Mutex::new(None);
    let mut all = LOADED.lock().unwrap_or_else(|e| e.into_inner());
    let all = all.get_or_insert_default();
    let key = (source.name, precision);
    if let Some(library) = all.get(&key) {
        return Ok(*library);
    }
    let library = Library::compile(source, precision)?;
    all.insert(key, library);
    Ok(library)
}

impl Library {
    fn compile(source: &Source, precision: Precision) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let (from, to) = (
            folder.path().join("kernel.cpp"),
            folder.path().join("kernel.so"),
        );
        let shim = include_str!("../../../tests/cuda/emulator.h");
        std::fs::write(&from, [shim, source.text].concat()).map_err(|e| e.to_string())?;
        let output = compiler()
            .ok_or("no C++ compiler")?
            .args(["-std=c++17", "-O1", "-fPIC", "-shared", "-w"])
            // fibres leave their frames by other ways than a return
            .args(["-fno-stack-protector", "-U_FORTIFY_SOURCE"])
            .arg(format!("-DREAL={}", precision.bits()))
            .arg("-o")
            .args([&to, &from])
            .output()
            .map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let path = to.to_str().and_then(|path| CString::new(path).ok());
        Self::open(&path.ok_or("the temporary folder has no plain name")?)
    }

    #[cfg(unix)]
    fn open(path: &CString) -> Result<Self, String> {
        // SAFETY: a library without constructors.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(format!("cannot open {path:?}"));
        }
        Ok(Self(library as usize))
    }

    #[cfg(unix)]
    fn kernel(self, name: &str) -> Result<Kernel, String> {
        let symbol = CString::new(name).map_err(|e| e.to_string())?;
        // SAFETY: the library was opened and stays open.
        let kernel = unsafe { libc::dlsym(self.0 as *mut c_void, symbol.as_ptr()) };
        if kernel.is_null() {
            return Err("there is no such kernel".into());
        }
        // SAFETY: the shim gives every kernel this signature.
        Ok(unsafe { std::mem::transmute::<*mut c_void, Kernel>(kernel) })
    }

    #[cfg(not(unix))]
    fn open(_: &CString) -> Result<Self, String> {
        Err("kernels are emulated on Unix only".into())
    }

    #[cfg(not(unix))]
    fn kernel(self, _: &str) -> Result<Kernel, String> {
        Err(format!("library {} was not opened", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: Source = Source {
        name: "broken",
        text: concat!(
            include_str!("../../../kernels/prelude.cuh"),
            "KERNEL(divergent, (int n), if (threadIdx.x < n) { __syncthreads(); })\n",
            "KERNEL(count, (int n, unsigned *out), EACH_VOXEL(v, n) out[v] += v)\n",
        ),
    };

    const NONSENSE: Source = Source {
        name: "nonsense",
        text: "this is no kernel",
    };

    #[test]
    fn faults_of_kernels_are_seen() {
        if !is_available() {
            eprintln!("skipped: no C++ compiler to emulate kernels with");
            return;
        }
        let run = |source, kernel: &str, n: i32| {
            let mut out = vec![0u32; 1000];
            let place = Argument::of(out.as_mut_ptr() as u64);
            let compiled = (source, Precision::Single);
            launch(compiled, kernel, 3, &[Argument::of(n), place]).map(|()| out)
        };
        for n in [0, 256] {
            run(&BROKEN, "divergent", n).unwrap();
        }
        for (source, kernel, n, word) in [
            (&BROKEN, "divergent", 255, "barrier"),
            (&BROKEN, "absent", 1, "no such kernel"),
            (&NONSENSE, "kernel", 1, "error"),
        ] {
            let error = run(source, kernel, n).unwrap_err();
            assert!(matches!(error, Error::CudaKernel { .. }));
            assert!(error.to_string().contains(word), "{error}");
        }
        // every voxel once, whatever the number of blocks
        let found = run(&BROKEN, "count", 1000).unwrap();
        assert!(found.iter().zip(0..).all(|(found, v)| *found == v));
    }
}
