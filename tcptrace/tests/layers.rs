//! Dependencies between the modules of the crate run one way: a module imports those of the layers below it, and nothing of
//! its own layer or above. docs/architecture.md describes the layers.

use std::{fs, path::Path};

/// The modules of `src/`, lowest layer first.
const LAYERS: &[&[&str]] = &[
    &[
        "event",
        "lossy",
        "outfile",
        "plural",
        "printable",
        "priority",
        "privileges",
        "quantity",
        "unseen",
    ],
    &["duration", "kernel", "duty_cycle", "socket"],
    &["decode", "owner"],
    &["filter"],
    &["connection"],
    &["stats"],
    &["engine", "summary"],
    &["findings", "record", "view"],
    &["metrics", "report", "source"],
    &["completion"],
    &["cli"],
    &["options", "stacks"],
    &["output"],
    &["serve", "tui"],
    &["run"],
];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules that a source file names by `crate::`, in `use` lines and elsewhere, its tests left out.
fn imports(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(tree) => found.extend(roots(tree)),
            None => found.extend(first_word(rest)),
        }
    }
    found
}

/// The first words of a `use` tree that has just been opened.
fn roots(tree: &str) -> Vec<String> {
    let mut depth = 0;
    let mut found = Vec::new();
    let mut is_first = true;
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_first = true,
            _ if is_first && c.is_alphabetic() => {
                found.extend(first_word(&tree[at..]));
                is_first = false;
            }
            _ => {}
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

/// What a file of `module` imports from its own layer or from above.
fn violations(module: &str, source: &str) -> Vec<String> {
    let own = layer_of(module).unwrap_or_else(|| panic!("src/{module} is in no layer"));
    imports(source)
        .into_iter()
        .filter(|import| import != module)
        // Macros and the like are no modules.
        .filter(|import| layer_of(import).is_some_and(|layer| layer >= own))
        .collect()
}

/// Each source file below `folder` but those of tests, with the module that it belongs to.
fn sources(folder: &Path, module: Option<&str>, found: &mut Vec<(String, String, String)>) {
    for entry in fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("names are text");
        let is_test = stem.ends_with("tests") || ["fixture", "examples"].contains(&stem);
        if path.is_dir() && !is_test {
            sources(&path, Some(module.unwrap_or(stem)), found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            let module = module.unwrap_or(stem);
            if !["lib", "main"].contains(&module) {
                let text = fs::read_to_string(&path).expect("the sources can be read");
                found.push((module.to_owned(), path.display().to_string(), text));
            }
        }
    }
}

#[test]
fn modules_import_lower_layers_alone() {
    let mut found = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        None,
        &mut found,
    );
    assert!(found.len() > 100, "only {} files were found", found.len());
    let upward: Vec<String> = found
        .iter()
        .flat_map(|(module, path, source)| {
            let imports = violations(module, source).into_iter();
            imports.map(move |import| format!("{path} imports {import}"))
        })
        .collect();
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn an_upward_import_is_found() {
    let planted = "use crate::{\n    event::Nanos,\n    view::{self, Sort},\n};\n";
    assert_eq!(violations("engine", planted), ["view"]);
    assert_eq!(
        violations("connection", "let x = crate::run::runtime();"),
        ["run"]
    );
    assert_eq!(violations("event", "use crate::event::time::Nanos;"), [""; 0]);
    let in_tests = "#[cfg(test)]\nmod tests {\n    use crate::engine::Engine;\n}\n";
    assert_eq!(violations("connection", in_tests), [""; 0]);
}
