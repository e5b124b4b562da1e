//! Ctrl-C: the first asks the work to stop, the second ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit code of an interrupted program.
pub(super) const EXIT: u8 = 130;

/// Listens for Ctrl-C (and a request to terminate) and returns the flag that long work polls.
///
/// Where listening is impossible, the system's own way of ending a program stays in force.
pub(super) fn listen() -> &'static AtomicBool {
    let asked = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(EXIT));
        }
    };
    if let Err(error) = ctrlc::set_handler(asked) {
        eprintln!("warning: Ctrl-C will not be handled: {error}");
    }
    &ASKED
}
