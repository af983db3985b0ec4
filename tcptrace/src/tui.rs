//! The live view: what is seen, what keys do, and how it is drawn. `app` is the model, pure: a key or new content goes in,
//! state and wishes come out. `draw` turns the model into cells, and reads nothing else. `terminal` is the only part
//! that touches one.

pub mod app;
pub mod columns;
pub mod content;
pub mod cursor;
pub mod draw;
#[cfg(test)]
mod examples;
pub mod export;
pub mod gather;
pub mod keys;
pub mod place;
pub mod prompt;
pub mod terminal;
pub mod theme;
pub mod trend;
