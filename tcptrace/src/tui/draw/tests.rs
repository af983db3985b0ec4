use super::*;
use crate::{
    event::{TcpState, fixture::comm},
    tui::{
        app::Effect,
        columns::ColumnId,
        examples::{self, Moment},
        keys::Key,
        prompt::{Prompt, Question},
        theme::Theme,
    },
};
use ratatui::{Terminal, backend::TestBackend, style::Color};

const SIZES: [(u16, u16); 2] = [(80, 24), (160, 50)];

/// The screen as text, and the model that the drawing has told where things are.
fn drawn(app: &mut App, size: (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    // The first drawing tells the model how many rows there are, as on a terminal.
    for _ in 0..2 {
        terminal
            .draw(|frame| app.areas = draw(app, frame.buffer_mut()))
            .unwrap();
        app.arrange();
    }
    terminal.backend().to_string()
}

/// Opens a view by its keys; the content of an example is there already.
fn open(app: &mut App, keys: &[Key]) {
    for key in keys {
        let effects = app.press(*key);
        assert!(
            effects.iter().all(|effect| *effect == Effect::Rows),
            "{effects:?}"
        );
        app.arrange();
    }
}

fn shoot(view: &str, keys: &[Key]) {
    for moment in Moment::ALL {
        for size in SIZES {
            let mut app = examples::app(moment);
            open(&mut app, keys);
            let name = format!("{view}-{moment:?}-{}x{}", size.0, size.1).to_lowercase();
            insta::assert_snapshot!(name, drawn(&mut app, size));
        }
    }
}

#[test]
fn processes() {
    shoot("processes", &[]);
}

#[test]
fn processes_of_one_name_that_have_nothing_open_are_one_row() {
    let mut app = examples::app(Moment::Ordinary);
    let row = &mut app.content.view.processes[1];
    (row.pid, row.key, row.others) = (None, None, 149);
    app.arrange();
    let text = drawn(&mut app, SIZES[0]);
    assert!(text.contains("   ×150 short-client"), "{text}");
    assert!(text.contains("\"153 processes"), "{text}");
    assert!(text.contains("1/4\""), "{text}");
}

#[test]
fn connections() {
    shoot("connections", &[Key::Char('2')]);
}

#[test]
fn histories() {
    shoot("history", &[Key::Char('2'), Key::Enter]);
}

#[test]
fn endpoints() {
    shoot("endpoints", &[Key::Char('3')]);
}

#[test]
fn transitions() {
    shoot("transitions", &[Key::Char('4')]);
}

#[test]
fn histograms() {
    shoot("histograms", &[Key::Char('5')]);
}

#[test]
fn findings() {
    shoot("findings", &[Key::Char('6')]);
}

#[test]
fn the_help_lists_every_key() {
    let mut app = examples::app(Moment::Ordinary);
    open(&mut app, &[Key::Char('?')]);
    let screen = drawn(&mut app, (160, 70));
    for binding in &crate::tui::keys::BINDINGS {
        let names: Vec<String> = binding.keys.iter().map(|key| key.name()).collect();
        assert!(
            screen.contains(&names.join(" ")) && screen.contains(binding.long),
            "{names:?}"
        );
    }
    insta::assert_snapshot!(screen);
}

#[test]
fn a_prompt_a_message_and_an_error_take_the_place_of_the_keys() {
    let mut app = examples::app(Moment::Ordinary);
    app.prompt = Some(Prompt::new(Question::Filter, "-c nginx ".repeat(20)));
    let asked = drawn(&mut app, (80, 24));
    app.reject_filter("-D x".to_owned(), "invalid value 'x'".to_owned());
    let refused = drawn(&mut app, (80, 24));
    app.prompt = None;
    app.show_message("histograms written to x.hlog", false);
    let told = drawn(&mut app, (80, 24));
    let last = |screen: String| screen.lines().last().unwrap_or_default().to_owned();
    insta::assert_snapshot!([asked, refused, told].map(last).join("\n"));
}

#[test]
fn every_view_is_readable_in_forty_columns() {
    for key in ['1', '2', '3', '4', '5', '6'] {
        let mut app = examples::app(Moment::Ordinary);
        open(&mut app, &[Key::Char(key)]);
        insta::assert_snapshot!(format!("narrow-{key}"), drawn(&mut app, (40, 24)));
    }
}

#[test]
fn the_direction_of_the_order_is_beside_its_title() {
    let mut app = examples::app(Moment::Ordinary);
    let mut titles = |keys: &[Key]| {
        open(&mut app, keys);
        let screen = drawn(&mut app, (80, 24));
        screen
            .lines()
            .find(|line| line.contains("COMMAND"))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(titles(&[]).contains("FINDING↓"));
    assert!(titles(&[Key::Char('r')]).contains("FINDING↑"));
    assert!(titles(&[Key::F(6)]).contains("PID↑"));
    assert!(titles(&[Key::Char('s')]).contains("COMMAND↑"));
    assert!(titles(&[Key::Char('s')]).contains("ESTAB↓"));
}

#[test]
fn every_view_can_be_drawn_at_any_size() {
    for moment in Moment::ALL {
        for key in ['1', '2', '3', '4', '5', '6', '?'] {
            let mut app = examples::app(moment);
            open(&mut app, &[Key::Char(key)]);
            for size in [(1, 1), (2, 3), (10, 5), (79, 15), (81, 16), (300, 100)] {
                drawn(&mut app, size);
            }
        }
    }
}

#[test]
fn columns_stay_aligned_beside_wide_and_combining_characters() {
    let mut app = examples::app(Moment::Ordinary);
    drawn(&mut app, (80, 24));
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal
        .draw(|frame| drop(draw(&app, frame.buffer_mut())))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let established = ColumnId::SocketsIn(TcpState::Established);
    let (title, _) = app
        .areas
        .titles
        .iter()
        .find(|(_, column)| *column == established)
        .unwrap();
    let counts: Vec<&str> = (0..4)
        .map(|row| buffer[(title.right() - 1, app.areas.rows.y + row)].symbol())
        .collect();
    assert_eq!(
        counts,
        ["1", "4", "3", "2"],
        "every count ends below the end of its title"
    );
}

#[test]
fn tricks_in_a_name_do_not_reach_the_terminal() {
    let trick = "\u{202e}\u{1b}[2J";
    let comm = comm(trick);
    let mut app = examples::app(Moment::Ordinary);
    for owner in app
        .content
        .connections
        .iter_mut()
        .filter_map(|row| row.owner.as_mut())
    {
        owner.comm = comm;
    }
    open(&mut app, &[Key::Char('2')]);
    let screen = drawn(&mut app, (160, 50));
    assert!(screen.contains("/\u{fffd}\u{fffd}[2J"), "{screen}");
    assert!(
        screen
            .chars()
            .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}')
    );
}

#[test]
fn without_colour_no_cell_has_one_and_with_it_only_the_sixteen_are_used() {
    for theme in [Theme::PLAIN, Theme::COLOUR] {
        for key in ['1', '2', '3', '4', '5', '6', '?'] {
            let mut app = examples::app(Moment::Losses);
            app.theme = theme;
            open(&mut app, &[Key::Char(key)]);
            let mut terminal = Terminal::new(TestBackend::new(160, 50)).unwrap();
            terminal
                .draw(|frame| app.areas = draw(&app, frame.buffer_mut()))
                .unwrap();
            for cell in terminal.backend().buffer().content() {
                assert!(!matches!(cell.fg, Color::Rgb(..) | Color::Indexed(_)));
                assert!(theme == Theme::COLOUR || (cell.fg, cell.bg) == (Color::Reset, Color::Reset));
            }
        }
    }
}
