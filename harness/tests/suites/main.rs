//! Loading and planning: the embedded suites, and the corpora of valid and invalid files.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod index;
#[cfg(test)]
mod rehearsal;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod upstream;
