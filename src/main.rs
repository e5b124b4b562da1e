//! The `stillpoint` program.

// Large tensors come and go at every step; the system's allocator gives them back and faults them in again.
#[global_allocator]
static ALLOCATOR: stillpoint::cli::Counted<mimalloc::MiMalloc> =
    stillpoint::cli::Counted(mimalloc::MiMalloc);

/// `mi_option_purge_delay` of `mimalloc.h`, in versions 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Milliseconds.
const PURGE_AFTER: std::ffi::c_long = 1000;

fn main() -> std::process::ExitCode {
    // Freed memory stays with the process for a while: a registration takes tensors of the same size again and again, and
    // to clear a fresh page costs more than most passes over it.
    // SAFETY: called once, before there are other threads.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_AFTER) };
    stillpoint::cli::main()
}
