//! The `stillpoint` program.

#[global_allocator]
static ALLOCATOR: stillpoint::memory::Allocator = stillpoint::memory::Allocator;

fn main() -> std::process::ExitCode {
    stillpoint::cli::main()
}
