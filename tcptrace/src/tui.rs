//! The live view: what is seen, what keys do, and how it is drawn. `app` is the model, pure: a key or new content goes in,
//! state and effects come out. `draw` turns the model into cells, and reads nothing else. `terminal` is the only part
//! that touches one.

pub mod app;
mod columns;
pub mod content;
mod cursor;
pub mod draw;
#[cfg(test)]
mod examples;
pub(crate) mod export;
mod format;
pub mod gather;
pub mod keys;
mod prompt;
pub(crate) mod route;
mod table;
pub mod terminal;
pub mod theme;
mod trend;
mod views;
