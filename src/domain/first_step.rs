//! What is to be done once with a new portal, before real documents come.

text_enum! {
    /// One step. Its text is stored where an admin ticked it off.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    FirstStep {
        Company = "company",
        Provider = "provider",
        Console = "console",
        SecondFactor = "second-factor",
        Mail = "mail",
        Backup = "backup",
    }
}

impl FirstStep {
    /// Whether doing without it is a decision, or only an admin can know: then it can be ticked off.
    pub(crate) fn can_be_ticked(self) -> bool {
        matches!(self, Self::Console | Self::Mail | Self::Backup)
    }
}
