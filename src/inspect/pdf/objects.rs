//! Looks into an object stream: objects packed and, as a rule, deflated (ISO 32000-1, 7.5.7). Holds a window of the inflater, never the stream.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};
use zeroize::Zeroizing;

use super::meaning::{Facts, Marks, Walker};
use super::tokens::Lexer;
use crate::inspect::{Refusal, count_work};

/// Deflated bytes are gathered to blocks of this size, so that what is found does not depend on how the file was cut into pushes.
const BLOCK: usize = 1 << 10;
const INFLATED: usize = 4 << 10;
/// Inflated bytes for each byte of the file that was read, and at most. Object streams are text that shrinks to a tenth, in long tables of
/// tagged text to a thirtieth; whoever needs more hides something in a bomb.
const RATIO: u64 = 64;
const MOST: u64 = 64 << 20;

/// Inflated bytes of all object streams of a document.
#[derive(Default)]
pub(super) struct Budget {
    used: u64,
}

pub(super) struct ObjectStream {
    lexer: Lexer,
    walker: Walker,
    content: Content,
}

enum Content {
    Plain,
    Deflated(Box<Deflated>),
    /// Damaged, packed in another way, or too large.
    Opaque,
}

struct Deflated {
    state: InflateState,
    block: Zeroizing<Vec<u8>>,
    ended: bool,
}

impl ObjectStream {
    pub(super) fn new(facts: &Facts) -> Self {
        let content = match facts.filters {
            _ if facts.predicted => Content::Opaque,
            0 => Content::Plain,
            // Many writers get the checksum wrong, and no reader minds.
            1 if facts.deflated => Content::Deflated(Box::new(Deflated {
                state: InflateState::new(DataFormat::ZLibIgnoreChecksum),
                block: Zeroizing::new(Vec::with_capacity(BLOCK)),
                ended: false,
            })),
            _ => Content::Opaque,
        };
        Self {
            lexer: Lexer::new(),
            walker: Walker::new(),
            content,
        }
    }

    /// Takes a byte of the stream; `position` is how many bytes of the file were read.
    pub(super) fn byte(&mut self, byte: u8, position: u64, marks: &mut Marks, budget: &mut Budget) -> Result<(), Refusal> {
        match &mut self.content {
            Content::Plain => self.lexer.byte(byte, &mut |token| self.walker.token(token, marks)),
            Content::Deflated(deflated) => {
                deflated.block.push(byte);
                if deflated.block.len() == BLOCK {
                    self.inflate_block(position, marks, budget)?;
                }
                Ok(())
            }
            Content::Opaque => Ok(()),
        }
    }

    pub(super) fn finish(mut self, position: u64, marks: &mut Marks, budget: &mut Budget) -> Result<(), Refusal> {
        self.inflate_block(position, marks, budget)?;
        self.lexer.end(&mut |token| self.walker.token(token, marks))?;
        marks.opaque |= match self.content {
            Content::Plain => false,
            Content::Deflated(deflated) => !deflated.ended,
            Content::Opaque => true,
        };
        Ok(())
    }

    fn inflate_block(&mut self, position: u64, marks: &mut Marks, budget: &mut Budget) -> Result<(), Refusal> {
        let Content::Deflated(deflated) = &mut self.content else {
            return Ok(());
        };
        let Deflated { state, block, ended } = &mut **deflated;
        let mut inflated = Zeroizing::new([0; INFLATED]);
        let mut input = &block[..];
        let most = (RATIO * position).min(MOST);
        let mut is_opaque = !*ended && budget.used > most;
        while !*ended && !is_opaque {
            let step = inflate(state, input, &mut inflated[..], MZFlush::None);
            input = &input[step.bytes_consumed..];
            count_work(step.bytes_written);
            budget.used += step.bytes_written as u64;
            for byte in &inflated[..step.bytes_written] {
                self.lexer.byte(*byte, &mut |token| self.walker.token(token, marks))?;
            }
            match step.status {
                Ok(MZStatus::StreamEnd) => *ended = true,
                Ok(_) => is_opaque = budget.used > most,
                // No progress is possible until more comes.
                Err(miniz_oxide::MZError::Buf) => break,
                Err(_) => is_opaque = true,
            }
            if step.bytes_written < INFLATED && input.is_empty() {
                break;
            }
        }
        block.clear();
        if is_opaque {
            self.content = Content::Opaque;
        }
        Ok(())
    }
}
