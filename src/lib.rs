//! hostler
