//! Standard output, and warnings.

use crate::{Error, Result};
use std::io::{ErrorKind, Write};
use std::path::Path;

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

/// Says on standard error what is doubtful in a file.
pub(super) fn warn<'a>(file: &Path, warnings: impl IntoIterator<Item = &'a String>) {
    for warning in warnings {
        eprintln!("warning: {}: {warning}", file.display());
    }
}

/// A report as JSON; numbers that are not finite become null.
pub(super) fn json(report: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(report)
        .map_err(|error| Error::argument("--json", error.to_string()))
}
