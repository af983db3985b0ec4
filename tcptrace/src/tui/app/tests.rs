use super::*;
use crate::{
    event::TcpState,
    tui::{
        examples::{self, Moment, key},
        keys::Key,
    },
    view::connections::Identity,
};

fn app() -> App {
    let mut app = examples::app(Moment::Ordinary);
    app.areas.rows = Rect::new(0, 0, 160, 10);
    app
}

fn press(app: &mut App, keys: &str) -> Vec<Wish> {
    keys.chars().flat_map(|c| app.press(Key::Char(c))).collect()
}

/// A key that leads to another view, and the rows that the caller then brings.
fn go(app: &mut App, key: Key) {
    assert_eq!(app.press(key), [Wish::Rows]);
    app.arrange();
}

fn chosen_pid(app: &App) -> Option<u32> {
    match &app.stop().cursor.chosen {
        Some(RowId::Process(key)) => key.map(|key| key.pid),
        _ => None,
    }
}

#[test]
fn processes_with_a_finding_come_first() {
    let app = app();
    assert_eq!(app.stop().place, Place::Processes);
    assert_eq!(chosen_pid(&app), Some(29_879));
}

#[test]
fn rows_are_walked_with_arrows_letters_and_pages() {
    let mut app = app();
    for (key, at) in [
        (Key::Down, 1),
        (Key::Char('j'), 2),
        (Key::Up, 1),
        (Key::Char('k'), 0),
        (Key::Up, 0),
        (Key::End, 3),
        (Key::Down, 3),
        (Key::Home, 0),
        (Key::PageDown, 3),
        (Key::PageUp, 0),
        (Key::Char('G'), 3),
        (Key::Char('g'), 0),
    ] {
        assert_eq!(app.press(key), []);
        assert_eq!(app.stop().cursor.at, at, "{key:?}");
    }
}

#[test]
fn each_view_has_a_key_and_tab_goes_round() {
    let mut app = app();
    for (number, tab) in ('1'..).zip(Tab::ALL) {
        if tab == Tab::Histograms {
            continue;
        }
        go(&mut app, Key::Char(number));
        assert_eq!(app.tab(), Some(tab));
    }
    go(&mut app, Key::Tab);
    assert_eq!(app.tab(), Some(Tab::Processes));
    go(&mut app, Key::BackTab);
    assert_eq!(app.tab(), Some(Tab::Findings));
}

#[test]
fn enter_leads_from_a_process_to_a_connection_s_history_and_escape_back() {
    let mut app = app();
    go(&mut app, Key::Enter);
    assert_eq!(
        app.stop().place,
        Place::Connections(Of::Process(Some(key(29_879))))
    );
    let Some(RowId::Connection(first)) = app.stop().cursor.chosen.clone() else {
        panic!("{:?}", app.stop());
    };
    let row = app
        .content
        .connections
        .iter()
        .find(|row| row.identity == first)
        .unwrap();
    assert_eq!(
        row.state,
        TcpState::CloseWait,
        "what incidents are about comes first"
    );
    go(&mut app, Key::Enter);
    assert_eq!(app.stop().place, Place::History(first));
    go(&mut app, Key::Esc);
    go(&mut app, Key::Esc);
    assert_eq!(app.stop().place, Place::Processes);
    assert_eq!(app.press(Key::Esc), [], "there is nothing to go back to");
}

#[test]
fn the_chosen_row_stays_chosen_as_the_table_moves() {
    let mut app = app();
    press(&mut app, "j");
    let before = chosen_pid(&app);
    press(&mut app, ">>>r");
    assert_eq!(chosen_pid(&app), before);
    app.content.view.processes.reverse();
    app.arrange();
    assert_eq!(chosen_pid(&app), before);
}

#[test]
fn sorting_goes_from_column_to_column_and_turns_round() {
    let mut app = app();
    let first = app.processes;
    press(&mut app, ">");
    assert_eq!(
        app.processes,
        Order::by(processes::place_of::PID),
        "from the last to the first"
    );
    press(&mut app, "r");
    let pids: Vec<u32> = app
        .rows()
        .iter()
        .map(|row| app.content.view.processes[*row as usize].pid.unwrap())
        .collect();
    assert_eq!(pids, [29_882, 29_881, 29_880, 29_879]);
    press(&mut app, "<");
    assert_eq!(app.processes, first);
}

#[test]
fn a_search_goes_from_match_to_match() {
    let mut app = app();
    press(&mut app, "/client");
    assert_eq!(app.press(Key::Enter), []);
    assert_eq!(chosen_pid(&app), Some(29_880));
    press(&mut app, "n");
    assert_eq!(chosen_pid(&app), Some(29_880), "there is only one");
    press(&mut app, "/名前");
    app.press(Key::Enter);
    assert_eq!(chosen_pid(&app), Some(29_881));
    press(&mut app, "/nowhere");
    app.press(Key::Enter);
    assert!(app.message.as_ref().is_some_and(|message| message.is_error));
    assert_eq!(chosen_pid(&app), Some(29_881));
}

#[test]
fn a_filter_is_asked_for_and_handed_on() {
    let mut app = app();
    press(&mut app, "f-c nginx");
    assert_eq!(app.press(Key::Enter), [Wish::Filter("-c nginx".to_owned())]);
    app.refuse_filter("-D x".to_owned(), "wrong".to_owned());
    press(&mut app, "y");
    assert_eq!(app.press(Key::Enter), [Wish::Filter("-D xy".to_owned())]);
}

#[test]
fn a_delay_is_a_time_above_zero() {
    let mut app = app();
    press(&mut app, "d");
    app.press(Key::Backspace);
    press(&mut app, "0.5");
    assert_eq!(app.press(Key::Enter), [Wish::Delay(Duration::from_millis(500))]);
    press(&mut app, "dx");
    assert_eq!(app.press(Key::Enter), []);
    assert!(app.prompt.as_ref().is_some_and(|prompt| prompt.error.is_some()));
    app.press(Key::Esc);
    assert_eq!(
        (app.prompt.clone(), app.delay),
        (None, Duration::from_millis(500))
    );
}

#[test]
fn histograms_are_of_the_chosen_row_and_of_everybody() {
    let mut app = app();
    go(&mut app, Key::Char('5'));
    assert_eq!(
        app.stop().place,
        Place::Histograms(Of::Process(Some(key(29_879))))
    );
    go(&mut app, Key::Char('a'));
    assert_eq!(app.stop().place, Place::Histograms(Of::All));
    go(&mut app, Key::Char('a'));
    assert_eq!(
        app.stop().place,
        Place::Histograms(Of::Process(Some(key(29_879))))
    );
}

#[test]
fn a_finding_leads_to_its_process() {
    let mut app = app();
    go(&mut app, Key::Char('6'));
    go(&mut app, Key::Enter);
    assert_eq!(
        app.stop().place,
        Place::Connections(Of::Process(Some(key(29_879))))
    );
    go(&mut app, Key::Esc);
    press(&mut app, "j");
    assert_eq!(app.press(Key::Enter), []);
    assert!(
        app.message.is_some(),
        "a finding about the host has no connections"
    );
}

#[test]
fn what_the_model_cannot_do_it_wishes() {
    let mut app = app();
    for (key, wish) in [
        (Key::Char('q'), Wish::Quit),
        (Key::Ctrl('c'), Wish::Quit),
        (Key::Ctrl('z'), Wish::Suspend),
        (Key::Ctrl('l'), Wish::Redraw),
        (Key::Char('D'), Wish::Dump),
        (Key::Char('e'), Wish::Export),
        (Key::Char('m'), Wish::Mouse(false)),
    ] {
        assert_eq!(app.press(key), [wish]);
    }
    press(&mut app, " ");
    assert!(app.is_paused);
    assert_eq!(press(&mut app, "+[]"), [], "this is no recording");
}

#[test]
fn a_recording_has_speed_and_moments_and_no_dump() {
    let mut app = app();
    app.content.play = Some(crate::tui::content::Play {
        wall_ns: 0,
        speed: 1.0,
        number: 1,
        of: 1,
        is_over: false,
    });
    assert_eq!(
        press(&mut app, "++-[]D"),
        [
            Wish::Speed(2.0),
            Wish::Speed(4.0),
            Wish::Speed(2.0),
            Wish::Seek(-60),
            Wish::Seek(60)
        ]
    );
    assert_eq!(app.press(Key::Left), [Wish::Seek(-10)]);
    assert_eq!(app.press(Key::Right), [Wish::Seek(10)]);
}

#[test]
fn clicks_choose_open_sort_and_turn_pages() {
    let mut app = app();
    app.areas = Areas {
        rows: Rect::new(0, 5, 160, 10),
        lines: 0,
        titles: vec![(Rect::new(0, 4, 7, 1), processes::place_of::PID)],
        tabs: vec![(Rect::new(20, 1, 8, 1), Tab::Endpoints)],
    };
    assert_eq!(app.click(3, 6), []);
    assert_eq!(app.stop().cursor.at, 1);
    assert_eq!(app.click(3, 6), [Wish::Rows], "a second click opens it");
    app.arrange();
    app.press(Key::Esc);
    app.arrange();
    app.click(2, 4);
    assert_eq!(app.processes, Order::by(processes::place_of::PID));
    app.click(2, 4);
    assert!(app.processes.is_reversed);
    assert_eq!(app.click(21, 1), [Wish::Rows]);
    assert_eq!(app.stop().place, Place::Endpoints);
    assert_eq!(app.click(0, 0), []);
}

#[test]
fn a_request_is_followed_to_the_connection_that_it_becomes() {
    let before = examples::connection(3, Moment::Ordinary).identity;
    assert_eq!(before.id.cookie, 0);
    let mut id = before.id;
    id.cookie = 77;
    assert!(before.is(&Identity { id, ..before }));
    let mut ends = before.ends;
    ends.remote_port += 1;
    assert!(!before.is(&Identity { ends, ..before }));
}
