//! What kind of file is this, and is it whole.
