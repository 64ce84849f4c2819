//! In which order a list of requests comes. Only what an index holds in that order: a page costs what it looks at, however many requests there are.

text_enum! {
    /// See the module.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    ListOrder {
        // By when they were issued first.
        #[default]
        Newest = "newest",
        Oldest = "oldest",
        // Requests whose link can still be used, by its end; no others.
        Expiry = "expiry",
    }
}
