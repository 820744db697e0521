//! What a crash must leave.
