//! Names for the addresses of a stack, from ELF symbols, DWARF and perf maps, while the process exists; else why there
//! are none.

use super::{
    book::Stack,
    modules::{self, Mapping},
    perf_map::PerfMap,
};
use crate::{
    event::StartTicks,
    printable::{made_printable, printable},
    privileges::{capabilities::opens_mapped_files, scout},
    source::process,
    stacks::frames::End,
};
use blazesym::{
    Pid,
    symbolize::{CodeInfo, Input, Symbolized, Symbolizer, source},
};
use serde::Serialize;
use std::os::unix::ffi::OsStrExt as _;

/// A frame with its names, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Frame {
    /// The function, demangled; `None` where it has no name.
    pub(crate) function: Option<String>,
    /// The file that the code comes from; `None` where it was made at run time.
    pub(crate) module: Option<String>,
    /// Offset in that file, where the function has no name.
    pub(crate) offset: Option<u64>,
    pub(crate) file: Option<String>,
    /// Line in the source file, from 1.
    pub(crate) line: Option<u32>,
    /// Whether the compiler put it into the frame that follows.
    pub(crate) inlined: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedStack {
    /// Innermost first.
    pub(crate) frames: Vec<Frame>,
    /// What is missing, and why: a sentence each.
    pub(crate) limitations: Vec<String>,
}

thread_local! {
    /// Caches what it has read from files. It must stay on the scout thread, which inspects processes.
    static SYMBOLIZER: Symbolizer = Symbolizer::new();
}

pub(crate) fn of(stack: &Stack) -> NamedStack {
    let addresses = &stack.frames.addresses;
    let pid = stack.process.pid;
    let mut named = NamedStack::default();
    named
        .limitations
        .extend(stack.frames.end.limitation().map(str::to_owned));
    if addresses.is_empty() {
        return named;
    }
    let lives = process::start_of(pid) == Some(StartTicks::of(stack.process));
    let mappings = if lives {
        modules::executable(pid)
    } else {
        Vec::new()
    };
    if mappings.is_empty() {
        named
            .limitations
            .push("names are missing: the process has exited".to_owned());
        return named;
    }
    look_up(&mut named, pid, addresses, &mappings);
    named
}

fn look_up(named: &mut NamedStack, pid: u32, addresses: &[u64], mappings: &[Mapping]) {
    let (wanted, mapped) = (addresses.to_vec(), mappings.to_vec());
    match scout::ask(move || SYMBOLIZER.with(|symbolizer| frames(symbolizer, pid, &wanted, &mapped))) {
        Ok(frames) => named.frames.extend(frames),
        Err(error) => named.limitations.push(format!("names are missing: {error}")),
    }
    let is_made_at_run_time = |frame: &Frame| frame.function.is_none() && frame.module.is_none();
    if named.frames.iter().any(is_made_at_run_time) {
        // Nothing is inlined into code that was made at run time, but frames before it may be.
        let map = PerfMap::of(pid);
        let real = named.frames.iter_mut().filter(|frame| !frame.inlined);
        for (frame, address) in real.zip(addresses) {
            if is_made_at_run_time(frame) {
                frame.function = map.name(*address).map(str::to_owned);
            }
        }
    }
    let limitations = nameless(&named.frames, pid);
    named.limitations.extend(limitations);
}

/// The frames at these addresses, and those of functions that the compiler put into them.
fn frames(
    symbolizer: &Symbolizer,
    pid: u32,
    addresses: &[u64],
    mappings: &[Mapping],
) -> Result<Vec<Frame>, String> {
    let mut process = source::Process::new(Pid::from(pid));
    // One line that it does not understand costs it all names of the process, and the JVM writes such lines.
    process.perf_map = false;
    process.map_files = opens_mapped_files();
    let source = source::Source::Process(process);
    let symbols = symbolizer
        .symbolize(&source, Input::AbsAddr(addresses))
        // It may name files that the process has chosen.
        .map_err(|error| made_printable(error.to_string()))?;
    let mut frames = Vec::new();
    for (address, symbol) in addresses.iter().zip(symbols) {
        let mapping = mappings.iter().find(|mapping| mapping.range.contains(address));
        push(&mut frames, *address, &symbol, mapping);
    }
    Ok(frames)
}

fn push(frames: &mut Vec<Frame>, address: u64, symbol: &Symbolized<'_>, mapping: Option<&Mapping>) {
    let module = mapping
        .filter(|mapping| mapping.file.is_some())
        .map(|mapping| printable(mapping.path.as_bytes()).into_owned());
    let Symbolized::Sym(symbol) = symbol else {
        let offset = mapping.map(|mapping| address - mapping.range.start + mapping.offset);
        frames.push(Frame {
            offset: offset.filter(|_| module.is_some()),
            module,
            ..Frame::default()
        });
        return;
    };
    // The function that was inlined last is the innermost one.
    for inlined in symbol.inlined.iter().rev() {
        frames.push(at(
            &inlined.name,
            inlined.code_info.as_ref(),
            module.clone(),
            true,
        ));
    }
    frames.push(at(&symbol.name, symbol.code_info.as_deref(), module, false));
}

fn at(name: &str, info: Option<&CodeInfo<'_>>, module: Option<String>, inlined: bool) -> Frame {
    Frame {
        function: Some(printable(name.as_bytes()).into_owned()),
        module,
        offset: None,
        file: info.map(|info| printable(info.to_path().as_os_str().as_bytes()).into_owned()),
        line: info.and_then(|info| info.line),
        inlined,
    }
}

/// Why some frames have no name.
fn nameless(frames: &[Frame], pid: u32) -> Vec<String> {
    let mut stripped: Vec<&str> = frames
        .iter()
        .filter(|frame| frame.function.is_none())
        .filter_map(|frame| frame.module.as_deref())
        .collect();
    stripped.sort_unstable();
    stripped.dedup();
    let mut list: Vec<String> = stripped
        .into_iter()
        .map(|module| format!("names are missing: {module} has no symbols for some of its code (stripped)"))
        .collect();
    let is_made_at_run_time =
        |frame: &Frame| frame.function.is_none() && frame.module.is_none() && !frame.inlined;
    if frames.iter().any(is_made_at_run_time) {
        list.push(format!(
            "names are missing: code generated at run time is not in /tmp/perf-{pid}.map (JVM: jcmd {pid} Compiler.perfmap; Node: --perf-basic-prof)"
        ));
    }
    list
}

/// A stack in one line, outermost first, limited to the innermost frames.
pub(crate) fn line(named: &NamedStack, end: End, limit: usize) -> String {
    let mut words: Vec<(String, usize)> = Vec::new();
    for word in named.frames.iter().take(limit).rev().map(word) {
        match words.last_mut() {
            Some((last, count)) if *last == word => *count += 1,
            Some(_) | None => words.push((word, 1)),
        }
    }
    let is_cut = named.frames.len() > limit || end.limitation().is_some();
    if words.is_empty() {
        return "(no frames)".to_owned();
    }
    let before = if is_cut { "… → " } else { "" };
    let words: Vec<String> = words
        .into_iter()
        .map(|(word, count)| {
            if count > 1 {
                format!("{word} × {count}")
            } else {
                word
            }
        })
        .collect();
    format!("{before}{}", words.join(" → "))
}

/// A frame in a word: the function and its place, else file and offset.
fn word(frame: &Frame) -> String {
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    match (&frame.function, &frame.file, frame.line) {
        (Some(function), Some(file), Some(line)) => format!("{function} ({}:{line})", base(file)),
        (Some(function), _, _) => function.clone(),
        (None, _, _) => match (&frame.module, frame.offset) {
            (Some(module), Some(offset)) => format!("{}+{offset:#x}", base(module)),
            (Some(module), None) => base(module),
            (None, _) => "(run-time code)".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn frame(function: &str) -> Frame {
        Frame {
            function: Some(function.to_owned()),
            ..Frame::default()
        }
    }

    #[test]
    fn a_line_reads_from_the_caller_to_the_call() {
        let named = NamedStack {
            frames: vec![
                frame("connect"),
                Frame {
                    file: Some("/src/shop/client.c".to_owned()),
                    line: Some(21),
                    ..frame("fetch")
                },
                Frame {
                    module: Some("/usr/bin/shop".to_owned()),
                    offset: Some(0x1f0),
                    ..Frame::default()
                },
                Frame::default(),
            ],
            limitations: Vec::new(),
        };
        assert_eq!(
            line(&named, End::Root, 10),
            "(run-time code) → shop+0x1f0 → fetch (client.c:21) → connect"
        );
        assert_eq!(line(&named, End::Root, 2), "… → fetch (client.c:21) → connect");
        assert_eq!(line(&NamedStack::default(), End::Ended, 2), "(no frames)");
    }

    #[test]
    fn frames_that_repeat_are_counted() {
        let mut frames = vec![
            frame("connect"),
            Frame::default(),
            Frame::default(),
            Frame::default(),
        ];
        frames.push(frame("main"));
        let named = NamedStack {
            frames,
            limitations: Vec::new(),
        };
        assert_eq!(
            line(&named, End::Root, 10),
            "main → (run-time code) × 3 → connect"
        );
    }

    #[test]
    fn a_program_cannot_write_to_the_terminal_by_its_symbols() {
        let named = at("a\x1b]0;b\x07", None, Some("/bin/x".to_owned()), false);
        let named = NamedStack {
            frames: vec![named],
            limitations: Vec::new(),
        };
        assert_eq!(line(&named, End::Root, 1), "a\u{fffd}]0;b\u{fffd}");
    }

    #[test]
    fn what_has_no_name_says_why() {
        let frames = [
            frame("connect"),
            Frame {
                module: Some("/usr/bin/shop".to_owned()),
                offset: Some(1),
                ..Frame::default()
            },
            Frame::default(),
        ];
        let said = nameless(&frames, 42);
        assert_eq!(said.len(), 2);
        assert!(said[0].contains("/usr/bin/shop"), "{said:?}");
        assert!(said[1].contains("/tmp/perf-42.map"), "{said:?}");
        assert_eq!(nameless(&frames[..1], 42), [] as [&str; 0]);
    }

    #[test]
    fn this_program_s_functions_have_their_names() {
        let pid = std::process::id();
        let own = this_program_s_functions_have_their_names as fn() as usize as u64;
        let mut named = NamedStack::default();
        look_up(&mut named, pid, &[own + 1], &modules::executable(pid));
        let name = named.frames.last().and_then(|frame| frame.function.as_deref());
        assert!(
            name.is_some_and(|name| name.contains("this_program_s_functions")),
            "{named:?}"
        );
        assert_eq!(named.limitations, [] as [&str; 0]);
    }
}
