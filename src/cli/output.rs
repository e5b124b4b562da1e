//! Standard output.

use crate::{Error, Result};
use std::io::{ErrorKind, Write};

/// Prints a text and a line end; a reader that has gone away is no error.
///
/// # Errors
/// [`Error::Io`] when standard output cannot be written, as with a full disk.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io("standard output", "write", error))
        }
        _ => Ok(()),
    }
}
