//! What a terminal shows, with its colours, as an SVG picture. Understands the SGR sequences (ECMA-48 section 8.3.117) of
//! the sixteen colours, bold, dim and reversed.

use std::fmt::Write as _;

/// Size of a cell in units of the picture.
const CELL: (f64, f64) = (8.4, 18.0);

const GROUND: &str = "#16181d";
const TEXT: &str = "#d5d8de";

/// The sixteen colours.
const PALETTE: [&str; 16] = [
    "#3b4048", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#abb2bf", "#5c6370",
    "#ff7a85", "#b5e890", "#ffd68a", "#82c7ff", "#de9cf0", "#7fdbe6", "#ffffff",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    colour: Option<usize>,
    is_bold: bool,
    is_dim: bool,
    is_reversed: bool,
}

/// A piece of a line in one style.
struct Piece {
    style: Style,
    text: String,
}

/// The picture of a screen of `width` × `height` cells.
pub(crate) fn draw(screen: &str, width: usize, height: usize) -> String {
    let size = (number(width) * CELL.0 + 16.0, number(height) * CELL.1 + 16.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" font-family=\"ui-monospace, 'DejaVu Sans \
         Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"6\" \
         fill=\"{GROUND}\"/>\n",
        size.0, size.1
    );
    for (row, pieces) in lines(screen).into_iter().enumerate().take(height) {
        let mut column = 0;
        for piece in pieces {
            let cells = piece.text.chars().count();
            let visible = if piece.style.is_reversed {
                piece.text.as_str()
            } else {
                piece.text.trim_end()
            };
            if !visible.is_empty() {
                push(&mut out, &piece.style, visible, column, row);
            }
            column += cells;
        }
    }
    out.push_str("</svg>\n");
    out
}

/// The screen without its colours.
pub(crate) fn text(screen: &str) -> String {
    let text = |pieces: Vec<Piece>| pieces.into_iter().map(|piece| piece.text).collect();
    let lines: Vec<String> = lines(screen).into_iter().map(text).collect();
    lines.join("\n")
}

fn push(out: &mut String, style: &Style, text: &str, column: usize, row: usize) {
    let x = 8.0 + number(column) * CELL.0;
    let y = 8.0 + number(row) * CELL.1;
    let length = number(text.chars().count()) * CELL.0;
    let colour = style.colour.map_or(TEXT, |colour| PALETTE[colour]);
    let ink = if style.is_reversed { GROUND } else { colour };
    if style.is_reversed {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            CELL.1
        );
    }
    let bold = if style.is_bold {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let dim = if style.is_dim { " opacity=\"0.6\"" } else { "" };
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\" fill=\"{ink}\"{bold}{dim} \
         xml:space=\"preserve\">{escaped}</text>",
        y + 13.5
    );
}

/// The pieces of every line. A style lasts until another one comes, beyond the end of a line too.
fn lines(screen: &str) -> Vec<Vec<Piece>> {
    let mut style = Style::default();
    screen.lines().map(|line| pieces(line, &mut style)).collect()
}

fn pieces(line: &str, style: &mut Style) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (plain, escape) = rest.split_once('\u{1b}').unwrap_or((rest, ""));
        if !plain.is_empty() {
            pieces.push(Piece {
                style: *style,
                text: plain.to_owned(),
            });
        }
        // Only SGR ends in `m`; anything else says nothing about a style.
        let sgr = escape.strip_prefix('[').and_then(|codes| codes.split_once('m'));
        rest = match sgr {
            Some((codes, after)) => {
                let codes: Vec<usize> = codes.split(';').map(|code| code.parse().unwrap_or(0)).collect();
                apply(style, &codes);
                after
            }
            None => escape,
        };
    }
    pieces
}

fn apply(style: &mut Style, codes: &[usize]) {
    let mut codes = codes.iter();
    while let Some(code) = codes.next() {
        match code {
            0 => *style = Style::default(),
            1 => style.is_bold = true,
            2 => style.is_dim = true,
            7 => style.is_reversed = true,
            22 => (style.is_bold, style.is_dim) = (false, false),
            27 => style.is_reversed = false,
            30..=37 => style.colour = Some(code - 30),
            // By number: `38;5;n`, of which the first sixteen are the same.
            38 => style.colour = codes.nth(1).copied().filter(|colour| *colour < PALETTE.len()),
            39 => style.colour = None,
            90..=97 => style.colour = Some(code - 90 + 8),
            _ => {}
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "terminals have few cells")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_and_text_is_escaped() {
        let screen = "a\u{1b}[1;31mb<\u{1b}[0m c\u{1b}[7md \u{1b}[27m";
        assert_eq!(text(screen), "ab< cd ");
        let picture = draw(screen, 10, 1);
        assert!(
            picture.contains("font-weight=\"bold\" xml:space=\"preserve\">b&lt;</text>"),
            "{picture}"
        );
        assert_eq!(
            picture.matches("<rect").count(),
            2,
            "the ground, and one reversed piece"
        );
    }

    #[test]
    fn colours_by_number_are_the_same_and_styles_outlast_lines() {
        let screen = "a\u{1b}[1;38;5;2mgreen\u{1b}[0m\u{1b}[7m\nb\u{1b}[39;38;5;200mc";
        let pieces: Vec<(String, Option<usize>, bool)> = lines(screen)
            .into_iter()
            .flatten()
            .map(|piece| (piece.text, piece.style.colour, piece.style.is_reversed))
            .collect();
        assert_eq!(
            pieces,
            [
                ("a".to_owned(), None, false),
                ("green".to_owned(), Some(2), false),
                ("b".to_owned(), None, true),
                ("c".to_owned(), None, true),
            ]
        );
    }
}
