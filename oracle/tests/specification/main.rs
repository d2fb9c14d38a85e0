//! The specification, held against tables and laws.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod invalid;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod walkthrough;
#[cfg(test)]
mod world;
