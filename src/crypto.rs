//! Keys, sealing, erasing, passwords.
