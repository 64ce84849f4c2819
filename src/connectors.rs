//! Code that speaks to providers, one file each.
