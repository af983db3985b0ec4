//! Shortens the messages of failures: prints the beginning and the end of a long message, and writes all of it to a
//! file.

use std::{
    any::Any,
    io::{self, Write as _},
    panic,
    path::PathBuf,
};

/// Maximum length of a printed message, bytes.
const LIMIT: usize = 16 << 10;

/// Maximum length printed when a thread panics, bytes: the test's failure repeats the message.
const LIMIT_AT_ONCE: usize = 1 << 10;

/// Makes panics print the beginning and the end of a long message.
pub fn shorten_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.to_string();
        match shortened(&message, LIMIT_AT_ONCE) {
            Some(shortened) => eprintln!("{shortened}"),
            None => usual(info),
        }
    }));
}

/// The message of a panic. A long one is shortened, and ends with the path of a file with the whole message.
#[must_use]
pub fn message(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    let Some(shortened) = shortened(message, LIMIT) else {
        return message.to_owned();
    };
    match keep(message) {
        Ok(path) => format!("{shortened}\nall of it is in {}", path.display()),
        Err(error) => format!("{shortened}\nall of it could not be written to a file: {error}"),
    }
}

/// Beginning and end of a text, `None` if it is within the limit.
fn shortened(text: &str, limit: usize) -> Option<String> {
    if text.len() <= limit {
        return None;
    }
    let head = &text[..text.floor_char_boundary(limit / 2)];
    let tail = &text[text.ceil_char_boundary(text.len() - limit / 2)..];
    let left_out = text.len() - head.len() - tail.len();
    Some(format!("{head}\n[… {left_out} bytes left out …]\n{tail}"))
}

fn keep(text: &str) -> io::Result<PathBuf> {
    let mut file = tempfile::Builder::new()
        .prefix("tcptrace-failure-")
        .suffix(".txt")
        .tempfile()?;
    file.write_all(text.as_bytes())?;
    let (_, path) = file.keep()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_short_message_is_printed_as_it_is() {
        assert_eq!(message(&"it is\nnot so".to_owned()), "it is\nnot so");
        assert_eq!(message(&"static"), "static");
    }

    #[test]
    fn of_ten_million_characters_both_ends_are_printed_and_all_are_kept() {
        let whole = format!("first{}last", "é".repeat(5_000_000));
        let printed = message(&whole);
        assert!(printed.len() < LIMIT + 200, "{}", printed.len());
        assert!(printed.starts_with("firsté"));
        let (shown, path) = printed
            .split_once("\nall of it is in ")
            .expect("the file is named");
        assert!(shown.ends_with("élast"));
        let kept: usize = shown
            .lines()
            .filter(|line| !line.starts_with('['))
            .map(str::len)
            .sum();
        let left_out = format!("[… {} bytes left out …]", whole.len() - kept);
        assert!(shown.contains(&left_out), "{left_out}");
        assert_eq!(fs::read_to_string(path).expect("it can be read"), whole);
        fs::remove_file(path).expect("it can be removed");
    }
}
