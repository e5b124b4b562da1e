//! Every kernel compiled as a GPU would have it, by the library that `STILLPOINT_NVRTC` names; no GPU is needed.

#![cfg(unix)]

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::path::Path;
use std::ptr::null_mut;

use super::source::Part;
use super::{Precision, Source};

/// The library, opened.
struct Nvrtc(*mut c_void);

/// A function of the library; those of one signature share a type.
macro_rules! call {
    ($library:expr, $name:literal, ($($value:expr => $t:ty),* $(,)?)) => {{
        let symbol = CString::new($name).unwrap();
        // SAFETY: the library stays open.
        let found = unsafe { libc::dlsym($library.0, symbol.as_ptr()) };
        assert!(!found.is_null(), "{}", $name);
        // SAFETY: the signature in NVRTC's documentation.
        unsafe {
            let function = std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($t),*) -> c_int>(found);
            function($($value),*)
        }
    }};
}

impl Nvrtc {
    fn open(path: &Path) -> Self {
        let open = |path: &Path| {
            let path = CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: NVIDIA's libraries have no constructors that matter here.
            unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }
        };
        // the library looks for its other half where the system's loader looks, not beside itself
        for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
            let other = entry.unwrap().path();
            if other.to_string_lossy().contains("libnvrtc-builtins.so") {
                open(&other);
            }
        }
        let library = open(path);
        assert!(!library.is_null(), "cannot open {}", path.display());
        Self(library)
    }

    /// What the compiler says and what it writes.
    fn compile(
        &self,
        source: &Source,
        architecture: &str,
        part: Part,
    ) -> Result<(String, String), String> {
        let (text, name) = (
            CString::new(source.text).unwrap(),
            CString::new(source.name).unwrap(),
        );
        let mut program: *mut c_void = null_mut();
        let created = call!(self, "nvrtcCreateProgram", (
            &mut program => *mut *mut c_void,
            text.as_ptr() => *const c_char,
            name.as_ptr() => *const c_char,
            0 => c_int,
            null_mut() => *const *const c_char,
            null_mut() => *const *const c_char,
        ));
        assert_eq!(created, 0, "nvrtcCreateProgram");
        let [rank, storage, real] = part.options();
        let architecture = format!("--gpu-architecture={architecture}");
        let options = [architecture, rank, storage, real];
        let options = options.map(|option| CString::new(option).unwrap());
        let places = options.each_ref().map(|option| option.as_ptr());
        let compiled = call!(self, "nvrtcCompileProgram", (
            program => *mut c_void,
            places.len() as c_int => c_int,
            places.as_ptr() => *const *const c_char,
        ));
        let mut length = 0usize;
        call!(self, "nvrtcGetProgramLogSize", (program => *mut c_void, &mut length => *mut usize));
        let mut log = vec![0u8; length + 1];
        call!(self, "nvrtcGetProgramLog", (program => *mut c_void, log.as_mut_ptr().cast() => *mut c_char));
        let log = CStr::from_bytes_until_nul(&log)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        call!(self, "nvrtcGetPTXSize", (program => *mut c_void, &mut length => *mut usize));
        let mut ptx = vec![0u8; length + 1];
        call!(self, "nvrtcGetPTX", (program => *mut c_void, ptx.as_mut_ptr().cast() => *mut c_char));
        let ptx = CStr::from_bytes_until_nul(&ptx)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        call!(self, "nvrtcDestroyProgram", (&mut program => *mut *mut c_void));
        match compiled {
            0 => Ok((log, ptx)),
            _ => Err(log),
        }
    }
}

/// All kernels of a precision.
fn whole(precision: Precision) -> Part {
    Part {
        rank: 0,
        storage: 0,
        precision,
    }
}

#[test]
fn every_kernel_compiles() {
    let Some(path) = std::env::var_os("STILLPOINT_NVRTC") else {
        eprintln!("skipped: STILLPOINT_NVRTC names no library (libnvrtc.so.12, say)");
        return;
    };
    let nvrtc = Nvrtc::open(Path::new(&path));
    for source in Source::ALL {
        for precision in [Precision::Single, Precision::Double] {
            for architecture in ["compute_80", "compute_90"] {
                compiles(&nvrtc, source, precision, architecture);
            }
        }
    }
    let broken = Source {
        name: "broken",
        text: "__global__ void f() { undeclared(); }",
    };
    let log = nvrtc.compile(&broken, "compute_80", whole(Precision::Single));
    let log = log.unwrap_err();
    assert!(log.contains("undeclared"), "{log}");
}

/// Compiles a source, as a whole and by its parts.
fn compiles(nvrtc: &Nvrtc, source: &Source, precision: Precision, architecture: &str) {
    let names = |part| {
        let (log, ptx) = nvrtc
            .compile(source, architecture, part)
            .unwrap_or_else(|log| panic!("{} for {architecture}:\n{log}", source.name));
        assert!(log.is_empty(), "{}: {log}", source.name);
        kernels(&ptx)
    };
    let all = names(whole(precision));
    println!("{} for {architecture}, {precision:?}: {all:?}", source.name);
    assert!(!all.is_empty());
    // the part that a kernel is looked for in has it, and none of the other rank
    for (rank, storage) in [(2, 16), (2, 32), (3, 16), (3, 32)] {
        let part = Part {
            rank,
            storage,
            precision,
        };
        let found = names(part);
        let other = format!("_{}", 5 - part.rank);
        assert!(found.iter().all(|name| !name.ends_with(&other)));
        let wanted = |kernel: &&String| Part::with(kernel, precision) == part;
        for kernel in all.iter().filter(wanted) {
            assert!(found.contains(kernel), "{kernel} is not in {part:?}");
        }
    }
}

/// The names of the kernels in PTX, sorted.
fn kernels(ptx: &str) -> Vec<String> {
    let entries = ptx.split(".visible .entry ").skip(1);
    let name = |text: &str| text.split('(').next().unwrap_or_default().to_owned();
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}
