//! Lines of a running command, for a reader that may be slower than the events. Nothing waits for the
//! reader: lines that do not fit are dropped and counted.

use super::{
    descriptor::Descriptor,
    outbox::{Outbox, Refused},
    sink::{Sink, SinkError},
};
use std::{io, time::Duration};

/// Lines are handed over in pieces of this size, or fewer at the end of each drain.
const PIECE_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Stream {
    outbox: Outbox<SinkError>,
    /// The thread's output, if its reader may stop reading.
    reader: Option<Descriptor>,
    piece: Vec<u8>,
    /// Lines in it that count.
    lines: u64,
    printed: u64,
    dropped: u64,
    is_dropping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    Closed,
    /// The reader read nothing before the timeout, and this number of bytes was not written.
    Stalled(usize),
}

impl Stream {
    /// Writes to `sink` from a thread of its own. No more than `most_bytes` wait for the reader.
    pub(crate) fn start(sink: Sink, most_bytes: usize) -> io::Result<Self> {
        Ok(Self {
            reader: sink.reader()?,
            outbox: Outbox::start("output", sink, most_bytes)?,
            piece: Vec::new(),
            lines: 0,
            printed: 0,
            dropped: 0,
            is_dropping: false,
        })
    }

    /// Adds a line that counts.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), SinkError> {
        if self.is_dropping {
            self.dropped += 1;
            return Ok(());
        }
        self.lines += 1;
        self.note(text)
    }

    /// Adds lines about the stream itself, which do not count. While lines are dropped, so are they.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), SinkError> {
        if self.is_dropping {
            return Ok(());
        }
        self.piece.extend_from_slice(text.as_bytes());
        if self.piece.len() >= PIECE_BYTES {
            self.hand_over()?;
        }
        Ok(())
    }

    pub(crate) fn hand_over(&mut self) -> Result<(), SinkError> {
        let lines = std::mem::take(&mut self.lines);
        match self.outbox.offer(&mut self.piece) {
            Ok(()) => self.printed += lines,
            Err(Refused::Full) => {
                self.piece.clear();
                self.dropped += lines;
                self.is_dropping = true;
            }
            // The failure was reported before.
            Err(Refused::Failed(error)) => return Err(error.unwrap_or(SinkError::Closed)),
        }
        Ok(())
    }

    /// Whether lines are dropped and should be so no more: the reader has taken half of what waited. Goes on from here.
    pub(crate) fn resumes(&mut self) -> bool {
        let resumes = self.is_dropping && self.has_room();
        self.is_dropping &= !resumes;
        resumes
    }

    /// Whether at most half of what may wait does.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.waiting() <= self.outbox.most_bytes() / 2
    }

    /// Whether what is added now is dropped.
    pub(crate) const fn is_dropping(&self) -> bool {
        self.is_dropping
    }

    /// Lines that count and were added, without those dropped.
    pub(crate) const fn printed(&self) -> u64 {
        self.printed + self.lines
    }

    /// Lines that count and were dropped.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A message about the output, returned once.
    pub(crate) fn take_notice(&self) -> Option<String> {
        self.outbox.take_notice()
    }

    /// Whether the reader has gone away.
    pub(crate) fn is_closed(&self) -> bool {
        self.reader.as_ref().is_some_and(Descriptor::is_closed)
    }

    /// Adds lines that come last and are not dropped, and waits until everything is written; with `patience`, no longer
    /// than that for a reader who takes nothing. Fails as [`Self::line`], but for a reader who has gone.
    pub(crate) fn finish(self, last: &str, patience: Option<Duration>) -> Result<Ending, SinkError> {
        let Self {
            outbox, mut piece, ..
        } = self;
        piece.extend_from_slice(last.as_bytes());
        match outbox.finish(piece, patience) {
            Ok(Ok(())) => Ok(Ending::Whole),
            Ok(Err(stalled)) => Ok(Ending::Stalled(stalled.bytes)),
            Err(SinkError::Closed) => Ok(Ending::Closed),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{PipeReader, Read as _},
        os::fd::OwnedFd,
        thread,
    };

    fn stream(most_bytes: usize) -> (PipeReader, Stream) {
        let (reader, writer) = io::pipe().unwrap();
        let output = Descriptor::from(File::from(OwnedFd::from(writer)));
        (reader, Stream::start(Sink::from(output), most_bytes).unwrap())
    }

    #[test]
    fn a_reader_that_stalls_costs_whole_lines_that_are_counted_and_time_of_nobody() {
        let (mut reader, mut stream) = stream(1 << 20);
        let mut added = 0_u64;
        while !stream.is_dropping() || !added.is_multiple_of(1_000) {
            stream.line(&format!("{added}\n")).unwrap();
            added += 1;
            if added.is_multiple_of(100) {
                stream.hand_over().unwrap();
            }
        }
        assert!(!stream.resumes(), "nothing was taken");
        assert_eq!(stream.printed() + stream.dropped(), added);
        let (printed, dropped) = (stream.printed(), stream.dropped());
        assert!(dropped > 0);
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        while !stream.resumes() {
            thread::yield_now();
        }
        stream.note(&format!("{dropped} dropped\n")).unwrap();
        stream.line("after\n").unwrap();
        assert_eq!(stream.printed(), printed + 1);
        assert_eq!(stream.finish("last\n", None).unwrap(), Ending::Whole);
        let text = reading.join().unwrap().unwrap();
        let mut lines = text.lines();
        for number in 0..printed {
            assert_eq!(lines.next(), Some(number.to_string().as_str()));
        }
        let rest: Vec<&str> = lines.collect();
        assert_eq!(rest, [&format!("{dropped} dropped"), "after", "last"]);
    }

    #[test]
    fn who_must_end_does_not_wait_for_a_reader_that_takes_nothing() {
        let (_reader, mut stream) = stream(1 << 20);
        stream.line(&"x".repeat(500_000)).unwrap();
        let ending = stream.finish("last", Some(Duration::from_millis(20))).unwrap();
        assert!(matches!(ending, Ending::Stalled(1..=500_004)), "{ending:?}");
    }
}
