use super::*;
use crate::{
    event::TcpState,
    tui::{
        draw,
        examples::{self, Moment, key},
        keys::Key,
    },
    view::{ProcessView, connections::Identity},
};
use ratatui::buffer::Buffer;

fn app() -> App {
    let mut app = examples::app(Moment::Ordinary);
    app.areas.rows = Rect::new(0, 0, 160, 10);
    app
}

fn press(app: &mut App, keys: &str) -> Vec<Effect> {
    keys.chars().flat_map(|c| app.press(Key::Char(c))).collect()
}

/// A key that leads to another view, and the rows that the caller then brings.
fn go(app: &mut App, key: Key) {
    assert_eq!(app.press(key), [Effect::Rows]);
    app.arrange();
}

fn chosen_pid(app: &App) -> Option<u32> {
    match &app.current().cursor.chosen {
        Some(RowId::Process(key)) => key.map(|key| key.pid),
        _ => None,
    }
}

#[test]
fn processes_with_a_finding_come_first() {
    let app = app();
    assert_eq!(app.current().route, Route::Processes);
    assert_eq!(chosen_pid(&app), Some(29_879));
}

#[test]
fn each_sort_of_the_command_line_orders_by_what_it_names() {
    let by = |sort, value: fn(&ProcessView) -> u64| {
        let mut app = App::new(Theme::PLAIN, sort, Duration::from_secs(1), String::new());
        app.content = examples::content(Moment::Ordinary);
        // Many sockets that are not in ESTABLISHED, and few connections opened for its many changes of state.
        let row = &mut app.content.view.processes[2];
        row.counts[TcpState::FinWait2.index()] = 500;
        (row.rate, row.opens) = (400.0, 0.0);
        app.arrange();
        let rows = app.rows().iter();
        let values: Vec<u64> = rows
            .map(|row| value(&app.content.view.processes[*row as usize]))
            .collect();
        values
    };
    let rate = |row: &ProcessView| row.rate.to_bits();
    let time_wait = |row: &ProcessView| row.counts[TcpState::TimeWait.index()];
    for values in [
        by(Sort::Sockets, ProcessView::total),
        by(Sort::Changes, rate),
        by(Sort::State(TcpState::TimeWait), time_wait),
    ] {
        assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
        assert!(values[0] > values[1], "{values:?}");
    }
    let pids = by(Sort::Pid, |row| row.pid.unwrap().into());
    assert!(pids.is_sorted(), "{pids:?}");
}

#[test]
fn the_column_that_rows_are_sorted_by_is_shown_on_any_terminal() {
    for (sort, title) in [
        (Sort::Sockets, ColumnId::Sockets),
        (Sort::Changes, ColumnId::Changes),
    ] {
        let mut app = App::new(Theme::PLAIN, sort, Duration::from_secs(1), String::new());
        app.content = examples::content(Moment::Ordinary);
        let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
        app.areas = draw::draw(&app, &mut buffer);
        assert!(app.areas.titles.iter().any(|(_, column)| *column == title));
        app.arrange();
        press(&mut app, "r");
        assert_eq!(app.order().unwrap().column, title);
    }
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
        assert_eq!(app.current().cursor.at, at, "{key:?}");
    }
}

#[test]
fn enter_leads_from_processes_of_one_name_to_what_they_have_left() {
    let mut app = app();
    let name = *b"healthcheck\0\0\0\0\0";
    let row = &mut app.content.view.processes[1];
    (row.pid, row.key, row.name, row.others) = (None, None, name, 149);
    app.arrange();
    assert_eq!(app.press(Key::End), []);
    assert_eq!(app.current().cursor.chosen, Some(RowId::LeftOver(name)));
    go(&mut app, Key::Enter);
    assert_eq!(app.current().route, Route::connections(Selection::LeftOver(name)));
    assert_eq!(press(&mut app, "h"), [Effect::Rows]);
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
        app.current().route,
        Route::connections(Selection::Process(Some(key(29_879))))
    );
    let Some(RowId::Connection(first)) = app.current().cursor.chosen.clone() else {
        panic!("{:?}", app.current());
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
    assert_eq!(app.current().route, Route::history(first));
    go(&mut app, Key::Esc);
    go(&mut app, Key::Esc);
    assert_eq!(app.current().route, Route::Processes);
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
    let first = app.order().unwrap();
    press(&mut app, ">");
    assert_eq!(
        app.order().unwrap(),
        Order::by(ColumnId::Pid),
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
    assert_eq!(app.order().unwrap(), first);
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
    assert_eq!(app.press(Key::Enter), [Effect::Filter("-c nginx".to_owned())]);
    app.reject_filter("-D x".to_owned(), "wrong".to_owned());
    press(&mut app, "y");
    assert_eq!(app.press(Key::Enter), [Effect::Filter("-D xy".to_owned())]);
}

#[test]
fn a_delay_is_a_time_above_zero() {
    let mut app = app();
    press(&mut app, "d0.5");
    assert_eq!(app.press(Key::Enter), [Effect::Delay(Duration::from_millis(500))]);
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
        app.current().route,
        Route::histograms(Selection::Process(Some(key(29_879))))
    );
    go(&mut app, Key::Char('a'));
    assert_eq!(app.current().route, Route::histograms(Selection::All));
    go(&mut app, Key::Char('a'));
    assert_eq!(
        app.current().route,
        Route::histograms(Selection::Process(Some(key(29_879))))
    );
}

#[test]
fn a_finding_leads_to_its_process() {
    let mut app = app();
    go(&mut app, Key::Char('6'));
    go(&mut app, Key::Enter);
    assert_eq!(
        app.current().route,
        Route::connections(Selection::Process(Some(key(29_879))))
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
        (Key::Char('q'), Effect::Quit),
        (Key::Ctrl('c'), Effect::Quit),
        (Key::Ctrl('z'), Effect::Suspend),
        (Key::Ctrl('l'), Effect::Redraw),
        (Key::Char('D'), Effect::Dump),
        (Key::Char('e'), Effect::Export),
        (Key::Char('m'), Effect::Mouse(false)),
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
            Effect::Speed(2.0),
            Effect::Speed(4.0),
            Effect::Speed(2.0),
            Effect::Seek(-60),
            Effect::Seek(60)
        ]
    );
    assert_eq!(app.press(Key::Left), [Effect::Seek(-10)]);
    assert_eq!(app.press(Key::Right), [Effect::Seek(10)]);
}

#[test]
fn clicks_choose_open_sort_and_turn_pages() {
    let mut app = app();
    app.areas = Areas {
        rows: Rect::new(0, 5, 160, 10),
        lines: 0,
        titles: vec![(Rect::new(0, 4, 7, 1), ColumnId::Pid)],
        tabs: vec![(Rect::new(20, 1, 8, 1), Tab::Endpoints)],
    };
    assert_eq!(app.click(3, 6), []);
    assert_eq!(app.current().cursor.at, 1);
    assert_eq!(app.click(3, 6), [Effect::Rows], "a second click opens it");
    app.arrange();
    app.press(Key::Esc);
    app.arrange();
    app.click(2, 4);
    assert_eq!(app.order().unwrap(), Order::by(ColumnId::Pid));
    app.click(2, 4);
    assert!(app.order().unwrap().is_reversed);
    assert_eq!(app.click(21, 1), [Effect::Rows]);
    assert_eq!(app.current().route, Route::Endpoints);
    assert_eq!(app.click(0, 0), []);
}

#[test]
fn a_request_is_followed_to_the_connection_that_it_becomes() {
    let before = examples::connection(3, Moment::Ordinary).identity;
    assert_eq!(before.id.cookie, 0);
    let mut id = before.id;
    id.cookie = 77;
    assert!(before.is(&Identity { id, ..before }));
    let mut endpoints = before.endpoints;
    endpoints.remote_port += 1;
    assert!(!before.is(&Identity { endpoints, ..before }));
}
