//! Passes renewed certificates and ticket keys from the master to its workers, which need not be
//! able to read the files: in a file without a name, beside a message.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use log::error;

use crate::sys::nameless::nameless_file;

/// More than the files of all options, each of which has 32 MiB at most, should ever have.
const MAX_BYTES: usize = 256 << 20;

/// Stores bytes for all workers: each reads them from the beginning.
///
/// # Errors
/// As the system does.
pub(super) fn store(bytes: &[u8]) -> io::Result<File> {
    let mut file = nameless_file("rustwsgi-certificates")?;
    file.write_all(bytes)?;
    Ok(file)
}

/// In a worker: reads the bytes of such a file, and gives them to `renew`.
pub(super) fn renew(file: &File, renew: impl FnOnce(&[u8]) -> Result<(), String>) {
    let read = read_all(file).map_err(|failure| failure.to_string());
    if let Err(reason) = read.and_then(|bytes| renew(&bytes)) {
        error!(
            target: "tls.not_received",
            "Worker {} cannot use the renewed certificates, and keeps the old ones: {reason}",
            std::process::id()
        );
    }
}

/// The offset of the descriptor is shared by all workers, so it is neither used nor moved.
fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if size > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The kernel has dropped the file, because this process has no free descriptor.
pub(super) fn report_lost() {
    error!(
        target: "tls.not_received",
        "Worker {} has no free descriptor for the renewed certificates, and keeps the old ones: \
         raise LimitNOFILE, and send HUP",
        std::process::id()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_gets_all_bytes() {
        let file = store(b"certificates").unwrap();
        for _ in 0..2 {
            let mut read = Vec::new();
            renew(&file.try_clone().unwrap(), |bytes| {
                read = bytes.to_vec();
                Ok(())
            });
            assert_eq!(read, b"certificates");
        }
    }
}
