//! The view as a file: a table with all its rows and columns as CSV, any other view as text.

use super::{app::App, draw};

/// The contents of a file, and what its name is made of.
pub(crate) struct Exported {
    pub(crate) view: &'static str,
    pub(crate) text: String,
    pub(crate) extension: &'static str,
}

pub(crate) fn export(app: &App) -> Exported {
    let route = app.current().route;
    let (text, extension) = match route.view().table() {
        Some(table) => (table.csv(app.rows(), &app.cell_context()), "csv"),
        None => (draw::text_of_lines(app), "txt"),
    };
    Exported {
        view: route.view().name(),
        text,
        extension,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{
        app::App,
        examples::{Moment, app},
        keys::Key,
    };

    fn exported(mut app: App, key: char) -> String {
        app.press(Key::Char(key));
        app.arrange();
        export(&app).text
    }

    #[test]
    fn tables_are_exported_with_numbers_that_are_not_shortened() {
        for moment in [Moment::Overfull, Moment::LowerBounds] {
            for key in ['1', '2', '3'] {
                let text = exported(app(moment), key);
                assert!(text.lines().count() > 1, "{text}");
                for sign in ['>', '…'] {
                    assert!(!text.contains(sign), "{key} {sign} {text}");
                }
            }
        }
        insta::assert_snapshot!("processes", exported(app(Moment::LowerBounds), '1'));
        insta::assert_snapshot!("connections", exported(app(Moment::LowerBounds), '2'));
        let text = exported(app(Moment::Overfull), '1');
        assert!(text.contains(",1234567,"), "{text}");
    }
}
