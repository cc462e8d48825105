//! A writer that gives up when nobody reads.
//!
//! When the person who pushes goes away, git's hook gets no signal, and once the pipe is full a
//! write blocks for ever. So another thread writes, and this one waits for it no longer than a limit.

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// So much is written at once: progress is seen between pieces.
const PIECE: usize = 16 * 1024;

/// Hands what is written to a thread; an error of kind `TimedOut` when a piece takes too long.
///
/// The thread then stays blocked until the process ends: end it.
#[derive(Debug)]
pub struct Watched {
    pieces: SyncSender<Vec<u8>>,
    written: Receiver<io::Result<usize>>,
    limit: Duration,
}

impl Watched {
    /// Watches `out`, each piece for `limit`.
    pub fn new(mut out: impl Write + Send + 'static, limit: Duration) -> io::Result<Self> {
        let (pieces, to_write) = sync_channel::<Vec<u8>>(1);
        let (done, written) = sync_channel(1);
        thread::Builder::new().name("relay".into()).spawn(move || {
            for piece in to_write {
                let result = out
                    .write_all(&piece)
                    .and_then(|()| out.flush())
                    .map(|()| piece.len());
                if done.send(result).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            pieces,
            written,
            limit,
        })
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes[..bytes.len().min(PIECE)].to_vec();
        self.pieces.send(piece).map_err(|_| ErrorKind::BrokenPipe)?;
        match self.written.recv_timeout(self.limit) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Instant;

    #[test]
    fn a_pipe_that_nobody_reads_is_given_up_after_the_limit() {
        let (reader, writer) = io::pipe().unwrap();
        let mut watched = Watched::new(writer, Duration::from_millis(200)).unwrap();
        let began = Instant::now();
        let error = watched.write_all(&vec![b'x'; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        drop(reader);
    }

    #[test]
    fn what_is_read_arrives_whole_and_a_closed_pipe_is_an_error() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut watched = Watched::new(writer, Duration::from_secs(10)).unwrap();
        let text: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        let read = thread::spawn(move || {
            let mut read = vec![0; 300_000];
            reader.read_exact(&mut read).unwrap();
            read
        });
        watched.write_all(&text).unwrap();
        assert!(read.join().unwrap() == text);
        assert_eq!(
            watched.write_all(b"x").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    }
}
