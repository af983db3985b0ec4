//! Decodes one file of a recording, part by part.

use super::{
    batch::{Columns, Decoder},
    entry::Entry,
    frame::{self, Found},
    input::Input,
    read::{Damage, Fault},
    rows::Rows,
};
use std::{io, ops::ControlFlow};

/// What a file has next.
pub(super) enum Part {
    Entries {
        entries: Vec<Entry>,
        /// Rows among them that were not understood.
        unknown: u64,
    },
    /// Bytes that were skipped.
    Damage(Damage),
    /// Nothing more.
    End {
        /// Whether the end of the stream was found.
        is_whole: bool,
    },
}

/// A file and the decoder of its batches.
pub(super) struct Source {
    input: Input,
    decoder: Decoder,
}

impl Source {
    pub(super) const fn new(input: Input, decoder: Decoder) -> Self {
        Self { input, decoder }
    }

    /// Hands over every part until `give` breaks off. Fails if the file cannot be read further.
    pub(super) fn decode(&mut self, give: &mut impl FnMut(Part) -> ControlFlow<()>) -> io::Result<()> {
        loop {
            let start = self.input.offset;
            let flow = match self.input.find()? {
                Found::Message(length) => {
                    let decoded = self.decoder.decode(self.input.peek(length));
                    self.input.pass(length);
                    match decoded {
                        Ok(Some(batch)) => Rows::new(Columns::of(&batch)).try_for_each(&mut *give),
                        // An empty message, or a dictionary: nothing that a recording has, and nothing lost.
                        Ok(None) => ControlFlow::Continue(()),
                        Err(why) => give(self.damage(start, Fault::Undecodable(why))),
                    }
                }
                Found::End => {
                    self.input.pass(frame::END.len());
                    if self.input.is_at_end()? {
                        let _ = give(Part::End { is_whole: true });
                        return Ok(());
                    }
                    // A length that was damaged to 0 looks like an end.
                    give(self.resume(start, Fault::Damaged)?)
                }
                Found::Cut if self.input.is_at_end()? => {
                    let _ = give(Part::End { is_whole: false });
                    return Ok(());
                }
                Found::Cut => give(self.resume(start, Fault::Cut)?),
                Found::Unfit(_) | Found::Damaged => give(self.resume(start, Fault::Damaged)?),
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }

    /// Looks for the next whole message beyond `start`.
    fn resume(&mut self, start: u64, fault: Fault) -> io::Result<Part> {
        let found = self.input.skip_to_message()?;
        let what = if found { Fault::Damaged } else { fault };
        Ok(self.damage(start, what))
    }

    const fn damage(&self, start: u64, what: Fault) -> Part {
        Part::Damage(Damage {
            bytes: start..self.input.offset,
            what,
        })
    }
}
