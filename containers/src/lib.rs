//! Empty: this crate exists for its tests, which put netpol's image into a container engine.
