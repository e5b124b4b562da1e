//! The `stillpoint` program.

#[global_allocator]
static ALLOCATOR: stillpoint::cli::Counted<stillpoint::memory::Allocator> =
    stillpoint::cli::Counted(stillpoint::memory::Allocator);

fn main() -> std::process::ExitCode {
    stillpoint::cli::main()
}
