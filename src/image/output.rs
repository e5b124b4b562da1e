//! Files that appear whole or not at all.

use std::io::{BufWriter, Write};
use std::path::Path;

use crate::{Error, Result};

/// Writes a file beside its final place and renames it when `fill` is done; on an error nothing is left.
pub(super) fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err(Error::format(
            path,
            "is a folder; name a file to write inside it",
        ));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".stillpoint-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: the process's mask takes its share off.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder
        .tempfile_in(folder)
        .map_err(|e| Error::io(path, "create", e))?;
    // By the plain file, whose errors do not name the temporary one.
    let mut writer = BufWriter::with_capacity(1 << 18, file.as_file());
    fill(&mut writer)
        .and_then(|()| writer.flush())
        .map_err(|e| Error::io(path, "write", e))?;
    drop(writer);
    file.persist(path)
        .map_err(|e| Error::io(path, "rename the finished temporary file to", e.error))?;
    Ok(())
}

/// Writes the bytes of a file, whole or not at all.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, |out| out.write_all(bytes))
}

/// Whether a name asks for gzip compression.
pub(super) fn wants_gzip(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gz"))
}
