//! Compiles the kernel side to the bytes of the object, which depend on the sources and the tool chain, and not on the
//! folder or the user.

use crate::{
    btf, command,
    toolchain::{TARGET, Toolchain},
};
use anyhow::{Context as _, Result};
use std::{env, ffi::OsString, fs, path::Path, process::Command};

/// The profile, which overrides that of the workspace and of the user's configuration.
const PROFILE: [&str; 9] = [
    "profile.release.opt-level=3",
    "profile.release.lto='fat'",
    "profile.release.codegen-units=1",
    "profile.release.debug=2",
    "profile.release.debug-assertions=false",
    "profile.release.overflow-checks=false",
    "profile.release.panic='abort'",
    "profile.release.strip='none'",
    "profile.release.incremental=false",
];

/// Removed from the object in addition to the debug sections. aya reads none of them: line information (for the verifier's
/// log only) and relocations of BTF. Kernel callbacks (`bpf_loop`, `bpf_timer`) would need `.BTF.ext` back:
/// `check_ld_imm` refuses them without function information.
const CUT: [&str; 3] = [".BTF.ext", ".rel.BTF.ext", ".rel.BTF"];

/// Compiles into `target`, where the object with its debug sections remains.
pub(crate) fn object(toolchain: &Toolchain, root: &Path, target: &Path) -> Result<Vec<u8>> {
    let mut cargo = Command::new(&toolchain.cargo);
    scrub(&mut cargo);
    cargo
        .current_dir(root)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "tcptrace-ebpf",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(target);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
        let package = setting.replace("profile.release.", "profile.release.package.tcptrace-ebpf.");
        if ["opt-level", "codegen-units", "debug="]
            .iter()
            .any(|key| setting.contains(key))
        {
            cargo.args(["--config", &package]);
        }
    }
    if toolchain.builds_core {
        cargo.args(["-Z", "build-std=core"]);
    }
    cargo
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(toolchain, root)?);
    command::run(&mut cargo)?;

    let compiled = target.join(TARGET).join("release/tcptrace-ebpf");
    let stripped = target.join("tcptrace.bpf.o");
    let btf = target.join("tcptrace.btf");
    let objcopy = || Command::new(&toolchain.objcopy);
    command::run(
        objcopy()
            .arg(section("--dump-section=.BTF=", &btf))
            .args([&compiled, &stripped]),
    )?;
    let strings_cut = btf::without_unused_strings(&fs::read(&btf)?)?;
    fs::write(&btf, strings_cut)?;
    command::run(
        objcopy()
            .arg("--strip-debug")
            .args(CUT.map(|name| format!("--remove-section={name}")))
            .arg(section("--update-section=.BTF=", &btf))
            .args([&compiled, &stripped]),
    )?;
    fs::read(&stripped).with_context(|| format!("cannot read the compiled object, {}", stripped.display()))
}

fn section(option: &str, file: &Path) -> OsString {
    let mut option = OsString::from(option);
    option.push(file);
    option
}

/// Removes the variables by which `cargo run` and the user's shell configure cargo and rustc, except for cargo's home and
/// its network settings.
fn scrub(cargo: &mut Command) {
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_HTTP",
        "CARGO_NET",
        "CARGO_REGISTR",
        "CARGO_SOURCE",
        "RUSTUP_HOME",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_theirs = text.starts_with("CARGO") || text.starts_with("RUST") || text == "LD_LIBRARY_PATH";
        if is_theirs && !KEPT.iter().any(|kept| text.starts_with(kept)) {
            cargo.env_remove(&name);
        }
    }
}

/// Compiler flags in cargo's encoding. They map every folder to a name that does not exist: LLVM copies source lines into
/// BTF from the files that it can open.
fn rust_flags(toolchain: &Toolchain, root: &Path) -> Result<OsString> {
    let mut flags: Vec<OsString> = ["--cfg", "bpf_target_arch=\"x86_64\"", "-C", "link-arg=--btf"]
        .map(OsString::from)
        .into();
    let mut rename = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    // The last match wins: a vendored package is inside of the checkout.
    for folder in [
        root,
        &root
            .canonicalize()
            .context("cannot resolve the checkout's path")?,
    ] {
        rename(folder, "/-/tcptrace");
    }
    rename(&toolchain.sysroot.join("lib/rustlib/src/rust"), "/-/rust");
    for package in packages(toolchain, root)? {
        rename(Path::new(&package.folder), &format!("/-/{}", package.name));
    }
    Ok(flags.join(OsString::from("\u{1f}").as_os_str()))
}

struct Package {
    /// `name-version`.
    name: String,
    folder: String,
}

/// Every package from outside of the workspace.
fn packages(toolchain: &Toolchain, root: &Path) -> Result<Vec<Package>> {
    let mut cargo = Command::new(&toolchain.cargo);
    scrub(&mut cargo);
    cargo.current_dir(root).env("RUSTC", &toolchain.rustc).args([
        "metadata",
        "--format-version=1",
        "--locked",
    ]);
    let metadata: serde_json::Value = serde_json::from_str(&command::output(&mut cargo)?)?;
    let packages = metadata["packages"]
        .as_array()
        .context("`cargo metadata` lists no packages")?;
    let outside = packages.iter().filter(|package| !package["source"].is_null());
    outside
        .map(|package| {
            let text = |key: &str| {
                package[key]
                    .as_str()
                    .with_context(|| format!("`cargo metadata` has no {key}"))
            };
            let manifest = text("manifest_path")?;
            Ok(Package {
                name: format!("{}-{}", text("name")?, text("version")?),
                folder: manifest.trim_end_matches("/Cargo.toml").to_owned(),
            })
        })
        .collect()
}
