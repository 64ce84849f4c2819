//! Errors with what caused them: [`Cause`] carries the source of an error that may be cloned and compared, [`chain`] prints an error with all its sources.
//!
//! An error says in its own text only what it knows itself; what it was caused by is its source. The place that logs an error, or shows it to the operator,
//! prints the whole chain, once.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The source of an error, shared by its clones. Two causes are always equal: errors are compared by what the caller may do next.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl From<&'static str> for Cause {
    fn from(why: &'static str) -> Self {
        Self::new(why)
    }
}

impl From<String> for Cause {
    fn from(why: String) -> Self {
        Self::new(why)
    }
}

impl PartialEq for Cause {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Cause {}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Prints an error and its sources on one line, separated by `: `.
pub(crate) fn chain<'a>(error: &'a (dyn Error + 'static)) -> Chain<'a> {
    Chain(error)
}

pub(crate) struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = self.0.to_string();
        f.write_str(&before)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some libraries repeat the source in the text of their own error.
            if !before.ends_with(&text) {
                write!(f, ": {text}")?;
                before = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Cause>,
    }

    fn layer(text: &'static str, source: Option<Layer>) -> Layer {
        Layer {
            text,
            source: source.map(Cause::new),
        }
    }

    #[test]
    fn a_chain_has_every_source_once() {
        let error = layer(
            "the page cannot be shown",
            Some(layer("the store failed", Some(layer("no space", None)))),
        );
        assert_eq!(chain(&error).to_string(), "the page cannot be shown: the store failed: no space");
        let repeating = layer("the store failed: no space", Some(layer("no space", Some(layer("disk 3", None)))));
        assert_eq!(chain(&repeating).to_string(), "the store failed: no space: disk 3");
        assert_eq!(chain(&layer("alone", None)).to_string(), "alone");
    }
}
