//! The `stillpoint` program.

// Large tensors come and go at every step; the system's allocator gives them back and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    stillpoint::cli::main()
}
